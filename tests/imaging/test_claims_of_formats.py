"""What files other than DICOM claim besides their voxels: labels, transparency, largest numbers, sizes of pixels, scalings."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmvl.errors import ReadError
from medmvl.imaging import read

LABELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5) % 3
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])
GREY = np.tile(np.linspace(0, 4095, 32).astype(np.uint16), (8, 1))
COLOUR = np.stack([GREY, GREY // 2, GREY // 4], axis=-1)


def warned(path: Path, words: str) -> bool:
    return any(words in warning for warning in read(path).warnings)


@pytest.mark.parametrize("good", [True, False])
def test_an_mgh_file_without_an_orientation_has_none(tmp_path: Path, good: bool) -> None:
    nib.save(nib.MGHImage(LABELS.T, LPS), tmp_path / "m.mgh")
    data = bytearray((tmp_path / "m.mgh").read_bytes())
    struct.pack_into(">h", data, 28, int(good))
    (tmp_path / "m.mgh").write_bytes(data)
    image = read(tmp_path / "m.mgh")
    assert (image.axcodes is None) is not good and (image.spacing_mm is None) is not good
    assert warned(tmp_path / "m.mgh", "the orientation is unknown") is not good
    assert np.array_equal(image.array, LABELS)


@pytest.mark.parametrize(
    ("intent", "slope", "dtype", "units"),
    [("label", 1, np.int16, "label"), ("none", 1, np.int16, "arbitrary"), ("label", 2, np.int16, "arbitrary"),
     ("label", 1, np.float32, "arbitrary"), ("z score", 1, np.int16, "arbitrary")],
)  # fmt: skip
def test_labels_of_nifti_are_labels(
    tmp_path: Path, intent: str, slope: float, dtype: Any, units: str
) -> None:
    image = nib.Nifti1Image(LABELS.T.astype(dtype), LPS)
    image.header.set_intent(intent)
    nib.save(image, tmp_path / "l.nii")
    data = bytearray((tmp_path / "l.nii").read_bytes())
    struct.pack_into("<ff", data, 112, slope, 0)
    (tmp_path / "l.nii").write_bytes(data)
    assert read(tmp_path / "l.nii").units == units


def nrrd(path: Path, more: str) -> Path:
    head = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 5 4 3\nencoding: raw\nendian: little\n"
    geometry = (
        "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n"
    )
    path.write_bytes(f"{head}{geometry}{more}\n".encode() + LABELS.astype("<i2").tobytes())
    return path


def test_a_segmentation_of_slicer_has_labels_and_their_names(tmp_path: Path) -> None:
    pairs = "Segment0_LabelValue:=1\nSegment0_Name:=lung\nSegment1_LabelValue:=2\nSegment1_Name:=heart\nother:=3\n"
    image = read(nrrd(tmp_path / "s.seg.nrrd", pairs))
    assert (image.units, dict(image.label_names or {})) == ("label", {1: "lung", 2: "heart"})
    assert np.array_equal(image.array, LABELS)
    assert read(nrrd(tmp_path / "p.nrrd", "other:=3\n")).units == "arbitrary"


def test_values_made_from_others_say_so(tmp_path: Path) -> None:
    assert warned(nrrd(tmp_path / "o.nrrd", "old min: -1024\nold max: 3071\n"), "-1024 and 3071")
    assert not warned(nrrd(tmp_path / "p.nrrd", ""), "made from others")


@pytest.mark.parametrize(("slope", "offset", "told"), [(2, -1024, True), (1, 5, True), (1, 0, False)])
def test_a_scaling_of_metaimage_is_told(tmp_path: Path, slope: float, offset: float, told: bool) -> None:
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nElementSpacing = 1 1 2\n"
        f"ElementToIntensityFunctionSlope = {slope}\nElementToIntensityFunctionOffset = {offset}\nDimSize = 5 4 3\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "m.mha").write_bytes(head.encode() + LABELS.astype("<i2").tobytes())
    assert np.array_equal(read(tmp_path / "m.mha").array, LABELS)
    assert warned(tmp_path / "m.mha", "not applied") is told


@pytest.mark.parametrize("largest", [4095, 65535])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("text", [False, True])
def test_deep_netpbm_is_as_it_is_stored(tmp_path: Path, pixels: np.ndarray, largest: int, text: bool) -> None:
    number = {(2, False): 5, (2, True): 2, (3, False): 6, (3, True): 3}[pixels.ndim, text]
    head = f"P{number}\n# a comment\n32 8\n{largest}\n".encode()
    data = " ".join(map(str, pixels.ravel())).encode() if text else pixels.astype(">u2").tobytes()
    (tmp_path / "p.ppm").write_bytes(head + data)
    image = read(tmp_path / "p.ppm")
    assert image.units == "arbitrary" and np.array_equal(image.array, pixels)
    (tmp_path / "p.ppm").write_bytes(head + data[:-9])
    with pytest.raises(ReadError):
        read(tmp_path / "p.ppm")


def test_a_number_above_the_largest_is_damage(tmp_path: Path) -> None:
    (tmp_path / "p.pgm").write_bytes(b"P5\n32 8\n1000\n" + GREY.astype(">u2").tobytes())
    with pytest.raises(ReadError, match="above its largest number"):
        read(tmp_path / "p.pgm")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("opacity", [0, 128, 255])
def test_transparent_pixels_are_told(tmp_path: Path, mode: str, opacity: int) -> None:
    pil_image = Image.new(mode, (6, 5), (200,) * (len(mode) - 1) + (opacity,))
    pil_image.save(tmp_path / "a.png")
    assert warned(tmp_path / "a.png", "30 of 30 pixels are transparent") is (opacity < 255)
    assert int(read(tmp_path / "a.png").array.max()) == 200


def test_a_transparent_palette_entry_is_told(tmp_path: Path) -> None:
    pil_image = Image.fromarray((GREY // 16).astype(np.uint8)).convert("P")
    pil_image.save(tmp_path / "p.png", transparency=0)
    assert warned(tmp_path / "p.png", "8 of 256 pixels")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("unit", [0, 1])
@pytest.mark.parametrize(("across", "down"), [(2000, 1000), (1000, 1000), (1000, 1005)])
def test_pixels_that_are_not_square_are_told(tmp_path: Path, across: int, down: int, unit: int) -> None:
    Image.new("L", (6, 5)).save(tmp_path / "p.png")
    data = (tmp_path / "p.png").read_bytes()
    (tmp_path / "p.png").write_bytes(
        data[:33] + chunk(b"pHYs", struct.pack(">IIB", across, down, unit)) + data[33:]
    )
    assert warned(tmp_path / "p.png", "not square") is (across == 2000)


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [((3, 16, 16), np.uint8, True), ((3, 16, 16), np.int16, False), ((16, 16, 3), np.uint16, True),
     ((16, 16, 4), np.uint16, False), ((4, 5, 3), np.int16, False)],
)  # fmt: skip
def test_an_array_that_may_hold_colours_asks(
    tmp_path: Path, shape: tuple[int, ...], dtype: Any, told: bool
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, dtype))
    assert warned(tmp_path / "a.npy", "if these are colours") is told
