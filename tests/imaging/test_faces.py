"""What a `MedicalImage` offers in a notebook: save, plot, and a view that tells no identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage, read
from tests.factories.dicom import stored_volume


def scan() -> MedicalImage:
    return MedicalImage(
        array=stored_volume().astype(np.int16), kind="volume", units="HU", source_format="numpy", modality="CT",
        affine=np.array([[0, 0, -2.0, 9], [0, -2.0, 0, 9], [3.0, 0, 0, 0], [0, 0, 0, 1]]), axcodes=("S", "P", "L"),
        spacing_mm=(3.0, 2.0, 2.0), warnings=("a <slice> is missing",),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a.npz", "a.nii", "a.nii.gz"])
def test_what_is_saved_reads_back(tmp_path: Path, name: str) -> None:
    scan().save(str(tmp_path / name))
    again = read(tmp_path / name, units="HU")
    assert np.array_equal(again.array, scan().array) and again.spacing_mm == scan().spacing_mm
    assert again.axcodes == scan().axcodes


def test_a_format_that_is_not_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="npz"):
        scan().save(tmp_path / "a.png")


def test_it_draws_itself_and_shows_its_warnings_escaped() -> None:
    assert scan().plot(window="lung").size[0] > 0
    html = scan()._repr_html_()
    assert "data:image/png;base64," in html and "&lt;slice&gt;" in html and "MedicalImage(volume" in html
