"""Scans become voxels in their own plane and units, and every voxel knows where it lies in the scan."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import RecipeError
from medmvl.imaging import MedicalImage
from medmvl.imaging.geometry import affine_from
from medmvl.models.volume_processing import VolumeProcessor

PLANES = {
    "axial": ("S", "P", "L"),
    "coronal": ("A", "I", "L"),
    "sagittal": ("R", "I", "P"),
    "feet first": ("I", "A", "R"),
}


def scan(
    array: np.ndarray,
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0),
    plane: str = "axial",
    **changes: Any,
) -> MedicalImage:
    """A canonical CT that was acquired in `plane`."""
    fields: dict[str, Any] = {
        "array": array, "kind": "volume", "units": "HU", "source_format": "nifti", "modality": "CT",
        "axcodes": ("S", "P", "L"), "acquired_axcodes": PLANES[plane], "spacing_mm": spacing,
        "affine": affine_from(("S", "P", "L"), spacing, (10.0, -20.0, 30.0)),
    }  # fmt: skip
    return MedicalImage(**(fields | changes))


def blob(shape: tuple[int, int, int], centre: tuple[int, int, int]) -> np.ndarray:
    """Air with a bright 5 x 5 x 5 cube."""
    array = np.full(shape, -1000, np.int16)
    array[tuple(slice(max(c - 2, 0), c + 3) for c in centre)] = 1000
    return array


def centre_of(voxels: np.ndarray) -> np.ndarray:
    weights = (voxels - voxels.min()).astype(float)
    return np.array([*((weights * axis).sum() / weights.sum() for axis in np.indices(voxels.shape)), 1])


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("spacing", [None, (4.0, 2.0, 2.0)])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(centre=st.tuples(st.integers(6, 13), st.integers(10, 25), st.integers(10, 29)))
def test_the_matrix_leads_from_a_bright_voxel_back_to_its_place(plane, spacing, centre):
    image = scan(blob((20, 36, 40), centre), plane=plane)
    processor = VolumeProcessor(size=(24, 24, 24), spacing_mm=spacing)
    pixels, matrix, _, _ = processor(image)
    voxels = pixels[0].numpy()
    assert voxels.max() > voxels.min()
    assert (matrix @ centre_of(voxels))[:3] == pytest.approx(centre, abs=0.35)


def test_a_sagittal_scan_is_read_in_its_own_plane():
    """Slices first: the left half of the patient is bright, so the last slices are, not the last columns."""
    array = np.full((20, 24, 12), -1000, np.int16)
    array[:, :, 6:] = 1000
    pixels, matrix, positions, _ = VolumeProcessor(size=(12, 20, 24))(
        scan(array, (2.0, 1.0, 5.0), "sagittal")
    )
    assert (pixels[0, :6] == -1).all()
    assert (pixels[0, 6:] == 1).all()
    assert np.abs(matrix[:3, :3]).argmax(axis=0).tolist() == [2, 0, 1], "depth, height, width are L, I, P"
    assert matrix[0, 1] < 0, "rows grow to Inferior"
    assert positions is not None
    assert positions.tolist() == pytest.approx([5.0 * k for k in range(12)])
    axial, _, _, _ = VolumeProcessor(size=(20, 24, 12), plane="axial")(
        scan(array, (2.0, 1.0, 5.0), "sagittal")
    )
    assert (axial[0, :, :, 6:] == 1).all()


@pytest.mark.parametrize(
    ("axcodes", "expected"),
    [(("S", "R", "A"), [0, 3, 6, 9]), (("I", "P", "L"), [9, 6, 3, 0]), (("A", "S", "L"), [6, 4, 2, 0])],
)
def test_positions_are_along_the_axis_that_is_read_first(axcodes, expected):
    image = scan(np.zeros((4, 4, 8), np.int16), spacing=(3.0, 2.0, 1.0))
    view = VolumeProcessor(size=(4, 4, 8), plane="axial", input_axcodes=axcodes)(image)
    assert view.positions_mm is not None
    assert view.positions_mm.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("plane", PLANES)
def test_the_patient_is_never_mirrored(plane):
    """The voxel axes form the body axes of the matrix with the handedness that each plane is looked at with."""
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    image = scan(array, (1.0, 1.0, 1.0), plane)
    order = {"coronal": (1, 0, 2), "sagittal": (2, 0, 1)}.get(plane, (0, 1, 2))
    shape = tuple(array.shape[axis] for axis in order)
    pixels, matrix, _, _ = VolumeProcessor(size=shape)(image)
    for index in [(0, 0, 0), (1, 2, 3), (5, 3, 4)]:
        d, h, w = (round(value) for value in (matrix @ [*index, 1])[:3])
        assert float(pixels[(0, *index)]) == pytest.approx(array[d, h, w] / 1000, abs=1e-5)


def test_resampling_to_a_spacing_keeps_millimetres():
    """A cube of 20 mm measures 20 mm in voxels of 2 mm, whatever the scan's own spacing."""
    for spacing in [(5.0, 1.0, 0.5), (1.0, 2.0, 4.0)]:
        shape = tuple(round(60 / s) for s in spacing)
        array = np.full(shape, -1000, np.int16)
        array[tuple(slice(round(20 / s), round(40 / s)) for s in spacing)] = 1000
        pixels, matrix, positions, _ = VolumeProcessor(size=(40, 40, 40), spacing_mm=(2.0, 2.0, 2.0))(
            scan(array, spacing)
        )
        for axis in range(3):
            profile = pixels[0].amax(dim=tuple(other for other in range(3) if other != axis))
            assert int((profile > 0).sum()) == 10
        assert positions is not None
        assert positions.diff().tolist() == pytest.approx([2.0] * 39)
        assert np.diag(matrix)[:3] * spacing == pytest.approx([2.0] * 3)
        assert float(pixels[0, 0, 0, 0]) == -1, "padded with air"


def test_windows_are_channels_in_their_order():
    array = np.array([-600.0, 40.0, 400.0]).reshape(3, 1, 1).repeat(4, 1).repeat(4, 2)
    processor = VolumeProcessor(size=(3, 4, 4), windows=("lung", "mediastinum", (400, 1800)), mean=0, std=1)
    pixels, _, _, notes = processor(scan(array))
    assert processor.channels == 3
    assert pixels[0, 0, 0, 0] == pixels[1, 1, 0, 0] == pixels[2, 2, 0, 0] == 0.5
    assert notes == ("windows lung, mediastinum, (400.0, 1800.0)",)


def test_resampling_comes_before_the_window():
    """The mean of air and bone is soft tissue; after a window it would be something else."""
    array = np.array([-1000.0, 1080.0]).reshape(2, 1, 1).repeat(2, 1).repeat(2, 2)
    pixels, _, _, _ = VolumeProcessor(size=(1, 2, 2), windows=("brain",), mean=0, std=1)(scan(array))
    assert pixels.flatten().tolist() == pytest.approx([0.5] * 4)


def test_mr_is_scaled_a_volume_never_a_slice():
    """A slice that is darker than the others stays darker, and the same scan at another gain looks the same."""
    rng = np.random.default_rng(0)
    array = rng.uniform(300, 500, (8, 16, 16))
    array[:, :4] = 0
    array[2] *= 0.7
    image = scan(array, units="arbitrary", modality="MR")
    processor = VolumeProcessor(size=(8, 16, 16), windows=("lung", "bone"), mean=0, std=1)
    pixels, _, _, notes = processor(image)
    means = pixels[0, :, 4:].mean(dim=(1, 2))
    assert float(means[2]) < 0.6 * float(means[3])
    assert (pixels[0] == pixels[1]).all()
    assert "percentiles (units arbitrary)" in notes[0]
    louder, _, _, _ = processor(replace(image, array=array * 7))
    assert float((louder - pixels).abs().max()) < 1e-4


def test_a_volume_without_geometry_is_stretched_but_has_no_spacing():
    image = MedicalImage(array=blob((6, 8, 8), (3, 4, 4)), kind="volume", units="HU", source_format="numpy")
    pixels, _, positions, _ = VolumeProcessor(size=(8, 16, 16))(image)
    assert pixels.shape == (1, 8, 16, 16)
    assert positions is None
    with pytest.raises(ValueError, match="does not say its spacing: declare spacing_mm"):
        VolumeProcessor(size=(8, 16, 16), spacing_mm=(1.0, 1.0, 1.0))(image)


def test_uneven_slices_are_settled_and_still_lead_back():
    """Slices at 0, 3, 6, 15, 18 mm: the bright one at 15 mm is found at its millimetres."""
    array = np.full((5, 12, 12), -1000.0)
    array[3, 4:8, 4:8] = 1000
    positions = tuple(float(z) for z in (0, 3, 6, 15, 18))
    affine = affine_from(("S", "P", "L"), (3.0, 1.0, 1.0))
    image = scan(array, slice_positions_mm=positions, affine=affine)
    pixels, matrix, _, _ = VolumeProcessor(size=(7, 12, 12))(image)
    brightest = int(pixels[0].amax(dim=(1, 2)).argmax())
    assert (affine @ matrix @ [brightest, 0, 0, 1])[2] == pytest.approx(15.0, abs=0.01)


def test_wrong_settings_name_the_key():
    with pytest.raises(RecipeError, match="spacing"):
        VolumeProcessor.from_settings({"spacing": (1, 1, 1)})
    with pytest.raises(RecipeError, match="at least one is needed"):
        VolumeProcessor.from_settings({"windows": []})


def test_settings_survive_json():
    processor = VolumeProcessor(
        size=(8, 16, 16), spacing_mm=(2, 1, 1), windows=("lung", (40, 80)), plane="axial"
    )
    assert VolumeProcessor.from_settings(processor.model_dump(mode="json")) == processor
