"""What NRRD headers and ultrasound regions say of units and lengths besides spacings: read, or said not to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmvl.errors import ReadError
from medmvl.imaging import read
from tests.factories import dicom as make

VALUES = (np.arange(60, dtype=np.int16).reshape(3, 4, 5) * 40 - 1024).astype("<i2")
SPACE = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n"


def nrrd(path: Path, more: str, values: np.ndarray = VALUES) -> Path:
    sizes = " ".join(str(n) for n in values.shape[::-1])
    head = f"NRRD0004\ntype: int16\ndimension: {values.ndim}\nsizes: {sizes}\nencoding: raw\nendian: little\n"
    path.write_bytes(f"{head}{more}\n".encode() + values.tobytes())
    return path


@pytest.mark.parametrize(
    ("said", "units", "told"),
    [("HU", "HU", None), ("hounsfield", "HU", None), ("Hounsfield units", "HU", None), ("Bq/ml", "BQML", None),
     ("suv", "GML", None), ('"HU"', "HU", None), ("???", "arbitrary", None), ("", "arbitrary", None),
     ("mGy", "arbitrary", "'mGy'"), ("mm^2/s", "arbitrary", "'mm^2/s'")],
)  # fmt: skip
def test_sample_units_of_nrrd_are_read_or_told(
    tmp_path: Path, said: str, units: str, told: str | None
) -> None:
    image = read(nrrd(tmp_path / "u.nrrd", f"sample units: {said}\n{SPACE}"))
    assert image.units == units
    assert any("sample units" in warning for warning in image.warnings) is (told is not None)
    assert told is None or any(told in warning for warning in image.warnings)
    assert np.array_equal(np.sort(image.array, axis=None), np.sort(VALUES, axis=None))


def test_sample_units_that_the_values_hardly_have_are_questioned(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "u.nrrd", f"sample units: HU\n{SPACE}", np.abs(VALUES))
    assert read(path).units == "HU" and any("Hounsfield" in one or "HU" in one for one in read(path).warnings)
    with pytest.raises(ReadError, match="contradict"):
        read(nrrd(tmp_path / "c.nrrd", f"sample units: HU\n{SPACE}"), units="GY")


@pytest.mark.parametrize(
    ("more", "spacing", "told"),
    [
        ("axis mins: 0 0 0\naxis maxs: 10 8 9\ncenters: cell cell cell\n", (3.0, 2.0, 2.0), None),
        ("axis mins: 0 0 0\naxis maxs: 8 6 6\ncenters: node node node\n", (3.0, 2.0, 2.0), None),
        ("axismins: 0 0 0\naxismaxs: 8 6 6\ncenterings: node node node\n", (3.0, 2.0, 2.0), None),
        ("axis mins: 0 0 0\naxis maxs: 10 8 9\n", (3.0, 2.0, 2.0), "centers"),
        ("axis mins: 0 0 0\naxis maxs: 10 8 9\ncenters: cell cell cell\nunits: cm cm cm\n", (30.0, 20.0, 20.0), "unit"),
        ("axis mins: 0 0 0\naxis maxs: 10 8 nan\ncenters: cell cell cell\n", None, "axis maxs"),
        ("axis mins: 0 0 0\n", None, "axis mins"),
        ("axis mins: 10 0 0\naxis maxs: 0 8 9\ncenters: cell cell cell\n", None, "axis maxs"),
        ("spacings: 2 2 3\naxis mins: 0 0 0\naxis maxs: 10 8 9\ncenters: cell cell cell\n", (3.0, 2.0, 2.0), None),
        ("spacings: 1 1 1\naxis mins: 0 0 0\naxis maxs: 10 8 9\ncenters: cell cell cell\n", (1.0, 1.0, 1.0), "axis mins"),
    ],
)  # fmt: skip
def test_ends_of_axes_give_the_spacing(
    tmp_path: Path, more: str, spacing: tuple[float, ...] | None, told: str | None
) -> None:
    image = read(nrrd(tmp_path / "e.nrrd", more))
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    notes = [one for one in image.warnings if "Hounsfield" not in one and "orientation is unknown" not in one]
    assert bool(notes) is (told is not None) and all(told in one for one in notes if told)


def region(kind: int = 1, units: int = 3, delta: tuple[float, float] = (0.05, 0.04), **tags: Any) -> Any:
    return make.item(
        RegionSpatialFormat=kind, RegionDataType=1, RegionFlags=0, RegionLocationMinX0=0, RegionLocationMinY0=0,
        RegionLocationMaxX1=7, RegionLocationMaxY1=5, PhysicalUnitsXDirection=units, PhysicalUnitsYDirection=units,
        PhysicalDeltaX=delta[0], PhysicalDeltaY=delta[1], **tags,
    )  # fmt: skip


def ultrasound(path: Path, regions: list[Any] | None, frames: int = 1, **tags: Any) -> Path:
    pixels = np.arange(48 * frames, dtype=np.uint8).reshape(frames, 6, 8)
    made = make.dataset(pixels if frames > 1 else pixels[0], "US", **tags)
    if regions is not None:
        made.SequenceOfUltrasoundRegions = [one[0] for one in regions]
    return make.save(made, path)


@pytest.mark.parametrize(
    ("regions", "tags", "spacing", "told"),
    [
        ([region()], {}, (0.4, 0.5), "ultrasound region"),
        ([region(delta=(-0.05, -0.04))], {}, (0.4, 0.5), "ultrasound region"),
        ([region(), region(delta=(0.05, 0.04))], {}, (0.4, 0.5), "ultrasound region"),
        ([region(), region(kind=3, units=4)], {}, (0.4, 0.5), "ultrasound region"),
        ([region(), region(delta=(0.1, 0.1))], {}, None, "differ"),
        ([region(kind=2, units=4)], {}, None, "no length"),
        ([region(units=0)], {}, None, "no length"),
        ([region(delta=(0.0, 0.04))], {}, None, "no length"),
        ([], {}, None, None),
        (None, {}, None, None),
        (None, {"PixelSpacing": [0.4, 0.5]}, (0.4, 0.5), None),
        ([region()], {"PixelSpacing": [0.4, 0.5]}, (0.4, 0.5), None),
        ([region()], {"PixelSpacing": [1, 1]}, (1, 1), "0.4 x 0.5"),
    ],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_the_scale_of_an_ultrasound_image_is_that_of_its_regions(
    tmp_path: Path, regions: Any, tags: dict[str, Any], spacing: Any, told: str | None, frames: int
) -> None:
    path = ultrasound(tmp_path / "us.dcm", regions, frames, **tags)
    image = read(f"{path}#frame=2" if frames > 1 else path)
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    notes = [one for one in image.warnings if "burned" not in one]
    assert bool(notes) is (told is not None), notes
    assert told is None or any(told in one for one in notes)
