"""What a DICOM header claims without saying all of it: units, places that contradict each other, phases, sizes of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.dicom import read_dicom, read_dicom_folder
from tests.factories import dicom as make
from tests.factories import dicom_objects as objects

STORED = make.stored_volume(4)


def placed(k: int, **tags: Any) -> dict[str, Any]:
    return {
        "ImagePositionPatient": [0, 0, 2.0 * k], "ImageOrientationPatient": list(make.AXIAL), "PixelSpacing": [2, 2],
        "SliceThickness": 2, "InstanceNumber": k + 1, **tags,
    }  # fmt: skip


def pet(folder: Path, **tags: Any) -> Path:
    for k, plane in enumerate(STORED):
        make.save(make.dataset(plane, "PT", **placed(k, **tags)), folder / f"{k}.dcm")
    return folder


def test_a_pet_without_a_rescale_is_not_in_the_units_that_it_names(tmp_path: Path) -> None:
    image = read_dicom_folder(pet(tmp_path, Units="BQML"))
    assert image.units == "arbitrary" and any("PET" in warning for warning in image.warnings)


@pytest.mark.parametrize(
    ("kind", "said"), [("BW", None), (None, None), ("LBM", "lean body mass"), ("BSA", "body surface")]
)
def test_uptake_that_is_not_by_body_weight_says_so(
    tmp_path: Path, kind: str | None, said: str | None
) -> None:
    image = read_dicom_folder(
        pet(tmp_path, Units="GML", SUVType=kind, RescaleSlope=0.001, RescaleIntercept=0)
    )
    assert image.units == "GML"
    assert image.warnings == () if said is None else any(said in warning for warning in image.warnings)


@pytest.mark.parametrize(
    ("keyword", "values"), [("SUVType", ("BW", "LBM")), ("DecayCorrection", ("NONE", "START"))]
)
def test_pet_slices_of_another_measure_are_another_scan(
    tmp_path: Path, keyword: str, values: tuple[str, str]
) -> None:
    for k, plane in enumerate(STORED):
        tags = placed(k, Units="GML", RescaleSlope=1, RescaleIntercept=0, **{keyword: values[k % 2]})
        make.save(make.dataset(plane, "PT", **tags), tmp_path / f"{k}.dcm")
    with pytest.raises(AmbiguousSourceError, match="2 images or series"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize("own", [(1, 0), (2, -1024)])
def test_a_ct_slice_with_a_rescale_of_its_own_is_read_by_it_and_named(
    tmp_path: Path, own: tuple[int, int]
) -> None:
    for k, plane in enumerate(STORED):
        slope, intercept = own if k == 2 else (1, -1024)
        made = make.ct_slice(plane, (0, 0, 2.0 * k), RescaleSlope=slope, RescaleIntercept=intercept)
        make.save(made, tmp_path / f"{k}.dcm")
    image = read_dicom_folder(tmp_path)
    assert np.array_equal(image.array[2], STORED[2].astype(int) * own[0] + own[1])
    assert [warning for warning in image.warnings if "1 of 4 slices" in warning and "2.dcm" in warning]


@pytest.mark.parametrize("term", ["PERFUSION_CBF", "VMI_70", "MONO 40KEV", "IODINE(WATER)"])
def test_a_compound_term_says_that_a_ct_is_not_in_hounsfield_units(tmp_path: Path, term: str) -> None:
    make.ct_series(tmp_path, STORED, ImageType=["ORIGINAL", "PRIMARY", "AXIAL", term])
    assert read_dicom_folder(tmp_path).units == "arbitrary"


@pytest.mark.parametrize("term", ["CT_SOM5 SPI", "HELIX", "VOLUME", "NONE", "DET_A"])
def test_terms_of_the_acquisition_change_no_units(tmp_path: Path, term: str) -> None:
    make.ct_series(tmp_path, STORED, ImageType=["ORIGINAL", "PRIMARY", "AXIAL", term])
    assert read_dicom_folder(tmp_path).units == "HU"


def test_a_captured_ct_is_in_hounsfield_units_only_where_it_says_so(tmp_path: Path) -> None:
    for name, tags in (("bare", {}), ("said", {"RescaleType": "HU"})):
        make.ct_series(tmp_path / name, STORED, SOPClassUID=uid.SecondaryCaptureImageStorage, **tags)
    assert read_dicom_folder(tmp_path / "bare").units == "arbitrary"
    assert read_dicom_folder(tmp_path / "said").units == "HU"


@pytest.mark.parametrize(("unit", "units"), [("mg/ml", "mg/ml"), ("[hnsf'U]", "HU")])
def test_a_ct_that_maps_its_values_is_in_the_mapping_s_units(tmp_path: Path, unit: str, units: str) -> None:
    mapping = objects.real_world(
        0.5, -3, unit, RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=4095
    )
    make.ct_series(tmp_path, STORED, RealWorldValueMappingSequence=mapping)
    image = read_dicom_folder(tmp_path)
    assert image.units == units
    expected = STORED * 0.5 - 3 if unit == "mg/ml" else STORED.astype(int) - 1024
    np.testing.assert_allclose(image.array, expected)


def test_fractions_above_their_maximum_are_refused(tmp_path: Path) -> None:
    made = objects.segmentation(objects.sources(3), np.full((3, 12, 12, 1), 0.5, np.float32), "FRACTIONAL")
    made.MaximumFractionalValue = 100
    with pytest.raises(ReadError, match="128, above its Maximum Fractional Value 100"):
        read_dicom(make.save(made, tmp_path / "f"))


@pytest.mark.parametrize(("height", "warned"), [(10, False), (20, True)])
def test_dose_planes_whose_offsets_contradict_their_position_are_told(
    tmp_path: Path, height: int, warned: bool
) -> None:
    made = objects.dose(STORED, [10, 12, 14, 16])
    made.ImagePositionPatient = [0, 0, height]
    image = read_dicom(make.save(made, tmp_path / "d"))
    assert any("Grid Frame Offset Vector" in warning for warning in image.warnings) is warned


def test_a_mosaic_says_what_was_assumed(tmp_path: Path) -> None:
    made = objects.mosaic(STORED)
    del made.SpacingBetweenSlices
    made.SliceThickness = 3
    warnings = " ".join(read_dicom(make.save(made, tmp_path / "m")).warnings)
    assert "to which side" in warnings and "taken to touch" in warnings
    block = made.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", objects.csa_header(SliceNormalVector=[0, 0, 1]))
    assert "to which side" not in " ".join(read_dicom(make.save(made, tmp_path / "n")).warnings)


def test_a_mosaic_whose_type_is_gone_is_told_by_its_count(tmp_path: Path) -> None:
    made = objects.mosaic(STORED)
    made.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    assert read_dicom(make.save(made, tmp_path / "m")).array.shape == STORED.shape


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        ([6, 0, 0, 6], True), ([0, 6, 5, 0], True), ([12, 0, 0, 12], False), ([18, 0, 0, 15], False), ([0, 0, 0, 0], False),
        (None, False), ([6, 6], False),
    ],
)  # fmt: skip
def test_an_image_of_far_more_pixels_than_were_acquired_may_be_a_mosaic(
    tmp_path: Path, matrix: list[int] | None, told: bool
) -> None:
    made = objects.mosaic(make.stored_volume(9, 6, 6))
    made.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    del made[0x0019, 0x100A]
    if matrix is not None:
        made.AcquisitionMatrix = matrix
    image = read_dicom(make.save(made, tmp_path / "m"))
    assert image.array.shape == (18, 18)
    assert any("Acquisition Matrix" in warning for warning in image.warnings) is told
    made.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(
        0x10, "OB", objects.csa_header(NumberOfImagesInMosaic=[9], SliceNormalVector=[0, 0, 1])
    )
    read = read_dicom(make.save(made, tmp_path / "n"))
    assert (read.array.shape == (9, 6, 6)) is (told or matrix == [12, 0, 0, 12])


def test_a_grid_of_united_imaging_is_refused_by_name(tmp_path: Path) -> None:
    made = make.dataset(STORED[0], "MR", **placed(0))
    made.private_block(0x65, "Image Private Header", create=True).add_new(0x50, "DS", "9")
    with pytest.raises(ReadError, match="grid of United Imaging: 9 slices"):
        read_dicom(make.save(made, tmp_path / "u"))


PHASES = {
    "cardiac": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", "cardiac phase 40 %"),
    "respiratory": (
        "RespiratorySynchronizationSequence",
        "NominalPercentageOfRespiratoryPhase",
        "respiratory phase 40 %",
    ),
    "offset": ("TemporalPositionSequence", "TemporalPositionTimeOffset", "at 40 s"),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("apart", [0.0, 1.5])
def test_phases_of_an_enhanced_object_are_volumes_of_their_own(
    tmp_path: Path, phase: str, apart: float
) -> None:
    group, keyword, said = PHASES[phase]
    heights = [3.0 * (k % 2) + apart * (k // 2) for k in range(4)]
    made = make.enhanced(STORED, positions=[(0, 0, height) for height in heights], rescale=[(1, -1024)])
    for k, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        setattr(frame, group, make.item(**{keyword: 40.0 * (k // 2)}))
    path = make.save(made, tmp_path / "e")
    with pytest.raises(AmbiguousSourceError, match=said):
        read_dicom(path)


def test_scans_that_differ_in_the_size_of_a_pixel_say_it(tmp_path: Path) -> None:
    for k, plane in enumerate(STORED):
        make.save(make.ct_slice(plane, (0, 0, 2.0 * k), PixelSpacing=[1 + k // 2] * 2), tmp_path / f"{k}.dcm")
    with pytest.raises(AmbiguousSourceError, match=r"pixels of 1 x 1 mm[\s\S]*pixels of 2 x 2 mm"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize("terms", [("TOMO",), ("RECON TOMO",)])
def test_projections_of_a_gamma_camera_are_no_slices(tmp_path: Path, terms: tuple[str, ...]) -> None:
    made = objects.spect(STORED)
    made.ImageType = ["ORIGINAL", "PRIMARY", *terms]
    path = make.save(made, tmp_path / "n")
    if terms == ("RECON TOMO",):
        assert read_dicom(path).array.shape == STORED.shape
    else:
        with pytest.raises(AmbiguousSourceError, match="no Slice Vector"):
            read_dicom(path)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, "measured at the detector"),
        (
            {
                "PixelSpacing": [0.2, 0.2],
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            "",
        ),
        ({"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.2, 0.2]}, ""),
        ({"PixelAspectRatio": ["4", "3"]}, "not square"),
        ({"PixelAspectRatio": ["1", "1"]}, ""),
        ({"PresentationLUTShape": "INVERSE"}, "contradicts Photometric Interpretation"),
        ({"PresentationLUTShape": "IDENTITY"}, ""),
        ({"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"}, ""),
    ],
)
def test_radiographs_say_what_their_pixels_are(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    image = read_dicom(make.save(make.dataset(STORED[0], "DX", **tags), tmp_path / "x"))
    assert image.warnings == () if not said else any(said in warning for warning in image.warnings)


def test_negative_jpeg_2000_pixels_are_not_read_as_large_ones(tmp_path: Path) -> None:
    for name, low in (("negative", -1024), ("positive", 0)):
        plane = (make.stored_volume(1, 16, 16)[0].astype(int) + low).astype(np.int16)
        made = make.ct_slice(plane.astype(np.uint16), (0, 0, 0), RescaleIntercept=0)
        coded = imagecodecs.jpeg2k_encode(plane, level=0, codecformat="J2K", reversible=True)
        made.PixelData = encapsulate([coded])
        made["PixelData"].is_undefined_length = True
        made.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        make.save(made, tmp_path / name)
        if low:
            with pytest.raises(ReadError, match="Pixel Representation"):
                read_dicom(tmp_path / name)
        else:
            assert np.array_equal(read_dicom(tmp_path / name).array, plane)


@pytest.mark.parametrize("kind", ["native", "one slice", "offset table", "groups"])
def test_frames_beyond_the_count_are_told(tmp_path: Path, kind: str) -> None:
    made = (
        make.dataset(STORED[0], **placed(0))
        if kind == "one slice"
        else make.enhanced(STORED, rescale=[(1, -1024)])
    )
    if kind == "one slice":
        made.PixelData += bytes(len(made.PixelData))
    elif kind == "groups":
        made.PixelData = STORED[:-1].tobytes()
    elif kind == "offset table":
        made.PixelData = encapsulate([imagecodecs.jpeg2k_encode(plane, level=0) for plane in STORED])
        made.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    path = make.save(made, tmp_path / "m")
    shortened = pydicom.dcmread(path)
    if kind in ("native", "offset table"):
        assert not read_dicom(path).warnings
    if kind != "one slice":
        shortened.NumberOfFrames = len(STORED) - 1
        shortened.save_as(path)
    image = read_dicom(path)
    assert any("what is beyond was left out" in warning for warning in image.warnings)
    wanted = STORED[0] if kind == "one slice" else STORED[:-1].astype(int) - 1024
    np.testing.assert_array_equal(image.array, wanted)
