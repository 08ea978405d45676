"""Habits of scanners and of those who de-identify: what a careful person would see in the file is read, or told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.dicom import read_dicom, read_dicom_folder
from medmvl.imaging.image import MedicalImage
from tests.factories import dicom as make

STORED = make.stored_volume(4)
GREY = np.arange(0, 252, 6, dtype=np.uint8).reshape(6, 7)


def told(image: MedicalImage, words: str) -> bool:
    return any(words in warning for warning in image.warnings)


def ct(folder: Path, stored: np.ndarray = STORED, **tags: Any) -> MedicalImage:
    for k, plane in enumerate(stored):
        made = make.ct_slice(plane, (0, 0, 2.0 * k), InstanceNumber=k + 1, **tags)
        make.save(made, folder / f"{k}.dcm")
    return read_dicom_folder(folder)


def single(path: Path, pixels: np.ndarray, modality: str = "DX", **tags: Any) -> MedicalImage:
    return read_dicom(make.save(make.dataset(pixels, modality, **tags), path))


@pytest.mark.parametrize("said", [None, "", "PET/CT"])
def test_a_lost_modality_is_that_of_the_sop_class(tmp_path: Path, said: str | None) -> None:
    image = ct(tmp_path, Modality=said)
    assert (image.modality, image.units) == ("CT", "HU") and told(image, "CT was taken, by its SOP Class")


def test_a_modality_in_small_letters_is_read_and_a_capture_has_none(tmp_path: Path) -> None:
    image = ct(tmp_path / "ct", Modality="ct")
    assert (image.modality, image.units, image.warnings) == ("CT", "HU", ())
    assert single(tmp_path / "sc", GREY, "SC", Modality=None).modality is None


@pytest.mark.parametrize("term", ["IODINE", "CBF", "Z_EFF", "PERFUSION_MTT"])
def test_a_map_that_says_hounsfield_is_questioned(tmp_path: Path, term: str) -> None:
    image = ct(tmp_path, ImageType=["DERIVED", "PRIMARY", "AXIAL", term], RescaleType="HU")
    assert image.units == "HU" and told(image, "Rescale Type says HU")


@pytest.mark.parametrize("term", ["VMI", "MONOENERGETIC", "VNC", "MPR", "MIP", "NORM"])
def test_attenuation_that_says_hounsfield_is_not(tmp_path: Path, term: str) -> None:
    image = ct(tmp_path, ImageType=["DERIVED", "PRIMARY", "AXIAL", term], RescaleType="HU")
    assert (image.units, image.warnings) == ("HU", ())


def test_a_cone_beam_volume_is_in_hounsfield_units_only_where_it_says_so(tmp_path: Path) -> None:
    for rescale_type, units in (("HU", "HU"), (None, "arbitrary")):
        made = make.enhanced(STORED, rescale=[(1, -1024)])
        made.SOPClassUID = uid.XRay3DCraniofacialImageStorage
        transformation = made.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
        make.set_tags(transformation, RescaleType=rescale_type)
        image = read_dicom(make.save(made, tmp_path / "cone"))
        assert image.units == units and told(image, "cone beam") is (units != "HU")


def test_distorted_planes_are_told(tmp_path: Path) -> None:
    made = make.enhanced(STORED, rescale=[(1, -1024)])
    made.VolumetricProperties = "DISTORTED"
    assert told(read_dicom(make.save(made, tmp_path / "curved")), "distorted")


def test_negative_values_in_unsigned_pixels_are_told(tmp_path: Path) -> None:
    stored = STORED.copy()
    stored[:, 0] = 2**16 - 2000
    assert told(ct(tmp_path / "a", stored), "values reach 62512 HU")
    assert ct(tmp_path / "b").warnings == ()


def test_padding_without_its_tag_is_told_and_with_it_is_air(tmp_path: Path) -> None:
    stored = STORED.astype(np.int16)
    stored[:, 0] = -2000
    bare = ct(tmp_path / "bare", stored)
    assert bare.array.min() == -3024 and told(bare, "28 voxels hold -3024 HU")
    named = ct(tmp_path / "named", stored, PixelPaddingValue=-2000)
    assert named.array.min() == -1024 and not told(named, "-3024")


def test_tissue_of_the_padding_value_is_kept(tmp_path: Path) -> None:
    """Pixel Padding Value 0 in a CT stored in Hounsfield units, where 0 is water."""
    stored = (STORED.astype(np.int16) % 300) + 1
    stored[:, 0, :3] = stored[:, 1, :2] = stored[:, 5, 6] = 0  # corners
    stored[:, 3, 3:5] = 0  # water
    image = ct(tmp_path, stored, RescaleIntercept=0, PixelPaddingValue=0)
    expected = stored.copy()
    expected[:, 0, :3] = expected[:, 1, :2] = expected[:, 5, 6] = -1024
    assert np.array_equal(image.array, expected)
    assert told(image, "24 padding voxels") and told(image, "tissue has the Pixel Padding Value")


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_values_beyond_bits_stored_are_told_unless_an_overlay_lies_there(
    tmp_path: Path, overlay: bool, signed: bool
) -> None:
    stored = STORED.astype(np.int16 if signed else np.uint16)
    stored[1, 2, 3] = 5000
    tags: dict[str, Any] = {"BitsStored": 12}
    made = [make.ct_slice(plane, (0, 0, 2.0 * k), **tags) for k, plane in enumerate(stored)]
    for k, one in enumerate(made):
        if overlay:
            one.add_new(0x60000102, "US", 12)
        make.save(one, tmp_path / f"{k}.dcm")
    assert told(read_dicom_folder(tmp_path), "more than the 12 bits") is not overlay


@pytest.mark.parametrize("signed", [False, True])
def test_values_within_bits_stored_are_not(tmp_path: Path, signed: bool) -> None:
    stored = np.clip(STORED, 0, 2047).astype(np.int16) - (200 if signed else 0)
    image = ct(tmp_path, stored if signed else stored.astype(np.uint16), BitsStored=12)
    assert image.warnings == () and np.array_equal(image.array, stored - 1024)


def palette(bits: int, entries: np.ndarray) -> Dataset:
    made = make.dataset(GREY, "US", PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(made, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    return made


@pytest.mark.parametrize(
    ("bits", "entries"),
    [
        (8, np.arange(256, dtype=np.uint8)),
        (8, np.arange(256, dtype=np.uint16)),
        (16, np.arange(256, dtype=np.uint16)),
        (16, np.arange(256, dtype=np.uint16) << 8),
        (16, np.arange(256, dtype=np.uint16) * 257),
    ],
)
def test_palettes_of_any_depth_are_not_black(tmp_path: Path, bits: int, entries: np.ndarray) -> None:
    image = read_dicom(make.save(palette(bits, entries), tmp_path / "p"))
    assert np.array_equal(image.array, np.stack([GREY] * 3, axis=-1))


def test_colours_over_grey_are_told(tmp_path: Path) -> None:
    made = palette(8, np.arange(256, dtype=np.uint8))
    made.PhotometricInterpretation, made.PixelPresentation = "MONOCHROME2", "COLOR"
    image = read_dicom(make.save(made, tmp_path / "p"))
    assert np.array_equal(image.array, GREY) and told(image, "supplemental palette")


@pytest.mark.parametrize("units", [None, "BQ/ML"])
def test_a_pet_that_names_no_known_units_says_so(tmp_path: Path, units: str | None) -> None:
    made = make.dataset(STORED[0], "PT", Units=units, RescaleSlope=2, RescaleIntercept=0)
    image = read_dicom(make.save(made, tmp_path / "p"))
    assert image.units == "arbitrary" and told(image, "Bq/ml, counts or SUV")


def table(entries: np.ndarray, bits: int) -> DicomSequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, bits]
    item.ModalityLUTType = "US"
    item.add_new(0x00283006, "OW", entries.tobytes())
    return DicomSequence([item])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_modality_table_of_bytes_is_read(tmp_path: Path, dtype: type) -> None:
    entries = np.arange(256)[::-1].astype(dtype)
    image = single(tmp_path / "m", GREY, ModalityLUTSequence=table(entries, 8))
    assert np.array_equal(image.array, 255 - GREY.astype(int))


@pytest.mark.parametrize("falling", [False, True])
def test_a_voi_table_that_turns_bright_to_dark_is_told(tmp_path: Path, falling: bool) -> None:
    entries = np.arange(256, dtype=np.uint16)
    made = table(entries[::-1].copy() if falling else entries, 8)
    assert told(single(tmp_path / "v", GREY, VOILUTSequence=made), "turns bright to dark") is falling


@pytest.mark.parametrize(("said", "animal"), [(["LE", "CD"], False), (["PR", "L"], True), (["L", "F"], True)])
def test_sides_of_animals_are_not_those_of_people(tmp_path: Path, said: list[str], animal: bool) -> None:
    kind = "QUADRUPED" if animal else None
    image = single(tmp_path / "o", GREY, PatientOrientation=said, AnatomicalOrientationType=kind)
    assert image.axcodes is None and np.array_equal(image.array, GREY)


@pytest.mark.parametrize(
    ("said", "planes"), [(15.0, 0.0), (-15.0, 15.0), (0.0, 0.0), (0.0, 15.0), (None, 15.0)]
)
def test_a_tilt_that_the_planes_do_not_have_is_told(
    tmp_path: Path, said: float | None, planes: float
) -> None:
    angle = np.radians(planes)
    orientation = [1, 0, 0, 0, float(np.cos(angle)), -float(np.sin(angle))]
    image = ct(tmp_path, ImageOrientationPatient=orientation, GantryDetectorTilt=said)
    assert told(image, "Gantry/Detector Tilt") is (said == 15)


def test_an_index_says_to_name_its_folder(tmp_path: Path) -> None:
    index = get_testdata_file("DICOMDIR", download=False)
    assert isinstance(index, str)
    with pytest.raises(ReadError, match="name the folder"):
        read_dicom(Path(shutil.copy(index, tmp_path)))


def test_a_portal_image_has_the_size_of_its_pixels(tmp_path: Path) -> None:
    image = single(tmp_path / "r", GREY, "RTIMAGE", ImagePlanePixelSpacing=[0.4, 0.3])
    assert image.spacing_mm == (0.4, 0.3) and told(image, "at the detector")


def test_the_photometric_interpretation_in_small_letters_is_read(tmp_path: Path) -> None:
    image = single(tmp_path / "m", GREY, PhotometricInterpretation="monochrome1")
    assert np.array_equal(image.array, 255 - GREY)


@pytest.mark.parametrize(
    ("said", "units", "words"), [("Hounsfield", "HU", ""), ("US", "arbitrary", "unspecified")]
)
def test_other_words_of_the_rescale_type(tmp_path: Path, said: str, units: str, words: str) -> None:
    image = ct(tmp_path, RescaleType=said)
    assert image.units == units and (told(image, words) if words else image.warnings == ())


@pytest.mark.parametrize(("intercept", "doubtful"), [(0, True), (-1024, False)])
def test_a_ct_without_air_is_questioned(tmp_path: Path, intercept: int, doubtful: bool) -> None:
    stored = np.tile(np.linspace(0, 2600, 64).astype(np.uint16), (4, 64, 1))
    assert told(ct(tmp_path, stored, RescaleIntercept=intercept), "no air") is doubtful


def test_frames_of_one_position_say_why_they_are_no_volume(tmp_path: Path) -> None:
    made = make.ct_slice(STORED[0], (0, 0, 0))
    make.set_tags(made, NumberOfFrames=4, PixelData=STORED.tobytes())
    with pytest.raises(AmbiguousSourceError, match="all have one Image Position"):
        read_dicom(make.save(made, tmp_path / "cone"))
