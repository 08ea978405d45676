"""What holds for all connectors: promised tokens, trained weights, samples apart, masks, every encoder or a reason."""

from __future__ import annotations

import math
import re
from itertools import product

import pytest
import torch
from tests.factories import encoders
from tests.factories.connectors import (
    CONNECTORS,
    IMAGE_GRID,
    VOLUME_GRID,
    WIDTH,
    built,
    features_of,
    question,
)
from tests.factories.models import IMAGES_ONLY, prepare, tiny
from tests.factories.parts import hf_vision, slices, vit2d, vit3d, weights_without_gradient

from medmvl.errors import RecipeError
from medmvl.models.assemble import load
from medmvl.models.configuration import VisualParts
from medmvl.models.connectors import CONNECTORS as TABLE
from medmvl.models.connectors import build_connector, parse_connector_config, validate_connector_config
from medmvl.models.encoders import build_image_encoder, build_volume_encoder
from medmvl.models.features import VisualFeatures

IMAGE, VOLUME = (16, 16), (4, 16, 16)
ENCODERS = {
    "vit2d": ("image", vit2d(), IMAGE),
    "siglip": ("image", hf_vision(), IMAGE),
    "clip with class token": ("image", hf_vision("clip_vision_model", select="cls_patch"), IMAGE),
    "class token alone": ("image", vit2d(class_token=True, select="cls"), IMAGE),
    "convnext": ("image", encoders.hf_vision("convnext"), (128, 128)),
    "vit3d": ("volume", vit3d(size=[4, 16, 16]), VOLUME),
    "slices": ("volume", slices(), VOLUME),
    "ct_vit": ("volume", encoders.VOLUMES["ct_vit"], VOLUME),
    "resnet3d": ("volume", encoders.VOLUMES["resnet3d"], (16, 64, 64)),
    "dcformer, two streams": ("volume", encoders.VOLUMES["dcformer"], (64, 128, 128)),
    "volume_and_slices, two streams": (
        "volume", {"type": "volume_and_slices", "volume": vit3d(size=[4, 16, 16]), "slices": slices()}, VOLUME,
    ),
}  # fmt: skip


def fitting_grids(config):
    """Which of the two grids a connector takes."""
    parsed = parse_connector_config(config)
    found = []
    for grid in (IMAGE_GRID, VOLUME_GRID):
        try:
            parsed.check(grid)
        except RecipeError:
            continue
        found.append(grid)
    return found


CASES = [(name, grid) for name, config in CONNECTORS.items() for grid in fitting_grids(config)]


def test_every_connector_is_tried():
    tried = {config["type"] for config in CONNECTORS.values()}
    assert tried | {"text_guided_slices"} == set(
        TABLE
    )  # that one needs two streams, and has tests of its own
    assert len(CASES) == 2 * len(CONNECTORS) - 2  # each mixer is made for one grid


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_tokens_are_as_many_as_promised_and_every_weight_is_trained(name, grid):
    connector = built(CONNECTORS[name]).train()
    tokens = connector(features_of(grid), question(connector))
    assert tokens.shape == (2, connector.num_tokens(grid), connector.output_width)
    assert connector.num_tokens(grid) == parse_connector_config(CONNECTORS[name]).num_tokens(grid)
    tokens.square().sum().backward()
    assert weights_without_gradient(connector) == []


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_samples_do_not_touch_each_other(name, grid):
    connector, features = built(CONNECTORS[name]), features_of(grid, batch=3)
    text = question(connector, 3)
    together = connector(features, text)
    for index in range(3):
        alone = connector(features.pick(index, 1), None if text is None else text[:1])
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_what_stands_where_no_token_is_changes_nothing(name, grid):
    connector = built(CONNECTORS[name])
    mask = torch.rand(2, math.prod(grid)) > 0.4
    mask[:, 0] = True
    features = features_of(grid, mask=mask)
    noise = torch.where(mask.unsqueeze(-1), 0, torch.randn(2, math.prod(grid), WIDTH))
    changed = VisualFeatures((features.streams[0] + noise,), grid, mask)
    text = question(connector)
    torch.testing.assert_close(connector(features, text), connector(changed, text))
    full = VisualFeatures(features.streams, grid, torch.ones_like(mask))
    unmasked = VisualFeatures(features.streams, grid)
    torch.testing.assert_close(connector(full, text), connector(unmasked, text), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(connector(features, text), connector(unmasked, text))


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_a_connector_that_works_per_token_gives_each_the_same_when_others_change(name, grid):
    connector, features = built(CONNECTORS[name]), features_of(grid)
    changed = features.streams[0].clone()
    changed[:, 1:] = torch.randn_like(changed[:, 1:])
    text = question(connector)
    first, second = connector(features, text), connector(VisualFeatures((changed,), grid), text)
    if connector.part_config.per_token:
        assert first.shape[1] == math.prod(grid)
        torch.testing.assert_close(first[:, 0], second[:, 0])
    else:
        assert not torch.allclose(first[:, 0], second[:, 0], rtol=1e-4)


@pytest.mark.parametrize(("encoder", "name"), product(ENCODERS, CONNECTORS))
def test_it_works_behind_every_encoder_or_says_why_not_before_anything_is_built(encoder, name):
    (kind, settings, size), config = ENCODERS[encoder], CONNECTORS[name]
    parts = VisualParts.from_settings({f"{kind}_encoder": settings, f"{kind}_connector": config})
    try:
        parts.check(kind, size)
    except RecipeError as error:
        reason = str(error)
    else:
        reason = ""
    if "two streams" in encoder:
        assert re.search(r"stream\(s\) of features", reason)
    elif reason:
        assert "grid" in reason
        assert "cls_patch" not in str(settings) or name.startswith("mlp_mixer") or "class token" in reason
    else:
        build = build_image_encoder if kind == "image" else build_volume_encoder
        features = build(settings)(torch.randn(2, parts.encoders[kind].channels, *size))
        connector = build_connector(config, parts.encoders[kind].widths, 10)
        expected = parts.num_tokens(kind, parts.grid(kind, size))
        assert connector(features, question(connector)).shape == (2, expected, 10)
    if name in ("linear", "attention_pooling", "perceiver", "q_former", "text_selection"):
        assert bool(reason) == ("two streams" in encoder)


@pytest.mark.parametrize("config", CONNECTORS.values(), ids=CONNECTORS)
def test_normalised_settings_are_complete_and_stable(config):
    normalised = validate_connector_config(config)
    assert validate_connector_config(normalised) == normalised
    assert build_connector(normalised, (WIDTH,), 10).part_config.to_dict() == normalised


@pytest.mark.parametrize(("name", "grid"), CASES)
def test_it_computes_in_its_own_type_whatever_the_encoder_and_the_llm_use(name, grid):
    connector, features = built(CONNECTORS[name]), features_of(grid)
    text = question(connector)
    exact = connector(features, text)
    half = connector.to(torch.bfloat16)(features, text)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("name", [name for name in CONNECTORS if name != "mlp_mixer of volumes"])
def test_a_saved_model_gives_the_same_tokens(name, tmp_path):
    encoder = {"image_encoder": vit2d(num_layers=1)}
    model, processor = tiny(**IMAGES_ONLY, **encoder, image_connector=CONNECTORS[name])
    batch = processor.collate([prepare(processor, "xray:a", "Is it?", answer="Yes.")])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(**batch).logits, model(**batch).logits, rtol=1e-5, atol=1e-5)
