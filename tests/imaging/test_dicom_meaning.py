"""Meaning is a frame's: units, rescale and polarity agree in all frames of a volume, and display changes no value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.sr.codedict import codes

from medmvl.errors import ReadError
from medmvl.imaging.dicom import read_dicom, read_dicom_folder
from tests.factories import dicom as make
from tests.factories import dicom_objects as objects

STORED = make.stored_volume(4)
ODD = {
    "no rescale": {"RescaleSlope": None, "RescaleIntercept": None}, "no intercept": {"RescaleIntercept": None},
    "another type": {"RescaleType": "US"}, "a material": {"RescaleType": "MGML"},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_slice_that_means_something_else_is_named(tmp_path: Path, odd: str, at: int) -> None:
    for k, plane in enumerate(STORED):
        tags = {"RescaleType": "HU", **(ODD[odd] if k == at else {})}
        make.save(make.ct_slice(plane, (0, 0, 2.0 * k), **tags), tmp_path / f"{k}.dcm")
    with pytest.raises(ReadError, match=rf"{at}\.dcm"):
        read_dicom_folder(tmp_path)


def test_a_frame_without_its_transformation_is_named(tmp_path: Path) -> None:
    made = make.enhanced(STORED, rescale=[(1, -1024 - k) for k in range(4)])
    del made.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    with pytest.raises(ReadError, match="frame 3 has no rescale"):
        read_dicom(make.save(made, tmp_path / "e"))


def test_an_enhanced_ct_without_any_transformation_is_not_in_hounsfield_units(tmp_path: Path) -> None:
    image = read_dicom(make.save(make.enhanced(STORED), tmp_path / "e"))
    assert image.units == "arbitrary" and any("Hounsfield" in warning for warning in image.warnings)


def test_pet_slices_in_other_units_are_refused_and_slopes_may_vary(tmp_path: Path) -> None:
    placed: dict[str, Any] = {
        "ImageOrientationPatient": list(make.AXIAL),
        "PixelSpacing": [2, 2],
        "RescaleIntercept": 0,
    }
    for name, units in (("same", ("BQML", "BQML")), ("other", ("BQML", "CNTS"))):
        for k in range(2):
            made = make.dataset(
                STORED[k],
                "PT",
                ImagePositionPatient=[0, 0, 2.0 * k],
                Units=units[k],
                RescaleSlope=1 + 0.5 * k,
                **placed,
            )
            make.save(made, tmp_path / name / f"{k}.dcm")
    image = read_dicom_folder(tmp_path / "same")
    assert image.units == "BQML"
    np.testing.assert_allclose(image.array, STORED[:2] * np.array([1, 1.5])[:, None, None])
    with pytest.raises(ReadError, match=r"\.dcm has a rescale \(units"):
        read_dicom_folder(tmp_path / "other")


QUANTITIES = {
    "CT": {"RescaleType": "HU"}, "PT": {"Units": "BQML"}, "NM": {"Units": "CNTS"}, "MGML": {"RescaleType": "MGML"},
}  # fmt: skip


@pytest.mark.parametrize("kind", QUANTITIES)
@pytest.mark.parametrize("form", ["single", "series", "multi-frame"])
def test_monochrome1_changes_no_value_that_has_units(tmp_path: Path, kind: str, form: str) -> None:
    tags = {
        "PhotometricInterpretation": "MONOCHROME1",
        "BitsStored": 12,
        "RescaleIntercept": 0,
        **QUANTITIES[kind],
    }
    modality = "CT" if kind == "MGML" else kind
    if form == "multi-frame":
        made = make.enhanced(STORED, modality, rescale=[(1, 0)])
        made.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = tags.get(
            "RescaleType", "US"
        )
        image = read_dicom(make.save(make.set_tags(made, **tags), tmp_path / "e"))
    else:
        for k in range(1 if form == "single" else 4):
            make.save(make.ct_slice(STORED[k], (0, 0, 2.0 * k), Modality=modality, **tags), tmp_path / str(k))
        image = read_dicom_folder(tmp_path)
    np.testing.assert_array_equal(image.array, STORED[0] if form == "single" else STORED)
    assert image.units in ("HU", "BQML", "CNTS", "MGML")


def test_dose_in_monochrome1_is_as_stored(tmp_path: Path) -> None:
    made = objects.dose(STORED, [0, 2, 4, 6], PhotometricInterpretation="MONOCHROME1")
    image = read_dicom(make.save(made, tmp_path / "d"))
    np.testing.assert_allclose(image.array, STORED * 0.01, rtol=1e-6)
    assert image.units == "GY"


def test_images_without_units_are_inverted_in_every_form(tmp_path: Path) -> None:
    inverted = 4095 - STORED.astype(int)
    tags: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12}
    multi = make.set_tags(make.enhanced(STORED, "MR"), **tags)
    np.testing.assert_array_equal(read_dicom(make.save(multi, tmp_path / "e")).array, inverted)
    single = make.dataset(STORED[0], "DX", **tags)
    np.testing.assert_array_equal(read_dicom(make.save(single, tmp_path / "s")).array, inverted[0])


def test_slices_to_invert_of_other_bits_are_refused(tmp_path: Path) -> None:
    for k in range(3):
        made = make.dataset(
            STORED[k], "MR", ImagePositionPatient=[0, 0, 2.0 * k], ImageOrientationPatient=list(make.AXIAL),
            PixelSpacing=[1, 1], PhotometricInterpretation="MONOCHROME1", BitsStored=16 if k == 1 else 12,
        )  # fmt: skip
        make.save(made, tmp_path / f"{k}.dcm")
    with pytest.raises(ReadError, match=r"1\.dcm has values of 16 bits"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize(
    ("tags", "units"),
    [
        ({"RescaleType": "HU", "ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "HU"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, "HU"),
        ({"RescaleType": "US", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, "arbitrary"),
        ({"RescaleType": "US", "ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"]}, "arbitrary"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "CBF"]}, "arbitrary"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "arbitrary"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "IODINE"]}, "arbitrary"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "MultienergyCTAcquisition": "YES"}, "arbitrary"),
        ({"RescaleType": "MGML"}, "MGML"), ({"RescaleType": "ED"}, "ED"), ({"RescaleType": "hu "}, "HU"),
    ],
)  # fmt: skip
def test_hounsfield_units_are_what_says_so(tmp_path: Path, tags: dict[str, Any], units: str) -> None:
    image = read_dicom(make.save(make.ct_slice(STORED[0], (0, 0, 0), **tags), tmp_path / "one"))
    assert image.units == units
    assert (image.warnings == ()) == (units == "HU")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_parametric_maps_hold_what_their_mapping_says(tmp_path: Path, dtype: type) -> None:
    stored = (np.arange(4 * 144).reshape(4, 12, 12)).astype(dtype)
    slope, intercept = (0.001, -1.0) if dtype is np.uint16 else (1.0, 0.0)
    made = objects.parametric_map(
        objects.sources(4), stored, slope, intercept, codes.UCUM.SquareMillimeterPerSecond
    )
    path = tmp_path / "map.dcm"
    made.save_as(path)
    image = read_dicom(path)
    assert image.units == "mm2/s" and image.kind == "volume"
    np.testing.assert_allclose(image.array, stored * slope + intercept, rtol=1e-6)


def test_real_world_values_of_plain_slices(tmp_path: Path) -> None:
    line = objects.real_world(
        0.5, 3.0, "ms", RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=65535
    )
    made = make.dataset(STORED[0], "MR", RealWorldValueMappingSequence=line)
    image = read_dicom(make.save(made, tmp_path / "line"))
    np.testing.assert_allclose(image.array, STORED[0] * 0.5 + 3)
    assert image.units == "ms"
    table = objects.real_world(
        None, None, "[hnsf'U]", RealWorldValueFirstValueMapped=10, RealWorldValueLastValueMapped=12,
        RealWorldValueLUTData=[-5.0, 0.5, 70.0],
    )  # fmt: skip
    stored = np.array([[10, 11], [12, 10]], np.uint16)
    image = read_dicom(
        make.save(make.dataset(stored, "MR", RealWorldValueMappingSequence=table), tmp_path / "table")
    )
    np.testing.assert_allclose(image.array, [[-5, 0.5], [70, -5]])
    assert image.units == "HU"


def test_values_outside_a_mapping_are_told_and_free_text_is_no_unit(tmp_path: Path) -> None:
    said = objects.real_world(
        2.0, 0.0, "JOHN DOE", RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=100
    )
    stored = np.array([[50, 100], [101, 3000]], np.uint16)
    image = read_dicom(
        make.save(make.dataset(stored, "MR", RealWorldValueMappingSequence=said), tmp_path / "a")
    )
    assert image.units == "arbitrary" and any("2 voxels lie outside" in warning for warning in image.warnings)


def test_slices_of_two_maps_are_two_series(tmp_path: Path) -> None:
    for which, unit in enumerate(("ms", "mm2/s")):
        for k in range(3):
            made = make.dataset(
                make.stored_volume(3, seed=which)[k], "MR", ImagePositionPatient=[0, 0, 2.0 * k + which], PixelSpacing=[1, 1],
                ImageOrientationPatient=list(make.AXIAL), RealWorldValueMappingSequence=objects.real_world(2.0, 0.0, unit),
            )  # fmt: skip
            make.save(made, tmp_path / f"{k}{which}")
    with pytest.raises(ReadError, match=r"real world value no\. 1"):
        read_dicom_folder(tmp_path)


def padded_ct(size: int = 64) -> np.ndarray:
    """A noisy round field, and -2000 outside it."""
    y, x = np.mgrid[:size, :size] - size / 2
    noise = np.random.default_rng(0).normal(0, 20, (size, size))
    return np.where(x**2 + y**2 < (0.45 * size) ** 2, 40 + noise, -2000).astype(np.int16)


def test_padding_is_found_within_the_error_of_a_lossy_codec(tmp_path: Path) -> None:
    from openjpeg.utils import encode_array

    stored = padded_ct()
    made = make.ct_slice(stored, (0, 0, 0), RescaleIntercept=0, RescaleType="HU", PixelPaddingValue=-2000)
    made["PixelPaddingValue"].VR = "SS"
    encoded = encode_array(stored, compression_ratios=[6.0])
    from pydicom.encaps import encapsulate

    made.PixelData = encapsulate([encoded])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = uid.JPEG2000
    made.LossyImageCompression = "01"
    image = read_dicom(make.save(made, tmp_path / "one"))
    assert image.units == "HU" and image.array.min() == -1024
    assert (image.array[stored == -2000] == -1024).mean() > 0.95
    inside = stored > -1000
    assert np.abs(image.array[inside].astype(int) - stored[inside]).max() < 400


def test_tissue_near_the_padding_value_is_kept_where_nothing_is_padded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(20, 30, (32, 32)).astype(np.uint16)
    stored[0, 0] = 4000
    made = make.ct_slice(stored, (0, 0, 0), PixelPaddingValue=0, LossyImageCompression="01", RescaleType="HU")
    np.testing.assert_array_equal(
        read_dicom(make.save(made, tmp_path / "one")).array, stored.astype(int) - 1024
    )


def test_a_slice_that_is_all_padding_is_air(tmp_path: Path) -> None:
    for k, stored in enumerate((np.full((4, 4), -2000, np.int16), np.full((4, 4), 30, np.int16))):
        made = make.ct_slice(stored, (0, 0, 2.0 * k), RescaleIntercept=0, PixelPaddingValue=-2000)
        made["PixelPaddingValue"].VR = "SS"
        make.save(made, tmp_path / str(k))
    image = read_dicom_folder(tmp_path)
    assert (image.array[0] == -1024).all() and (image.array[1] == 30).all()
