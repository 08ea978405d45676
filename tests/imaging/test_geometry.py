"""Reordering moves voxels, never their millimetres."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import ReadError
from medmvl.imaging.geometry import (
    affine_from,
    axcodes_of,
    orient_image,
    reverse_axes,
    to_acquired_plane,
    to_canonical,
)
from tests.factories.imaging import numbered, volume

ORIENTATIONS = [
    codes for axes in permutations(("RL", "AP", "SI")) for codes in product(*axes)
]  # all 48: 6 orders of the axes, 2 directions each


def places(array, affine):
    """The value at every millimetre position, as a dictionary."""
    index = np.indices(array.shape).reshape(3, -1)
    mm = affine[:3, :3] @ index + affine[:3, 3:]
    return {tuple(np.round(point, 3)): value for point, value in zip(mm.T, array.reshape(-1), strict=True)}


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_voxel_keeps_its_place_in_all_48_orientations(codes):
    array, affine = numbered((2, 3, 4)), affine_from(codes, (5.0, 0.7, 0.9), (-3.0, 8.0, 2.0))
    canonical = to_canonical(array, affine)
    assert axcodes_of(canonical.affine) == ("S", "P", "L")
    assert canonical.acquired_axcodes == tuple(codes)
    assert axcodes_of(affine) == nib.aff2axcodes(reverse_axes(affine))[::-1]
    assert places(canonical.array, canonical.affine) == places(array, affine)


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
@settings(max_examples=100, deadline=None)
def test_oblique_and_sheared_affines_stay_exact(numbers):
    affine = np.eye(4)
    affine[:3, :3] = affine_from("SPL", (5.0, 1.0, 1.2))[:3, :3] + 0.4 * np.reshape(numbers, (3, 3))
    array = numbered((3, 2, 4))
    canonical = to_canonical(array, affine)
    assert places(canonical.array, canonical.affine) == places(array, affine)
    assert canonical.acquired_axcodes == nib.aff2axcodes(reverse_axes(affine))[::-1]


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1])])
def test_an_unusable_affine_is_refused(bad):
    with pytest.raises(ReadError, match="geometry"):
        axcodes_of(bad)


@pytest.mark.parametrize("codes", ["SPL", "IAR", "LIP", "RSP", "RIA", "PSL", "AIR"])
def test_the_acquired_plane_is_looked_at_the_same_way_whatever_the_file_order(codes):
    image = volume((3, 4, 5), codes, (5.0, 0.7, 0.7))
    array, matrix = to_acquired_plane(image)
    plane = axcodes_of(image.affine @ matrix)
    expected = {"S": ("S", "P", "L"), "I": ("S", "P", "L"), "P": ("P", "I", "L"), "A": ("P", "I", "L")}
    assert plane == expected.get(codes[0], ("L", "I", "P"))
    assert places(array, image.affine @ matrix) == places(image.array, image.affine)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [("IL", "IL"), ("SR", "IL"), ("LI", "IL"), ("AR", "PL"), ("PS", "IP"), ("LP", "PL")],
)
def test_images_stand_upright_and_the_matrix_says_where_pixels_went(codes, expected):
    array = numbered((3, 4))
    turned, matrix, axcodes = orient_image(array, codes)
    assert "".join(axcodes) == expected
    for h, w in np.ndindex(turned.shape):
        old = (matrix @ [0, h, w, 1]).astype(int)
        assert turned[h, w] == array[old[1], old[2]]
