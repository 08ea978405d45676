"""The visual table and what batches are made of: fingerprints tell pixels apart, beams repeat the table only."""

import gc
import weakref

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.models import prepare, tiny

from medmvl.models.visual_table import VisualRow, fingerprint, repeat_rows, to_rows, to_tensor
from medmvl.models.visuals import digest


def row(number: int, start: int = 3) -> VisualRow:
    return VisualRow(number, start, 8, 1, number, 1, 2, 2, 2, 12345 + number)


def test_rows_survive_the_tensor():
    rows = [row(0), row(1), row(1, 20)]
    assert to_rows(to_tensor(rows)) == rows
    assert to_tensor(rows).dtype == torch.long
    assert to_tensor([]).shape == (0, len(VisualRow._fields))
    assert rows[0].grid == (2, 2, 2)


@given(samples=st.lists(st.integers(0, 3), min_size=1, max_size=4), times=st.integers(1, 4))
def test_repeating_follows_the_rows_of_beam_search(samples, times):
    """Row r of the batch becomes rows r * times ... r * times + times - 1, as `repeat_interleave` does with its ids."""
    rows = [row(number, 10 * block) for number, blocks in enumerate(samples) for block in range(blocks)]
    found = to_rows(repeat_rows(to_tensor(rows), times))
    origin = torch.arange(len(samples)).repeat_interleave(times)
    expected = {
        (new, entry.start, entry.index)
        for new, old in enumerate(origin.tolist())
        for entry in rows
        if entry.row == old
    }
    assert {(entry.row, entry.start, entry.index) for entry in found} == expected
    assert len(found) == len(rows) * times


@settings(max_examples=50, deadline=None)
@given(shape=st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 30)), seed=st.integers(0, 999))
def test_a_fingerprint_depends_on_values_and_their_places(shape, seed):
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    mark = fingerprint(pixels)
    assert fingerprint(pixels.clone()) == mark
    assert 0 <= int(mark) < 2**31
    changed = pixels.clone()
    changed[0, 0, 0] += 1e-3
    assert fingerprint(changed) != mark
    assert fingerprint(pixels.flip(-1)) != mark
    assert fingerprint(pixels.roll(1, -1)) != mark


def test_pixels_that_share_a_fingerprint_are_still_compared():
    """Two scans whose sampled voxels agree must not become one."""
    processor = tiny()[1]
    first, second = prepare(processor, "ct:a", answer="Yes."), prepare(processor, "ct:b", answer="No.")
    pixels = second.visuals[0].pixels
    step = pixels.numel() // 1024
    pixels.flatten()[::step] = first.visuals[0].pixels.flatten()[::step]
    assert fingerprint(pixels) == fingerprint(first.visuals[0].pixels)
    assert not torch.equal(pixels, first.visuals[0].pixels)
    assert len(processor.collate([first, second])["pixel_values_volumes"]) == 2


def test_images_of_different_sizes_are_a_batch_of_tiles():
    from medmvl.models.image_processing import ImageProcessor

    processor = tiny()[1]
    first = prepare(processor, "xray:a", answer="Yes.")
    processor.image_processor = ImageProcessor(size=(24, 24), channels=1, mean=(0.5,), std=(0.5,))
    second = prepare(processor, "xray:b", answer="Yes.")
    tiles = processor.collate([first, second])["pixel_values"]
    assert [tuple(tile.shape) for tile in tiles] == [(1, 16, 16), (1, 24, 24)]


def test_a_visual_is_freed_with_its_last_user() -> None:
    visual = prepare(tiny()[1], "ct:freed", answer="Yes.").visuals[0]
    assert visual.views == (visual,)
    gone = weakref.ref(visual)
    gc.disable()  # a reference to itself would keep the pixels until some later collection
    try:
        del visual
        assert gone() is None
    finally:
        gc.enable()


def test_digest_tells_shape_type_and_values() -> None:
    pixels = torch.zeros(2, 6)
    others = [pixels.view(3, 4), pixels.to(torch.float64), pixels + 1e-7, pixels.bfloat16()]
    assert len({digest(p) for p in [pixels, *others]}) == 5
    assert digest(pixels.T) != digest(pixels)
    assert digest(pixels.clone()) == digest(pixels)
