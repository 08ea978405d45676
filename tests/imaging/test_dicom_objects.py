"""Segmentations, SPECT, mosaics, dose, slides and slices without a place: read as what they are, or refused with the reason."""

from __future__ import annotations

import itertools
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import uid

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging import read
from medmvl.imaging.dicom import read_dicom, read_dicom_folder
from medmvl.imaging.selector import Selector
from tests.factories import dicom as make
from tests.factories import dicom_objects as objects


def saved(made: hd.base.SOPClass, tmp_path: Path) -> Path:
    path = tmp_path / "object.dcm"
    made.save_as(path)
    return path


def test_a_label_map_keeps_its_background_and_names(tmp_path: Path) -> None:
    labels = np.zeros((4, 12, 12), np.uint8)
    labels[:, 2:5, 3:8] = 1
    labels[1:3, 8:11, 8:11] = 2
    path = saved(objects.segmentation(objects.sources(4), labels, "LABELMAP", ("liver", "tumour")), tmp_path)
    image = read_dicom(path)
    np.testing.assert_array_equal(image.array, labels)
    assert image.units == "label" and image.warnings == ()
    assert image.label_names is not None
    assert (image.label_names[1], image.label_names[2]) == ("liver", "tumour")


def test_colours_of_a_label_map_are_display_alone(tmp_path: Path) -> None:
    labels = np.zeros((2, 12, 12), np.uint8)
    labels[:, 2:5, 3:8] = 1
    made = objects.segmentation(objects.sources(2), labels, "LABELMAP")
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [2, 0, 16])
        made.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.array([0, 65535], np.uint16).tobytes())
    np.testing.assert_array_equal(read_dicom(saved(made, tmp_path)).array, labels)


@pytest.mark.parametrize("shown", [[0, 1, 2, 5, 6], [0, 3, 6], [1, 2, 4]])
def test_a_mask_keeps_the_places_of_frames_left_out(tmp_path: Path, shown: list[int]) -> None:
    mask = np.zeros((7, 12, 12), np.uint8)
    mask[shown, 3:6, 4:9] = 1
    path = saved(objects.segmentation(objects.sources(7), mask, "BINARY"), tmp_path)
    image = read_dicom(path)
    whole = mask[shown[0] : shown[-1] + 1]
    np.testing.assert_array_equal(image.array, whole)
    assert image.affine is not None and image.warnings == () and image.label_names == {1: "liver"}
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [0, 0, 2.5 * shown[0], 1], atol=1e-9)
    theirs = hd.seg.segread(path).get_volume(combine_segments=True)
    assert theirs.array.shape == image.shape


def test_segments_may_overlap_and_share_one_grid(tmp_path: Path) -> None:
    masks = np.zeros((6, 12, 12, 2), np.uint8)
    masks[0:4, 2:8, 2:8, 0] = 1
    masks[3:6:2, 4:10, 4:10, 1] = 1
    path = saved(objects.segmentation(objects.sources(6), masks, "BINARY", ("liver", "tumour")), tmp_path)
    with pytest.raises(
        AmbiguousSourceError, match=r"segment 'liver', 6 slices.*\n.*segment 'tumour', 6 slices"
    ):
        read_dicom(path)
    for number in (1, 2):
        image = read_dicom(path, Selector(series=number))
        np.testing.assert_array_equal(image.array, masks[..., number - 1])
    assert image.label_names == {1: "tumour"}


def test_fractions_are_shares_of_their_maximum(tmp_path: Path) -> None:
    share = np.zeros((4, 12, 12, 1), np.float32)
    share[:, 3:9, 3:9, 0] = 0.5
    share[1, 4, 4, 0] = 1
    made = objects.segmentation(objects.sources(4), share, "FRACTIONAL", max_fractional_value=200)
    image = read_dicom(saved(made, tmp_path))
    np.testing.assert_allclose(image.array, share[..., 0], atol=0.003)
    assert image.units == "fraction"


@pytest.mark.parametrize("step", [-4.4, 4.4])
def test_reconstructed_spect_is_a_volume_stacked_to_the_stated_side(tmp_path: Path, step: float) -> None:
    stored = make.stored_volume(5)
    image = read_dicom(make.save(objects.spect(stored, step), tmp_path / "nm"))
    np.testing.assert_array_equal(image.array, stored[::-1] if step < 0 else stored)
    assert image.affine is not None and image.spacing_mm == pytest.approx((4.4, 4.4, 4.4))
    lowest = 100 + min(0, 4 * step)
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [40, 40, lowest, 1])


def test_gated_spect_has_times_and_one_without_a_step_is_refused(tmp_path: Path) -> None:
    stored = make.stored_volume(6)
    gated = objects.spect(stored, TimeSlotVector=[1, 1, 1, 2, 2, 2])
    gated.SliceVector = [1, 2, 3, 1, 2, 3]
    path = make.save(gated, tmp_path / "gated")
    np.testing.assert_array_equal(read_dicom(path, Selector(time=2)).array, stored[3:][::-1])
    bare = make.set_tags(objects.spect(stored), SpacingBetweenSlices=None)
    with pytest.raises(ReadError, match="Spacing Between Slices"):
        read_dicom(make.save(bare, tmp_path / "bare"))


@pytest.mark.parametrize("count", [9, 7, 4])
def test_a_mosaic_is_its_slices(tmp_path: Path, count: int) -> None:
    slices = make.stored_volume(count, 8, 8)
    image = read_dicom(make.save(objects.mosaic(slices, (-10, -12, 20)), tmp_path / "m"))
    np.testing.assert_array_equal(image.array, slices)
    assert image.affine is not None and image.spacing_mm == pytest.approx((4, 3, 3))
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [10, 12, 20, 1])


def test_mosaics_over_time_are_a_volume_each(tmp_path: Path) -> None:
    for time in range(3):
        made = objects.mosaic(
            make.stored_volume(4, 8, 8, seed=time), AcquisitionNumber=time + 1, InstanceNumber=time + 1
        )
        make.save(made, tmp_path / f"{9 - time}")
    for time in range(3):
        image = read_dicom_folder(tmp_path, Selector(time=time + 1))
        np.testing.assert_array_equal(image.array, make.stored_volume(4, 8, 8, seed=time))


def test_a_mosaic_whose_private_elements_are_gone_says_so_and_its_own_header_helps(tmp_path: Path) -> None:
    slices = make.stored_volume(5, 8, 8)
    made = objects.mosaic(slices)
    del made[0x0019, 0x100A], made[0x0019, 0x0010]
    with pytest.raises(ReadError, match=r"mosaic.*dcm2niix"):
        read_dicom(make.save(made, tmp_path / "bare"))
    block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", objects.csa_header(NumberOfImagesInMosaic=[5], SliceNormalVector=[0, 0, -1]))
    image = read_dicom(make.save(made, tmp_path / "csa"))
    np.testing.assert_array_equal(image.array, slices[::-1])  # the first slice is the highest


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_dose_planes_lie_where_their_vector_says(tmp_path: Path, absolute: bool, down: bool) -> None:
    stored, steps = make.stored_volume(3), np.array([0, 2, 4]) * (-1 if down else 1)
    made = objects.dose(stored, [float(step + (50 if absolute else 0)) for step in steps])
    image = read_dicom(make.save(made, tmp_path / "d"))
    np.testing.assert_allclose(image.array, (stored[::-1] if down else stored) * 0.01, rtol=1e-6)
    assert image.affine is not None and image.affine[2, 3] == pytest.approx(46 if down else 50)


def test_dose_without_its_scaling_or_a_short_vector(tmp_path: Path) -> None:
    stored = make.stored_volume(3)
    image = read_dicom(
        make.save(make.set_tags(objects.dose(stored, [0, 2, 4]), DoseGridScaling=None), tmp_path / "a")
    )
    assert image.units == "arbitrary" and any("gray" in warning for warning in image.warnings)
    with pytest.raises(ReadError, match="Grid Frame Offset Vector"):
        read_dicom(make.save(objects.dose(stored, [0, 2]), tmp_path / "b"))


LOST = {
    "position and orientation": (
        {"ImagePositionPatient": None, "ImageOrientationPatient": None},
        "Image Position (Patient)",
    ),
    "position": ({"ImagePositionPatient": None}, "Image Position (Patient)"),
    "orientation": ({"ImageOrientationPatient": None}, "Image Orientation (Patient)"),
    "spacing": ({"PixelSpacing": None}, "Pixel Spacing"),
    "one position for all": ({"ImagePositionPatient": [0, 0, 0]}, "same Image Position (Patient)"),
}


@pytest.mark.parametrize(("lost", "located"), itertools.product(LOST, (True, False)))
def test_slices_without_a_place_are_a_stack_of_unknown_orientation(
    tmp_path: Path, lost: str, located: bool
) -> None:
    tags, named = LOST[lost]
    if lost == "one position for all" and not located:
        return
    stored = make.stored_volume(5)
    for k in (3, 0, 4, 1, 2):
        made = make.ct_slice(
            stored[k], (0, 0, 2.0 * k), InstanceNumber=k + 1, SliceLocation=2.0 * k if located else None
        )
        make.save(make.set_tags(made, **tags), tmp_path / f"{(k * 7) % 5}")
    image = read_dicom_folder(tmp_path)
    np.testing.assert_array_equal(image.array, stored.astype(int) - 1024)
    assert image.kind == "volume" and image.affine is None and image.axcodes is None and image.units == "HU"
    assert any(named in warning for warning in image.warnings)
    assert any("orientation is unknown" in warning for warning in image.warnings)
    known = lost != "spacing" and (located or lost == "orientation")
    assert image.spacing_mm == (pytest.approx((2.0, 0.5, 0.75)) if known else None)
    if known:
        assert read(tmp_path, axcodes="SPL").axcodes == ("S", "P", "L")


WRONG = {
    "skewed": ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.866, 0]}, "at 60 degrees instead of 90"),
    "not one long": ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "of length 2 and 1 instead of 1"),
    "zero": ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "of length 0 and 0 instead of 1"),
    "five numbers": ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "5 numbers instead of 6"),
    "nine numbers": ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0, 0, 0, 1]}, "9 numbers instead of 6"),
    "NaN": ({"ImageOrientationPatient": ["nan", 0, 0, 0, 1, 0]}, "a value is not finite"),
    "position of two": ({"ImagePositionPatient": [0, 0]}, "2 numbers instead of 3"),
    "position at infinity": ({"ImagePositionPatient": [0, 0, "inf"]}, "a value is not finite"),
    "spacing of zero": ({"PixelSpacing": [0, 0.75]}, "(0, 0.75 mm)"),
    "spacing of one": ({"PixelSpacing": 0.75}, "1 numbers instead of 2"),
}
NAMES = {
    "ImageOrientationPatient": "Image Orientation (Patient)",
    "ImagePositionPatient": "Image Position (Patient)",
    "PixelSpacing": "Pixel Spacing",
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the values that are written
@pytest.mark.parametrize(("wrong", "enhanced"), itertools.product(WRONG, (False, True)))
def test_what_places_slices_and_is_wrong_is_told_as_what_it_is(
    tmp_path: Path, wrong: str, enhanced: bool
) -> None:
    ((keyword, value),), reason = WRONG[wrong][0].items(), WRONG[wrong][1]
    stored = make.stored_volume(3)
    if enhanced:
        made = make.enhanced(stored, rescale=[(1, -1024)])
        for groups in (*made.SharedFunctionalGroupsSequence, *made.PerFrameFunctionalGroupsSequence):
            for group in groups:
                if keyword in group.value[0]:
                    objects.set_unchecked(group.value[0], keyword, value)
        path = make.save(made, tmp_path / "one")
        with pytest.raises(AmbiguousSourceError) as caught:
            read_dicom(path)
        said = str(caught.value)
    else:
        for k in range(3):
            made = make.ct_slice(stored[k], (0, 0, 2.0 * k), InstanceNumber=k + 1, SliceLocation=2.0 * k)
            objects.set_unchecked(made, keyword, value)
            make.save(made, tmp_path / str(k))
        image = read_dicom_folder(tmp_path)
        np.testing.assert_array_equal(image.array, stored.astype(int) - 1024)
        assert image.affine is None and image.axcodes is None
        said = " ".join(image.warnings)
    assert f"have a wrong {NAMES[keyword]}" in said and reason in said
    assert f"no {NAMES[keyword]}" not in said


def test_a_detector_that_is_skewed_is_told(tmp_path: Path) -> None:
    made = objects.spect(make.stored_volume(3), 4.4)
    made.DetectorInformationSequence[0].ImageOrientationPatient = [1, 0, 0, 0.5, 0.866, 0]
    with pytest.raises(AmbiguousSourceError, match=r"wrong Image Orientation \(Patient\) \(vectors at 60"):
        read_dicom(make.save(made, tmp_path / "s"))


def test_directions_that_a_writer_rounded_still_place(tmp_path: Path) -> None:
    for k in range(3):
        tags = {"ImageOrientationPatient": [1.002, 0, 0, 0, 0.999, 0.01]}
        made = make.set_tags(make.ct_slice(make.stored_volume(3)[k], (0, 0, 2.0 * k)), **tags)
        make.save(made, tmp_path / str(k))
    assert read_dicom_folder(tmp_path).axcodes == ("S", "P", "L")


@pytest.mark.parametrize("lost", ["ImagePositionPatient", "PixelSpacing"])
def test_one_slice_without_a_place_warns(tmp_path: Path, lost: str) -> None:
    made = make.set_tags(make.ct_slice(make.stored_volume(1)[0], (0, 0, 0)), **{lost: None})
    image = read_dicom(make.save(made, tmp_path / "one"))
    assert image.affine is None and any("has no" in warning for warning in image.warnings)


def test_frames_of_an_enhanced_object_without_places_say_which_tag_is_missing(tmp_path: Path) -> None:
    made = make.enhanced(make.stored_volume(3), rescale=[(1, -1024)])
    for own in made.PerFrameFunctionalGroupsSequence:
        del own.PlanePositionSequence
    with pytest.raises(AmbiguousSourceError, match=r"no Image Position \(Patient\).*#frame"):
        read_dicom(make.save(made, tmp_path / "e"))


def test_tomosynthesis_is_a_volume(tmp_path: Path) -> None:
    stored = make.stored_volume(4)
    made = make.enhanced(stored, "MG", positions=[(0, 0, 1.0 * k) for k in range(4)])
    made.SOPClassUID = uid.BreastTomosynthesisImageStorage
    image = read_dicom(make.save(made, tmp_path / "t"))
    np.testing.assert_array_equal(image.array, stored)
    assert image.kind == "volume" and image.modality == "MG"


@pytest.mark.parametrize("sparse", [False, True])
def test_a_level_of_a_slide_is_put_together(tmp_path: Path, sparse: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3)).astype(np.uint8)
    path = make.save(objects.slide(pixels, sparse=sparse), tmp_path / "s")
    image = read_dicom(path)
    np.testing.assert_array_equal(image.array, pixels)
    assert (
        image.kind == "image" and image.modality == "SM" and image.spacing_mm == pytest.approx((0.001, 0.001))
    )
    tile = read_dicom(path, Selector(frame=2))
    row, column = (16, 16) if sparse else (0, 8)
    np.testing.assert_array_equal(tile.array[: 20 - row], pixels[row : row + 8, column : column + 8])
    assert any(
        f"rows {row} to {row + 7}, columns {column} to {column + 7}" in warning for warning in tile.warnings
    )


def test_missing_tiles_are_told_and_large_slides_are_read_by_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    image = read_dicom(make.save(objects.slide(pixels, sparse=True, leave_out=1), tmp_path / "hole"))
    assert (image.array[8:, 8:] == 255).all() and any("25 %" in warning for warning in image.warnings)
    monkeypatch.setattr("medmvl.imaging.dicom_slides.MAX_PIXELS", 100)
    path = make.save(objects.slide(pixels), tmp_path / "large")
    with pytest.raises(AmbiguousSourceError, match=r"4 frames.*#frame"):
        read_dicom(path)
    np.testing.assert_array_equal(read_dicom(path, Selector(frame=4)).array, pixels[8:, 8:])


def test_the_label_of_a_slide_is_set_aside(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), 200, np.uint8)
    make.save(objects.slide(pixels), tmp_path / "level")
    label = make.set_tags(objects.slide(pixels[:8]), ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    make.save(label, tmp_path / "label")
    image = read_dicom_folder(tmp_path)
    assert image.shape == (16, 16, 3) and any("label" in warning for warning in image.warnings)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_deflated_frames(tmp_path: Path, dtype: type) -> None:
    stored = make.stored_volume(3).astype(dtype)
    path = make.save(objects.deflated(make.enhanced(stored, rescale=[(1, -1024)])), tmp_path / "d")
    np.testing.assert_array_equal(read_dicom(path).array, stored.astype(int) - 1024)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ReadError):
        read_dicom(path)


def test_a_deflated_mask_of_single_bits(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (3, 8, 8)).astype(np.uint8)
    made = objects.segmentation(objects.sources(3, size=8), mask, "BINARY")
    image = read_dicom(make.save(objects.deflated(made), tmp_path / "d"))
    np.testing.assert_array_equal(image.array, mask)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("BINARY", "TILED_SPARSE"), ("BINARY", "TILED_FULL"), ("LABELMAP", "TILED_SPARSE"), ("LABELMAP", "TILED_FULL"),
     ("FRACTIONAL", "TILED_SPARSE")],
)  # fmt: skip
def test_a_segmentation_of_a_slide_holds_nothing_where_it_has_no_tile(
    tmp_path: Path, kind: str, layout: str
) -> None:
    masks = np.zeros((1, 40, 48, 2), np.uint8)
    masks[0, 3:20, 5:30, 0] = 1
    masks[0, 25:39, 33:47, 1] = 1
    source = objects.slide(np.zeros((40, 48, 3), np.uint8), tile=16)
    path = saved(objects.segmented_slide(source, masks, kind, layout), tmp_path)
    value = 128 / 255 if kind == "FRACTIONAL" else 1
    if kind == "LABELMAP":
        image = read_dicom(path)
        np.testing.assert_array_equal(image.array, masks[0, ..., 0] + 2 * masks[0, ..., 1])
        assert image.warnings == ()
        return
    for number in (1, 2):
        image = read_dicom(path, Selector(series=number))
        np.testing.assert_allclose(image.array, value * masks[0, ..., number - 1], rtol=1e-6)
        assert image.warnings == () and image.label_names == {1: f"part {number}"}


def test_an_ultrasound_volume_is_a_volume_without_a_side(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (4, 6, 5)).astype(np.uint8)
    made = make.enhanced(stored, "US")
    made.SOPClassUID = uid.EnhancedUSVolumeStorage
    shared = made.SharedFunctionalGroupsSequence[0]
    for group in ("PlaneOrientationSequence", "PlanePositionSequence"):
        for item in (shared, *made.PerFrameFunctionalGroupsSequence):
            if group in item:
                del item[group]
    shared.PlaneOrientationVolumeSequence = make.item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0])
    for place, item in zip((6.0, 4.0, 2.0, 0.0), made.PerFrameFunctionalGroupsSequence, strict=True):
        item.PlanePositionVolumeSequence = make.item(ImagePositionVolume=[0, 0, place])
    path = make.save(made, tmp_path / "us")
    assert read_dicom(path, Selector(frame=2)).axcodes is None
    image = read_dicom(path)
    np.testing.assert_array_equal(image.array, stored[::-1])
    assert image.affine is None and image.axcodes is None and image.spacing_mm is not None
    assert image.spacing_mm[0] == pytest.approx(2) and any(
        "transducer" in warning for warning in image.warnings
    )
