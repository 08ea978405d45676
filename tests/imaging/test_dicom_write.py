"""DICOM that we write: reads back equal, the same bytes from the same seed, no identity but the pseudonym."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import UserError
from medmvl.imaging import read
from medmvl.imaging.geometry import affine_from
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.write_dicom import write_dicom_image, write_dicom_series


def volume(seed: int = 0, spacing: tuple[float, float, float] = (2.5, 0.7, 0.9)) -> MedicalImage:
    array = np.random.default_rng(seed).integers(-1024, 3000, (4, 6, 5)).astype(np.int16)
    return MedicalImage(
        array=array, kind="volume", units="HU", source_format="phantom", modality="CT", axcodes=("S", "P", "L"),
        affine=affine_from(("S", "P", "L"), spacing, (10.5, -3.25, 100.0)), spacing_mm=spacing,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), spacing=st.tuples(*[st.floats(0.05, 10)] * 3))
def test_a_series_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, seed: int, spacing: tuple[float, float, float]
) -> None:
    folder, image = tmp_path_factory.mktemp("series"), volume(seed, spacing)
    write_dicom_series(image, folder, patient_pseudonym="phantom-1", seed=seed)
    back = read(folder)
    assert back.array.dtype == np.int16 and (back.units, back.modality, back.warnings) == ("HU", "CT", ())
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dicom_series(volume(), tmp_path / name, patient_pseudonym="phantom-1", seed=seed)
    one, same, other = ([p.read_bytes() for p in sorted((tmp_path / n).iterdir())] for n in "abc")
    assert one == same and one != other


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
def test_a_radiograph_reads_back_equal(tmp_path: Path, dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 255, (7, 9)).astype(dtype)
    image = MedicalImage(
        array=array, kind="image", units="arbitrary", source_format="phantom", modality="DX", axcodes=("I", "L"),
        spacing_mm=(0.5, 0.4),
    )  # fmt: skip
    path = tmp_path / "x.dcm"
    write_dicom_image(image, path, patient_pseudonym="phantom-1")
    back = read(path)
    np.testing.assert_array_equal(back.array, array)
    assert (back.axcodes, back.spacing_mm, back.modality) == (("I", "L"), (0.5, 0.4), "DX")
    written = pydicom.dcmread(path)
    assert written.PatientName == written.PatientID == "phantom-1" and written.PatientBirthDate == ""


def test_what_dicom_cannot_hold_exactly_is_refused(tmp_path: Path) -> None:
    image = volume()
    with pytest.raises(UserError, match="round"):
        write_dicom_series(image.with_array(image.array + 0.5), tmp_path / "a", patient_pseudonym="p")
    with pytest.raises(UserError, match=r"affine|grid"):
        write_dicom_series(image.with_array(image.array, affine=None), tmp_path / "b", patient_pseudonym="p")
