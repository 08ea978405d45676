"""How images and scans are divided: grids as LLaVA-NeXT chooses them, sizes within their budget, crops over the body."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from medmvl.imaging import MedicalImage
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.tiling import best_grid, box_of, crop_starts, cut, largest_sizes, native_size

quickly = settings(max_examples=60, deadline=None, derandomize=True)
sides = st.integers(1, 300)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(height=st.integers(20, 90), width=st.integers(20, 90), colour=st.booleans())
def test_tiles_are_those_of_llava_next(height, width, colour):
    """The same grid and the same pixels as the library's processor, the whole image first."""
    tile, most = 16, 4
    array = np.random.default_rng(height).integers(0, 256, (height, width, 3) if colour else (height, width))
    array = array.astype(np.uint8)
    theirs = LlavaNextImageProcessorPil(
        size={"height": tile, "width": tile},
        crop_size={"height": tile, "width": tile},
        image_grid_pinpoints=[
            [rows * tile, columns * tile]
            for rows in range(1, most + 1)
            for columns in range(1, most // rows + 1)
        ],
    )
    expected = theirs(Image.fromarray(array).convert("RGB"), return_tensors="np")["pixel_values"][0]
    ours, _, notes = ImageProcessor(
        size=(tile, tile), max_tiles=most, mean=tuple(theirs.image_mean), std=tuple(theirs.image_std)
    ).tiles(MedicalImage(array=array, kind="image", units="display", source_format="png"))
    if len(ours) == 1:
        assert len(expected) == 2, "one tile would be the whole image once more"
        expected = expected[:1]
    assert ours.shape == expected.shape
    assert float((ours - torch.as_tensor(np.asarray(expected))).abs().max()) < 1e-5
    assert len(notes) == (len(ours) > 1)


def test_a_grid_follows_aspect_and_size():
    assert best_grid(100, 100, (224, 224), 6) == (1, 1), "small: nothing to gain"
    assert best_grid(2000, 2000, (224, 224), 4) == (2, 2)
    assert best_grid(500, 2000, (224, 224), 4) == (1, 4)
    assert best_grid(2000, 600, (224, 224), 6) == (4, 1)
    assert best_grid(3000, 2000, (224, 224), 6) == (3, 2)


@quickly
@given(
    height=sides,
    width=sides,
    limit=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    multiple=st.sampled_from([4, 14]),
)
def test_native_sizes_keep_aspect_and_budget(height, width, limit, multiple):
    limit = (limit[0] * multiple, limit[1] * multiple)
    rows, columns = native_size(height, width, limit, multiple)
    assert rows % multiple == columns % multiple == 0
    assert rows * columns <= limit[0] * limit[1]
    scale = min(1.0, math.sqrt(limit[0] * limit[1] / (height * width)))
    if min(height, width) * scale >= multiple:
        assert abs(rows - height * scale) < multiple
        assert abs(columns - width * scale) < multiple
    assert any(rows <= most[0] and columns <= most[1] for most in largest_sizes(limit, multiple))


@quickly
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    crop=st.tuples(*[st.integers(1, 20)] * 3),
    most=st.integers(1, 12),
    data=st.data(),
)
def test_crops_lie_over_the_body(shape, crop, most, data):
    begin = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
    end = tuple(data.draw(st.integers(first + 1, length)) for first, length in zip(begin, shape, strict=True))
    starts, covered = crop_starts(shape, (begin, end), crop, most)
    assert 1 <= len(starts) <= most
    assert len(set(starts)) == len(starts)
    for start in starts:
        for first, size, length in zip(start, crop, shape, strict=True):
            assert 0 <= first <= length - size or (length <= size and first <= 0 and first + size >= length)
    held = np.zeros(shape, bool)
    for first in starts:
        held[tuple(slice(max(0, f), f + n) for f, n in zip(first, crop, strict=True))] = True
    inside = held[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))]
    needed = math.prod(math.ceil((e - b) / n) for b, e, n in zip(begin, end, crop, strict=True))
    if needed <= most:
        assert covered == 1
        assert inside.all()
        assert len(starts) == needed
    assert inside.mean() == pytest.approx(covered) or covered < 1


def test_the_box_is_the_body_not_a_stray_voxel():
    mask = np.zeros((20, 30, 40), bool)
    mask[4:15, 6:25, 10:33] = True
    mask[0, 0, 0] = mask[19, 29, 39] = True
    assert box_of(mask) == ((4, 6, 10), (15, 25, 33))
    assert box_of(np.zeros((3, 4, 5), bool)) == ((0, 0, 0), (3, 4, 5))


def test_what_lies_outside_is_filled():
    block = cut(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), (-1, 1, 1), (5, 2, 2), -1024.0)
    assert (block[[0, 4]] == -1024).all()
    assert block[1].tolist() == [[4, 5], [7, 8]]
