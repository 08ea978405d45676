"""Resampling keeps places: constants stay constant, centres of mass stay, areas are averaged."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import UserError
from medmvl.imaging.resampling import (
    crop_or_pad,
    is_sheared,
    resample_uneven_slices,
    resize,
)
from medmvl.imaging.sampling import _linear_at, _nearest_at, resample_affine
from tests.factories.imaging import numbered, volume

sides = st.tuples(*[st.integers(1, 24)] * 3)


@given(sides, sides, st.sampled_from(["area_linear", "linear", "nearest"]))
@settings(max_examples=60, deadline=None)
def test_a_constant_stays_constant(old, new, interpolation):
    array, _ = resize(np.full(old, -777, np.int16), new, interpolation)
    assert array.shape == new
    assert np.allclose(array, -777, atol=1e-3)


@given(st.tuples(*[st.integers(1, 4)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
@settings(max_examples=40, deadline=None)
def test_shrinking_by_whole_factors_is_the_block_mean(factor, new):
    old = tuple(f * n for f, n in zip(factor, new, strict=True))
    volume_ = np.random.default_rng(0).normal(size=old)
    blocks = volume_.reshape(new[0], factor[0], new[1], factor[1], new[2], factor[2]).mean((1, 3, 5))
    assert np.allclose(resize(volume_, new)[0], blocks, atol=1e-5)


@pytest.mark.parametrize("new", [(12, 30, 30), (12, 15, 10), (24, 60, 45), (7, 11, 40)])
def test_a_blob_stays_at_its_place_in_the_scan(new):
    index = np.indices((24, 30, 30))
    centre = np.array([10.0, 17.0, 12.0])
    blob = np.exp(-(((index.T - centre).T / 3.5) ** 2).sum(0))
    array, matrix = resize(blob, new)
    found = (np.indices(new) * array).reshape(3, -1).sum(1) / array.sum()
    assert np.allclose((matrix @ [*found, 1])[:3], centre, atol=0.1)


def test_the_half_voxel_shift_is_in_the_matrix():
    _, matrix = resize(np.zeros((4, 8, 8)), (2, 2, 16))
    assert np.allclose(matrix[:3, 3], [0.5, 1.5, -0.25])
    assert np.allclose(np.diag(matrix), [2, 4, 0.5, 1])


def test_a_linear_ramp_is_met_exactly_when_growing():
    ramp = np.broadcast_to(np.arange(8.0), (2, 3, 8))
    array, matrix = resize(ramp, (2, 3, 20))
    expected = np.clip(matrix[2, 2] * np.arange(20) + matrix[2, 3], 0, 7)
    assert np.allclose(array[0, 0], expected, atol=1e-5)


def test_labels_keep_their_values():
    labels = np.random.default_rng(0).choice([0, 7, 117], (9, 9, 9)).astype(np.uint8)
    array, _ = resize(labels, (5, 14, 3), "nearest")
    assert array.dtype == np.uint8
    assert set(np.unique(array)) <= {0, 7, 117}


def test_crop_and_padding_keep_places():
    array = numbered((4, 5, 6))
    result, matrix = crop_or_pad(array, (2, 9, 6), fill=-1024)
    for index in np.ndindex(result.shape):
        old = (matrix @ [*index, 1])[:3].astype(int)
        inside = (old >= 0).all() and (old < array.shape).all()
        assert result[index] == (array[tuple(old)] if inside else -1024)


def test_uneven_slices_land_at_their_true_positions():
    positions = (0.0, 5.0, 10.0, 20.0, 25.0)
    image = volume((5, 2, 2), "SPL", (5.0, 1.0, 1.0))
    heights = np.array(positions)[:, None, None] * np.ones((5, 2, 2))
    even = resample_uneven_slices(image.with_array(heights, slice_positions_mm=positions))
    assert even.slice_positions_mm is None
    assert even.shape == (6, 2, 2)
    assert np.allclose(even.array[:, 0, 0], [0, 5, 10, 15, 20, 25])
    assert any("uneven" in warning for warning in even.warnings)
    assert np.allclose(even.affine[:3, 3], [*image.affine[:2, 3], 0.0])  # the lowest slice's true place


def test_gantry_tilt_is_undone_and_the_outside_is_air():
    image = volume((12, 16, 16), "SPL", (2.0, 1.0, 1.0))
    tilted = image.affine.copy()
    tilted[:3, 0] += 0.4 * tilted[:3, 1] / np.linalg.norm(tilted[:3, 1]) * 2
    index = np.indices(image.shape).reshape(3, -1)
    height = (tilted[:3, :3] @ index)[1].reshape(image.shape)
    scan = replace(image, array=height.astype(np.float32), affine=tilted)
    even = resample_uneven_slices(scan)
    assert not is_sheared(even.affine)
    mm = (even.affine[:3, :3] @ np.indices(even.shape).reshape(3, -1))[1].reshape(even.shape)
    shift = even.affine[1, 3] - tilted[1, 3]
    covered = even.array > -1000
    assert 0.5 < covered.mean() < 1
    assert (even.array[~covered] == -1024).all()
    assert np.abs(even.array - (mm + shift))[covered].max() < 0.51


@pytest.mark.parametrize("tilted", [False, True])
def test_labels_stay_labels_on_a_regular_grid(tilted):
    image = volume((5, 8, 8), "SPL", (5.0, 1.0, 1.0))
    labels = (np.arange(5 * 8 * 8).reshape(5, 8, 8) % 2 * 7).astype(np.uint8)  # 0 and 7 side by side
    affine = image.affine.copy()
    affine[1, 0] += 2.0 * tilted
    positions = None if tilted else (0.0, 5.0, 10.0, 20.0, 25.0)
    segmentation = replace(
        image, array=labels, units="label", affine=affine, slice_positions_mm=positions, modality="SEG"
    )
    even = resample_uneven_slices(segmentation)
    assert set(np.unique(even.array)) == {0, 7}


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sliding_slices_equals_sampling_point_by_point(axis, interpolation):
    array = np.random.default_rng(0).normal(size=(5, 7, 6))
    matrix = np.eye(4)
    matrix[:3, axis] += [0 if other == axis else 0.317 + 0.2 * other for other in range(3)]
    matrix[:3, 3] = [1 if other == axis else -1.37 for other in range(3)]
    fast = resample_affine(array, matrix, (6, 9, 8), -1024, interpolation)
    points = (matrix @ np.vstack([np.indices((6, 9, 8)).reshape(3, -1), np.ones((1, 6 * 9 * 8))]))[:3]
    slow = (_nearest_at if interpolation == "nearest" else _linear_at)(array, points, -1024)
    inside = (points[axis] > -0.4) & (points[axis] < array.shape[axis] - 0.6)
    assert np.allclose(fast.reshape(-1)[inside], slow[inside], atol=1e-5)
    assert (fast.reshape(-1)[~inside] == -1024).all()
    assert 0.2 < (fast != -1024).mean() < 1


def test_absurd_targets_and_unknown_interpolations_are_refused():
    with pytest.raises(UserError):
        resize(np.zeros((2, 2, 2)), (100000, 100000, 100))
    with pytest.raises(UserError, match="area_linear"):
        resize(np.zeros((2, 2, 2)), (2, 2, 2), "cubic")  # type: ignore[arg-type]
