"""Pixel values: rescale, signedness, padding, inversion, tables, colour, transfer syntaxes, orientation of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from medmvl.errors import ReadError
from medmvl.imaging.dicom import read_dicom
from medmvl.imaging.image import MedicalImage
from tests.factories import dicom as make


def through_file(
    tmp_path: Path, made: make.Dataset, syntax: str = uid.ExplicitVRLittleEndian
) -> MedicalImage:
    return read_dicom(make.save(made, tmp_path / "one", syntax))


NATIVE = [
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
]  # fmt: skip


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_uncompressed_syntaxes(tmp_path: Path, syntax: str, dtype: type) -> None:
    stored = make.stored_volume(1)[0].astype(dtype)
    image = through_file(tmp_path, make.ct_slice(stored, (1, 2, 3)), syntax)
    np.testing.assert_array_equal(image.array, stored.astype(int) - 1024)
    assert (image.kind, image.axcodes, image.spacing_mm) == ("image", ("P", "L"), pytest.approx((0.5, 0.75)))
    np.testing.assert_allclose(image.affine @ [0, 1, 2, 1], [-1 - 2 * 0.75, -2 - 0.5, 3, 1])


@pytest.mark.parametrize(
    "syntax",
    [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.JPEGLossless],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_compressed_syntaxes(tmp_path: Path, syntax: str, signed: bool) -> None:
    stored = make.stored_volume(1, 64, 80)[0].astype(np.int16 if signed else np.uint16) - (
        1024 if signed else 0
    )
    made = make.ct_slice(stored, (0, 0, 0), RescaleIntercept=0 if signed else -1024)
    path = make.transcode(make.save(made, tmp_path / "one"), syntax)
    np.testing.assert_array_equal(read_dicom(path).array, stored.astype(int) - (0 if signed else 1024))


def test_compressed_multi_frame_by_frame(tmp_path: Path) -> None:
    stored = make.stored_volume(4, 64, 64)
    path = make.transcode(
        make.save(make.enhanced(stored, rescale=[(1, -1024)]), tmp_path / "one"), uid.JPEG2000Lossless
    )
    np.testing.assert_array_equal(read_dicom(path).array, stored.astype(int) - 1024)


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_extended_is_near_the_original(tmp_path: Path, bits: int) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)) * (2 ** (bits - 8))
    made = make.dataset(smooth.astype(np.uint8 if bits == 8 else np.uint16), "DX", BitsStored=bits)
    syntax = uid.JPEGBaseline8Bit if bits == 8 else uid.JPEGExtended12Bit
    path = make.transcode(make.save(made, tmp_path / "one"), syntax)
    assert np.abs(read_dicom(path).array - smooth).max() <= 2 ** (bits - 6)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_outside_bits_stored_are_ignored_and_the_sign_extended(tmp_path: Path, signed: bool) -> None:
    values = np.array([[0, 1, 2047], [-1, -2048, 5]]) if signed else np.array([[0, 1, 2047], [4095, 2048, 5]])
    stored = ((values & 0xFFF) | 0x5000).astype(np.uint16)
    made = make.ct_slice(
        stored, (0, 0, 0), BitsStored=12, PixelRepresentation=int(signed), RescaleIntercept=0
    )
    np.testing.assert_array_equal(through_file(tmp_path, made).array, values)


@pytest.mark.parametrize(("padding", "limit"), [(-2000, None), (-2000, -1990)])
def test_ct_padding_becomes_air(tmp_path: Path, padding: int, limit: int | None) -> None:
    stored = np.array([[-2000, 0, 100], [-1995, -5, 7]], np.int16)
    made = make.ct_slice(
        stored, (0, 0, 0), RescaleIntercept=-24, PixelPaddingValue=padding, PixelPaddingRangeLimit=limit
    )
    made["PixelPaddingValue"].VR = "SS"
    image = through_file(tmp_path, made)
    inside = -1024 if limit else -2019
    np.testing.assert_array_equal(image.array, [[-1024, -24, 76], [inside, -29, -17]])
    assert any("padding" in warning for warning in image.warnings)


def test_radiograph_padding_is_background_also_when_inverted(tmp_path: Path) -> None:
    stored = np.array([[0, 10, 20], [0, 30, 40]], np.uint16)
    made = make.dataset(
        stored, "DX", BitsStored=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0
    )
    np.testing.assert_array_equal(
        through_file(tmp_path, made).array, [[4055, 4085, 4075], [4055, 4065, 4055]]
    )


@pytest.mark.parametrize(("bits", "slope", "intercept"), [(12, 1, 0), (15, 2, -7), (16, 1, 0)])
def test_monochrome1_is_inverted_before_the_rescale(
    tmp_path: Path, bits: int, slope: int, intercept: int
) -> None:
    stored = np.array([[0, 1, 100], [2000, 4095, 7]], np.uint16)
    made = make.dataset(
        stored,
        "DX",
        BitsStored=bits,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    expected = slope * (2**bits - 1 - stored.astype(int)) + intercept
    np.testing.assert_array_equal(through_file(tmp_path, made).array, expected)


def test_modality_table(tmp_path: Path) -> None:
    table = np.array([5, 50, 500, 5000], np.uint16)
    sequence = make.item(LUTDescriptor=[4, 10, 16], LUTData=table.tobytes(), ModalityLUTType="US")
    sequence[0]["LUTDescriptor"].VR = "US"
    sequence[0]["LUTData"].VR = "OW"
    stored = np.array([[0, 10, 11], [12, 13, 400]], np.uint16)
    image = through_file(tmp_path, make.dataset(stored, "DX", ModalityLUTSequence=sequence))
    np.testing.assert_array_equal(image.array, [[5, 5, 50], [500, 5000, 5000]])


@pytest.mark.parametrize(
    ("values", "slope", "intercept", "dtype"),
    [
        ([0, 65535], 1, -1024, np.int32),
        ([0, 33791], 1, -1024, np.int16),
        ([0, 100], 0.1, 0, np.float32),
        ([0, 9], -2, 3, np.int16),
    ],
)
def test_values_are_exact_in_the_smallest_type(
    tmp_path: Path, values: list[int], slope: float, intercept: float, dtype: type
) -> None:
    stored = np.array([values, values], np.uint16)
    image = through_file(
        tmp_path, make.ct_slice(stored, (0, 0, 0), RescaleSlope=slope, RescaleIntercept=intercept)
    )
    assert image.array.dtype == dtype
    np.testing.assert_allclose(image.array, stored * float(slope) + intercept, rtol=1e-7)


def test_units(tmp_path: Path) -> None:
    stored = make.stored_volume(1)[0]
    assert through_file(tmp_path, make.ct_slice(stored, (0, 0, 0))).units == "HU"
    bare = through_file(tmp_path, make.ct_slice(stored, (0, 0, 0), RescaleSlope=None, RescaleIntercept=None))
    assert bare.units == "arbitrary" and any("Hounsfield" in w for w in bare.warnings)
    assert (
        through_file(
            tmp_path, make.dataset(stored, "PT", Units="BQML", RescaleSlope=0.25, RescaleIntercept=0)
        ).units
        == "BQML"
    )
    assert through_file(tmp_path, make.dataset(stored, "MR")).units == "arbitrary"
    assert through_file(tmp_path, make.dataset(stored.astype(np.uint8), "US")).units == "display"


def test_colour(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = through_file(tmp_path, make.dataset(rgb, "US"))
    np.testing.assert_array_equal(image.array, rgb)
    assert image.units == "display" and image.modality == "US"
    grey = np.repeat(rgb[..., :1], 3, axis=2).copy()
    grey[..., 1:] = 128
    ybr = through_file(tmp_path, make.dataset(grey, "US", PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_array_equal(ybr.array, np.repeat(rgb[..., :1], 3, axis=2))
    planes = make.dataset(rgb, "US", PlanarConfiguration=1)
    planes.PixelData = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    np.testing.assert_array_equal(through_file(tmp_path, planes).array, rgb)


def test_palette_colour(tmp_path: Path) -> None:
    index = np.array([[0, 1], [2, 1]], np.uint8)
    tables = {"Red": [255, 0, 10], "Green": [0, 255, 20], "Blue": [0, 0, 30]}
    made = make.dataset(index, "US", PhotometricInterpretation="PALETTE COLOR")
    for name, table in tables.items():
        made.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [3, 0, 16])
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", (np.array(table, np.uint16) * 257).tobytes())
    image = through_file(tmp_path, made)
    np.testing.assert_array_equal(image.array, np.array(list(tables.values()), np.uint8).T[index])


@pytest.mark.parametrize("frontal", [("L", "F"), ("R", "F"), ("L", "H"), ("F", "L"), ("H", "R")])
def test_frontal_radiographs_stand_upright_with_left_to_the_right(
    tmp_path: Path, frontal: tuple[str, str]
) -> None:
    upright = make.stored_volume(1)[0]
    columns, rows = frontal
    stored = upright.T if columns in "FH" else upright
    sides = {"R": 1, "H": 0}
    for code in frontal:
        if code in sides:
            axis = sides[code] if columns not in "FH" else 1 - sides[code]
            stored = np.flip(stored, axis)
    made = make.dataset(
        np.ascontiguousarray(stored), "DX", PatientOrientation=[columns, rows], PixelSpacing=[0.1, 0.2]
    )
    image = through_file(tmp_path, made)
    np.testing.assert_array_equal(image.array, upright)
    assert image.axcodes == ("I", "L") and image.affine is None
    assert image.spacing_mm == ((0.2, 0.1) if columns in "FH" else (0.1, 0.2))


@pytest.mark.parametrize("said", [None, ["L", "R"], ["?", "F"], ""])
def test_nothing_is_invented_where_orientation_is_unknown(tmp_path: Path, said: list[str] | None) -> None:
    stored = make.stored_volume(1)[0]
    image = through_file(
        tmp_path, make.dataset(stored, "DX", PatientOrientation=said, ImagerPixelSpacing=[0.1, 0.1])
    )
    np.testing.assert_array_equal(image.array, stored)
    assert image.axcodes is None and image.affine is None and image.spacing_mm == (0.1, 0.1)
    assert any("detector" in warning for warning in image.warnings)


def test_burned_in_text_is_warned_about(tmp_path: Path) -> None:
    image = through_file(
        tmp_path, make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), BurnedInAnnotation="YES")
    )
    assert any("burned" in warning for warning in image.warnings)


def test_zero_slope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="RescaleSlope"):
        through_file(tmp_path, make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), RescaleSlope=0))
