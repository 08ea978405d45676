"""Unchanged patches are left out: chosen from pixels, counted before the model runs, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.models import TEXTS, VOLUMES_ONLY, conversation, prepare, recipe, tiny
from tests.factories.parts import slices, vit3d

from medmvl.data.prepared import PreparedCache
from medmvl.errors import RecipeError
from medmvl.imaging import MedicalImage
from medmvl.models.assemble import assemble, preprocessor_of
from medmvl.models.token_dropping import changed_tokens
from medmvl.models.visual_preprocessor import describe
from medmvl.models.visual_table import to_rows

DROPPING = {"volume_processor": {"size": [8, 16, 16], "drop_unchanged": 0.1}}


def scan(changes=((3, 0, 0), (5, 8, 8))):
    """A black volume of 8 x 16 x 16 in which single pixels light up and stay, slice and place given."""
    array = torch.full((8, 16, 16), -1000)
    for depth, height, width in changes:
        array[depth:, height : height + 4, width : width + 4] = 1000
    return MedicalImage(array=array.numpy(), kind="volume", units="HU", source_format="numpy")


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    patch=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)),
    threshold=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_patch_stays_if_it_changed_and_every_layer_keeps_one(grid, patch, threshold, seed):
    size = [n * k for n, k in zip(grid, patch, strict=True)]
    voxels = torch.rand(2, *size, generator=torch.Generator().manual_seed(seed))
    kept = set(changed_tokens(voxels, grid, threshold).tolist())
    blocks = voxels.unfold(1, patch[0], patch[0]).unfold(2, patch[1], patch[1]).unfold(3, patch[2], patch[2])
    per_layer = grid[1] * grid[2]
    for layer in range(grid[0]):
        own = {token for token in kept if token // per_layer == layer}
        if layer == 0:
            assert len(own) == per_layer
            continue
        change = (blocks[:, layer] - blocks[:, layer - 1]).abs().mean(dim=(0, 3, 4, 5)).flatten()
        moved = {layer * per_layer + int(i) for i in (change > threshold + 1e-6).nonzero()}
        still = {layer * per_layer + int(i) for i in (change < threshold - 1e-6).nonzero()}
        assert moved <= own and own
        assert not (own & still) or own == {layer * per_layer + int(change.argmax())}


def test_the_kept_tokens_are_those_the_whole_scan_would_give():
    model, processor = tiny(**VOLUMES_ONLY, volume_encoder=slices(), **DROPPING)
    _, whole = tiny(**VOLUMES_ONLY, volume_encoder=slices())
    reduced, full = processor.process_visual(scan()), whole.process_visual(scan())
    assert torch.equal(reduced.pixels, full.pixels)
    assert (
        reduced.num_tokens == len(reduced.kept) == 16 + 7
    )  # a changed patch, or one all the same, in seven slices
    assert {3 * 16, 5 * 16 + 2 * 4 + 2} <= set(reduced.kept.tolist())
    assert full.num_tokens == processor.tokens_of("volume") == 8 * 16
    encoded = model.encode_volumes([full.pixels])[0]
    batch = processor.collate([prepared(processor, scan())])
    tokens = model.encode(
        None, batch["pixel_values_volumes"], batch["visual_table"], None, batch["volume_kept"]
    )
    torch.testing.assert_close(tokens[0], encoded[reduced.kept])


def prepared(processor, *images):
    """A question about volumes, supervised."""
    content = [f"ct:{index}" for index in range(len(images))]
    messages = conversation(*content, "Is there a nodule?", answer="No.")
    load = iter(images)
    return processor.prepare(
        messages, processor.visual_loader(lambda block: next(load)), supervised=True, name="a sample"
    )


def test_scans_with_and_without_dropped_patches_share_a_batch_and_gradients_flow():
    model, processor = tiny(**VOLUMES_ONLY, volume_encoder=slices(), **DROPPING)
    still, restless = scan(()), scan([(k, 4 * (k % 4), x) for k in range(8) for x in range(0, 16, 4)])
    together = processor.collate([prepared(processor, still, restless), prepared(processor, restless)])
    lengths = [row.length for row in to_rows(together["visual_table"])]
    assert lengths == [16 + 7, 16 + 3 * 4 + 4, 16 + 3 * 4 + 4]  # rows of four patches change in three layers
    loss = model(**together).loss
    loss.backward()
    assert all(weight.grad is not None for weight in model.volume_connector.parameters())
    alone = processor.collate([prepared(processor, restless)])
    with torch.no_grad():
        both = model(**{k: v for k, v in together.items() if k != "labels"}).logits[
            1, : alone["input_ids"].shape[1]
        ]
        one = model(**{k: v for k, v in alone.items() if k != "labels"}).logits[0]
    torch.testing.assert_close(both, one, rtol=1e-4, atol=1e-4)


def test_the_share_that_is_kept_is_reported_and_survives_the_cache(tmp_path):
    _, processor = tiny(**VOLUMES_ONLY, volume_encoder=slices(), **DROPPING)
    visual = processor.process_visual(scan())
    assert visual.kept_share == pytest.approx(23 / 128)
    assert describe(visual)["kept_share"] == pytest.approx(23 / 128, abs=1e-4)
    assert visual.to_json()["kept_share"] == pytest.approx(23 / 128, abs=1e-4)
    cache = PreparedCache(tmp_path)
    cache.keep("one", visual)
    again = cache.find("one", processor.visual_preprocessor)
    assert torch.equal(again.kept, visual.kept) and again.num_tokens == visual.num_tokens


def test_generation_reads_the_kept_tokens_only():
    model, processor = tiny(**VOLUMES_ONLY, volume_encoder=slices(), **DROPPING)
    messages = prepare(processor, "ct:a", "Is there a nodule?")
    batch = processor.collate([messages], padding_side="left")
    assert "volume_kept" in batch
    output = model.generate(**batch, max_new_tokens=3, num_beams=2, do_sample=False)
    assert output.shape[1] > batch["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume_connector": {"type": "spatial_pooling"}}, "'spatial_pooling' makes its tokens of several"),
        ({"volume_encoder": vit3d(size=[2, 16, 16]), "volume_processor": {"size": [2, 16, 16], "drop_unchanged": 0}},
         "choose an encoder with layers"),
    ],
)  # fmt: skip
def test_parts_that_let_no_token_go_are_refused_before_anything_is_built(changes, message):
    wanted = recipe(**{**VOLUMES_ONLY, **DROPPING, **changes})
    with pytest.raises(RecipeError, match=message):
        preprocessor_of(wanted)
    with pytest.raises(RecipeError, match=message):
        assemble(wanted, texts=TEXTS)
