"""Series folders: order, geometry, duplicates, gaps, splitting, and what is set aside."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.dicom import fixed_series, read_dicom, read_dicom_folder
from medmvl.imaging.selector import Selector, split_selector
from tests.factories import dicom as make


def test_slices_are_ordered_by_position_not_by_instance_number(tmp_path: Path) -> None:
    stored = make.stored_volume(5)
    make.ct_series(tmp_path, stored, instance_numbers=[3, 1, 5, 2, 4])
    image = read_dicom_folder(tmp_path)
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array, stored.astype(int) - 1024)
    assert (image.units, image.modality, image.axcodes) == ("HU", "CT", ("S", "P", "L"))
    assert image.acquired_axcodes == ("S", "P", "L")
    assert image.spacing_mm == pytest.approx((2.0, 0.5, 0.75))
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [10, 20, 30, 1])
    np.testing.assert_allclose(image.affine @ [4, 2, 4, 1], [10 - 4 * 0.75, 20 - 2 * 0.5, 38, 1])
    assert image.warnings == () and image.slice_positions_mm is None


@pytest.mark.parametrize(
    ("orientation", "step", "acquired"),
    [(make.SAGITTAL, (1, 0, 0), ("R", "I", "P")), (make.CORONAL, (0, 1, 0), ("P", "I", "L"))],
)
def test_other_planes_become_canonical_and_remember_their_plane(
    tmp_path: Path, orientation: tuple[int, ...], step: tuple[int, ...], acquired: tuple[str, ...]
) -> None:
    stored = make.stored_volume(4)
    places = [tuple(3.0 * k * n for n in step) for k in range(4)]
    make.ct_series(tmp_path, stored, places, ImageOrientationPatient=list(orientation))
    image = read_dicom_folder(tmp_path)
    assert image.axcodes == ("S", "P", "L")
    normal = np.cross(orientation[:3], orientation[3:])
    code = {"R": (0, -1), "L": (0, 1), "P": (1, 1), "A": (1, -1)}[image.acquired_axcodes[0]]
    assert normal[code[0]] == code[1] and image.acquired_axcodes[1:] == acquired[1:]
    for k, row, column in [(0, 0, 0), (3, 5, 2), (1, 2, 6)]:
        lps = (
            np.array(places[k])
            + row * 0.5 * np.array(orientation[3:])
            + column * 0.75 * np.array(orientation[:3])
        )
        index = np.linalg.inv(image.affine) @ [-lps[0], -lps[1], lps[2], 1]
        assert image.array[tuple(np.rint(index[:3]).astype(int))] == int(stored[k, row, column]) - 1024


def test_gantry_tilt_is_an_exact_sheared_affine(tmp_path: Path) -> None:
    places = [(0.0, 0.7 * k, 2.0 * k) for k in range(5)]
    image = read_dicom_folder(make.ct_series(tmp_path, make.stored_volume(5), places))
    np.testing.assert_allclose(image.affine[:3, 0], [0, -0.7, 2.0], atol=1e-9)
    assert image.slice_positions_mm is None


def test_uneven_gaps_keep_true_positions_and_warn(tmp_path: Path) -> None:
    heights = [0.0, 2.0, 4.0, 6.5, 8.5]
    image = read_dicom_folder(make.ct_series(tmp_path, make.stored_volume(5), [(0, 0, z) for z in heights]))
    assert image.slice_positions_mm == pytest.approx(heights)
    assert image.spacing_mm[0] == pytest.approx(2.0)
    assert any("uneven" in warning for warning in image.warnings)


def test_small_deviations_are_not_called_uneven(tmp_path: Path) -> None:
    heights = [0.0, 2.0, 4.04, 6.0]
    image = read_dicom_folder(make.ct_series(tmp_path, make.stored_volume(4), [(0, 0, z) for z in heights]))
    assert image.slice_positions_mm is None and image.warnings == ()


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    heights = [0.0, 2.0, 4.0, 8.0, 10.0]
    image = read_dicom_folder(make.ct_series(tmp_path, make.stored_volume(5), [(0, 0, z) for z in heights]))
    assert any("1 slice(s)" in warning and "4.0 and 8.0 mm" in warning for warning in image.warnings)
    assert image.slice_positions_mm == pytest.approx(heights)


def test_uneven_positions_follow_a_flipped_stack(tmp_path: Path) -> None:
    places = [(k, 0.0, 0.0) for k in (0.0, 2.0, 4.0, 9.0)]
    image = read_dicom_folder(
        make.ct_series(tmp_path, make.stored_volume(4), places, ImageOrientationPatient=list(make.SAGITTAL))
    )
    assert image.acquired_axcodes[0] == "R"
    assert image.slice_positions_mm == pytest.approx([0.0, 2.0, 4.0, 9.0])
    assert -image.affine[0, 3] == pytest.approx(0.0) and any(
        "uneven" in warning for warning in image.warnings
    )


def test_identical_duplicates_are_dropped_with_a_warning(tmp_path: Path) -> None:
    stored = make.stored_volume(3)
    make.ct_series(tmp_path / "a", stored)
    make.ct_series(tmp_path / "b", stored[:1])
    image = read_dicom_folder(tmp_path)
    assert image.shape == stored.shape and any("1 slice(s)" in warning for warning in image.warnings)


def test_different_slices_of_one_place_without_a_mark_are_an_error(tmp_path: Path) -> None:
    make.ct_series(tmp_path / "a", make.stored_volume(3, seed=0))
    make.ct_series(tmp_path / "b", make.stored_volume(3, seed=1))
    with pytest.raises(ReadError, match="nothing in the headers"):
        read_dicom_folder(tmp_path)


@pytest.mark.parametrize(
    "mark", ["EchoTime", "TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime"]
)
def test_times_and_echoes_are_split(tmp_path: Path, mark: str) -> None:
    for time in (1, 2):
        make.ct_series(tmp_path / str(time), make.stored_volume(3, seed=time), **{mark: time})
    with pytest.raises(AmbiguousSourceError, match="3 slices of 6 x 7, axial"):
        read_dicom_folder(tmp_path)
    for selector in (Selector(series=2), Selector(time=2)):
        image = read_dicom_folder(tmp_path, selector)
        np.testing.assert_array_equal(image.array, make.stored_volume(3, seed=2).astype(int) - 1024)


def test_a_dynamic_scan_with_a_time_a_slice_is_split_by_the_clock(tmp_path: Path) -> None:
    for time in range(2):
        for k, plane in enumerate(make.stored_volume(3, seed=time)):
            made = make.ct_slice(plane, (0, 0, k), AcquisitionTime=f"1000{10 * time + k:02d}")
            make.save(made, tmp_path / f"{time}{k}")
    image = read_dicom_folder(tmp_path, Selector(time=2))
    np.testing.assert_array_equal(image.array, make.stored_volume(3, seed=1).astype(int) - 1024)


def test_several_series_are_listed_without_identity(tmp_path: Path) -> None:
    make.ct_series(tmp_path / "a", make.stored_volume(3), SeriesNumber=1)
    other = make.stored_volume(4, 5, 5)
    make.ct_series(tmp_path / "deep" / "er", other, SeriesInstanceUID="1.2.3.777", SeriesNumber=2)
    with pytest.raises(AmbiguousSourceError) as caught:
        read_dicom_folder(tmp_path)
    said = str(caught.value)
    without_digests = re.sub(" or [0-9a-f]{12}: ", ": ", said)
    assert (
        "1: CT, 3 slices of 6 x 7, axial" in without_digests
        and "2: CT, 4 slices of 5 x 5" in without_digests
        and "#series=2" in said
    )
    for secret in (make.SECRET, "SECRETIVE", "777", "666", "1901"):
        assert secret not in without_digests
    assert read_dicom_folder(tmp_path, Selector(series=2)).shape == other.shape
    with pytest.raises(ReadError, match="only 2"):
        read_dicom_folder(tmp_path, Selector(series=3))


def test_a_series_named_by_its_digest_stays_what_it_is(tmp_path: Path) -> None:
    """A number counts what lies there now; another patient's series that arrives later may come first."""
    folder = tmp_path / "inbox"
    mine = make.stored_volume(3, seed=1)
    make.ct_series(folder / "a", make.stored_volume(4), SeriesInstanceUID="1.2.3.1", SeriesNumber=2)
    make.ct_series(folder / "b", mine, SeriesInstanceUID="1.2.3.2", SeriesNumber=3)
    fixed = fixed_series(folder, Selector(series=2))
    assert fixed_series(folder, fixed) == fixed
    assert split_selector(f"{folder}{fixed}") == (folder, fixed)
    with pytest.raises(AmbiguousSourceError, match=f"2 or {fixed.series}: CT, 3 slices"):
        read_dicom_folder(folder)
    make.ct_series(folder / "late", make.stored_volume(5), SeriesInstanceUID="1.2.3.3", SeriesNumber=1)
    assert read_dicom_folder(folder, Selector(series=2)).shape[0] == 4
    np.testing.assert_array_equal(read_dicom_folder(folder, fixed).array, mine.astype(int) - 1024)
    moved = folder.rename(tmp_path / "elsewhere")
    assert read_dicom_folder(moved, fixed).shape == mine.shape


def test_a_series_that_changed_is_not_what_its_digest_says(tmp_path: Path) -> None:
    make.ct_series(tmp_path / "a", make.stored_volume(4), SeriesInstanceUID="1.2.3.1")
    make.ct_series(tmp_path / "b", make.stored_volume(3), SeriesInstanceUID="1.2.3.2")
    fixed = fixed_series(tmp_path, Selector(series=2))
    (tmp_path / "b" / sorted(file.name for file in (tmp_path / "b").iterdir())[-1]).unlink()
    with pytest.raises(
        ReadError, match=f"no series here is {fixed.series}; there are:\n  1 or .{{12}}: CT, 4 slices"
    ):
        read_dicom_folder(tmp_path, fixed)
    with pytest.raises(ReadError, match="only 2"):
        fixed_series(tmp_path, Selector(series=3))
    (tmp_path / "b" / "cut").write_bytes(next((tmp_path / "a").iterdir()).read_bytes()[:-10])
    with pytest.raises(ReadError, match="file b/cut: "):
        fixed_series(tmp_path, Selector(series=1))


def test_mixed_orientation_and_shape_in_one_series_are_split(tmp_path: Path) -> None:
    make.ct_series(tmp_path / "a", make.stored_volume(3))
    aside = [(0.0, 2.0 * k, 0.0) for k in range(3)]
    make.ct_series(tmp_path / "b", make.stored_volume(3), aside, ImageOrientationPatient=list(make.CORONAL))
    make.ct_series(tmp_path / "c", make.stored_volume(3, 8, 8))
    with pytest.raises(AmbiguousSourceError, match="3 images or series"):
        read_dicom_folder(tmp_path)


def test_scouts_reports_and_junk_are_set_aside(tmp_path: Path) -> None:
    make.ct_series(tmp_path / "a", make.stored_volume(3))
    scout = make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    make.save(scout, tmp_path / "scout")
    report = make.dataset(make.stored_volume(1)[0], "SR", Rows=None, Columns=None)
    del report.PixelData
    make.save(report, tmp_path / "report.dcm")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    image = read_dicom_folder(tmp_path)
    assert image.shape == (3, 6, 7)
    assert any("scout" in w for w in image.warnings) and any("without pixels" in w for w in image.warnings)


def test_empty_uids_are_tolerated(tmp_path: Path) -> None:
    make.ct_series(tmp_path, make.stored_volume(3), SeriesInstanceUID="", SOPInstanceUID="1.2")
    assert read_dicom_folder(tmp_path).shape == (3, 6, 7)


def test_a_mix_of_signed_and_unsigned_slices_keeps_values(tmp_path: Path) -> None:
    stored = make.stored_volume(2)
    make.save(make.ct_slice(stored[0], (0, 0, 0)), tmp_path / "0")
    make.save(make.ct_slice(stored[1].astype(np.int16) - 1024, (0, 0, 1), RescaleIntercept=0), tmp_path / "1")
    np.testing.assert_array_equal(read_dicom_folder(tmp_path).array, stored.astype(int) - 1024)


@pytest.mark.parametrize("junk", [[], ["a.txt"]])
def test_a_folder_without_images_says_so(tmp_path: Path, junk: list[str]) -> None:
    for name in junk:
        (tmp_path / name).write_bytes(b"junk" * 100)
    with pytest.raises(ReadError, match="no DICOM file"):
        read_dicom_folder(tmp_path)


def test_a_truncated_slice_is_named(tmp_path: Path) -> None:
    make.ct_series(tmp_path, make.stored_volume(3))
    victim = tmp_path / "IM0002"
    victim.write_bytes(victim.read_bytes()[:-10])
    with pytest.raises(ReadError, match="IM0002: the file is cut off"):
        read_dicom_folder(tmp_path)


@settings(max_examples=20, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    tilt=st.floats(-0.4, 0.4),
    seed=st.integers(0, 100),
    gap=st.floats(0.3, 8),
)
def test_every_voxel_keeps_its_place_whatever_the_orientation(
    tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, ...], tilt: float, seed: int, gap: float
) -> None:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        rotation = np.eye(3)
        rotation[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ rotation
    x, y, normal = turn[:, 0], turn[:, 1], np.cross(turn[:, 0], turn[:, 1])
    stored = make.stored_volume(3, 4, 5, seed)
    places = [np.round(k * gap * (normal + tilt * y), 6) for k in range(3)]
    folder = tmp_path_factory.mktemp("oblique")
    orientation = [float(round(n, 10)) for n in (*x, *y)]
    make.ct_series(folder, stored, [tuple(p) for p in places], ImageOrientationPatient=orientation)
    image = read_dicom_folder(folder)
    for k, row, column in np.ndindex(3, 4, 5):
        lps = places[k] + row * 0.5 * y + column * 0.75 * x
        index = np.linalg.inv(image.affine) @ [-lps[0], -lps[1], lps[2], 1]
        assert np.abs(index - np.rint(index)).max() < 1e-3
        assert image.array[tuple(np.rint(index[:3]).astype(int))] == int(stored[k, row, column]) - 1024


def test_enhanced_ct_with_per_frame_rescale(tmp_path: Path) -> None:
    stored = make.stored_volume(4)
    rescale = [(1.0, -1000.0 - k) for k in range(4)]
    order = [2, 0, 3, 1]
    made = make.enhanced(
        stored[order], positions=[(0, 0, 3.0 * k) for k in order], rescale=[rescale[k] for k in order]
    )
    image = read_dicom(make.save(made, tmp_path / "e"))
    assert (image.kind, image.units, image.spacing_mm) == ("volume", "HU", pytest.approx((3.0, 0.5, 0.75)))
    np.testing.assert_array_equal(image.array, stored.astype(int) - 1000 - np.arange(4)[:, None, None])


def test_enhanced_mr_with_shared_fractional_rescale_and_times(tmp_path: Path) -> None:
    stored = make.stored_volume(6)
    places = [(0, 0, 3.0 * (k % 3)) for k in range(6)]
    made = make.enhanced(stored, "MR", places, rescale=[(0.5, 1.0)], times=[1, 1, 1, 2, 2, 2])
    path = make.save(made, tmp_path / "e")
    with pytest.raises(AmbiguousSourceError, match="MR, 3 slices"):
        read_dicom(path)
    image = read_dicom(path, Selector(time=2))
    assert image.array.dtype == np.float32 and image.units == "arbitrary"
    np.testing.assert_allclose(image.array, stored[3:] * 0.5 + 1)


def test_a_cine_is_frames_not_a_volume(tmp_path: Path) -> None:
    frames = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    path = make.save(make.dataset(frames, "US"), tmp_path / "cine")
    with pytest.raises(AmbiguousSourceError, match=r"US, 4 frames of 5 x 6.*#frame=3"):
        read_dicom(path)
    image = read_dicom(path, Selector(frame=3))
    assert (image.kind, image.units) == ("image", "display")
    np.testing.assert_array_equal(image.array, frames[2])
    assert any("burned" in warning for warning in image.warnings)
