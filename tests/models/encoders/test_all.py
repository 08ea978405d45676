"""What holds for every encoder of the tables: gradients, grids, other sizes, saving, checkpointing."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from tests.factories import parts
from tests.factories.encoders import IMAGES, VOLUMES
from tests.factories.models import LLMS
from torch.utils.checkpoint import checkpoint

from medmvl.errors import RecipeError
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.encoders import (
    IMAGE_ENCODERS,
    VOLUME_ENCODERS,
    build_image_encoder,
    build_volume_encoder,
    parse_image_encoder_config,
    parse_volume_encoder_config,
)
from medmvl.models.modeling import MedMVLForConditionalGeneration

OPTIONAL = {"timm", "open_clip"}
"""Encoders of libraries that may be absent: tested in files of their own."""
ENCODERS = [("image", name) for name in IMAGES] + [("volume", name) for name in VOLUMES]
LIBRARY_KEEPS_ALL = {"convnext", "convnextv2", "resnet", "efficientnet"}
"""Towers that the library cannot checkpoint: they train all the same, and keep all activations."""
SIZES = {"image": [(64, 64), (96, 68)], "volume": [(8, 16, 16), (12, 64, 32)]}
NO_GRADIENT = ("key.bias", "k_proj.bias", "position_bias.4.bias")
"""A bias that shifts all scores of a query alike changes nothing: its gradient is zero but for rounding."""


def built(kind, name):
    torch.manual_seed(0)
    encoder = build_image_encoder(IMAGES[name]) if kind == "image" else build_volume_encoder(VOLUMES[name])
    parts.randomise(encoder)
    return encoder.eval()


def pixels_of(encoder, size, batch=2):
    return torch.randn(batch, encoder.part_config.channels, *size, generator=torch.Generator().manual_seed(1))


def loss_of(features):
    return sum(stream.square().sum() for stream in features.streams)


def test_every_encoder_of_the_tables_is_here():
    assert {config["type"] for config in IMAGES.values()} == set(IMAGE_ENCODERS) - OPTIONAL
    assert {config["type"] for config in VOLUMES.values()} == set(VOLUME_ENCODERS) - OPTIONAL


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_every_weight_gets_a_gradient(kind, name):
    encoder = built(kind, name)
    if name == "ct_vit with codes":
        encoder.train()  # in evaluation the codes themselves are given
    loss_of(encoder(pixels_of(encoder, SIZES[kind][1]))).backward()
    without = [
        weight_name
        for weight_name, weight in encoder.named_parameters()
        if weight.grad is None or not (weight.grad.any() or weight_name.endswith(NO_GRADIENT))
    ]
    assert without == []


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_grids_are_known_before_and_other_sizes_work(kind, name):
    encoder = built(kind, name)
    parse = parse_image_encoder_config if kind == "image" else parse_volume_encoder_config
    config = parse(encoder.part_config.to_dict())
    for size in SIZES[kind]:
        features = encoder(pixels_of(encoder, size))
        assert features.grid == config.grid(size) and features.stream_grids == config.grids(size)
        shapes = [
            (2, math.prod(grid), width) for grid, width in zip(config.grids(size), config.widths, strict=True)
        ]
        assert [tuple(stream.shape) for stream in features.streams] == shapes
        assert all(torch.isfinite(stream).all() for stream in features.streams)


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_samples_of_a_batch_do_not_touch_each_other(kind, name):
    encoder = built(kind, name)
    pixels = pixels_of(encoder, SIZES[kind][0])
    together = encoder(pixels)
    for index in range(2):
        alone = encoder(pixels[index : index + 1])
        for ours, theirs in zip(alone.streams, together.streams, strict=True):
            torch.testing.assert_close(ours[0], theirs[index], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "name"), [pair for pair in ENCODERS if pair[1] != "ct_vit with codes"])
def test_half_precision_is_near_full(kind, name):  # of codes another may be the nearest
    encoder = built(kind, name)
    pixels = pixels_of(encoder, SIZES[kind][0])
    full = encoder(pixels).streams
    half = encoder.to(torch.bfloat16)(pixels.to(torch.bfloat16)).streams
    for ours, theirs in zip(half, full, strict=True):
        assert ours.dtype == torch.bfloat16
        assert float((ours.float() - theirs).detach().abs().max() / theirs.detach().abs().max()) < 0.1


CONNECTORS = {
    "dcformer": {"type": "mlp_mixer", "grids": [[1, 1, 1], [1, 1, 1]], "tokens": [[2], [2]]},
    "volume_and_slices": {"type": "text_guided_slices", "factors": [1, 1, 1]},
}


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_a_saved_model_gives_equal_features(kind, name, tmp_path):
    torch.manual_seed(0)
    encoder = IMAGES[name] if kind == "image" else VOLUMES[name]
    model = MedMVLForConditionalGeneration(MedMVLConfig(
        llm={**LLMS["qwen2"], "vocab_size": 32}, image_token_id=1, volume_token_id=2,
        **{f"{kind}_encoder": encoder, f"{kind}_connector": CONNECTORS.get(name, {"type": "linear"}),
           f"{kind}_size": SIZES[kind][0]},
    )).eval()  # fmt: skip
    parts.randomise(model)
    model.save_pretrained(tmp_path)
    loaded = MedMVLForConditionalGeneration.from_pretrained(tmp_path).eval()
    before, after = getattr(model, f"{kind}_encoder"), getattr(loaded, f"{kind}_encoder")
    pixels = pixels_of(before, SIZES[kind][1], batch=1)
    for ours, theirs in zip(before(pixels).streams, after(pixels).streams, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    buffers = dict(after.named_buffers())  # also those that are computed anew instead of saved
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in before.named_buffers())
    weights = dict(after.named_parameters())
    assert all(torch.equal(weight, weights[key]) for key, weight in before.named_parameters())


def backward_keeps(encoder, pixels):
    """Run forward and backward; how many numbers the forward pass kept for the backward pass."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    torch.manual_seed(3)  # towers that drop paths drop the same
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(encoder(pixels))
    loss.backward()
    return sum(kept)


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_gradient_checkpointing_changes_no_gradient(kind, name):
    plain = built(kind, name).train()
    saving, able = copy.deepcopy(plain), False
    for module in saving.modules():
        if hasattr(
            module, "gradient_checkpointing"
        ):  # as `gradient_checkpointing_enable` of transformers does
            module.gradient_checkpointing = able = True
            module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    kept = [backward_keeps(encoder, pixels_of(encoder, SIZES[kind][0])) for encoder in (plain, saving)]
    assert able == (name not in LIBRARY_KEEPS_ALL) and (kept[1] < kept[0]) == able
    for (weight_name, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
        scale = float(ours.grad.abs().max()) or 1.0
        torch.testing.assert_close(
            theirs.grad / scale, ours.grad / scale, rtol=1e-3, atol=1e-4, msg=weight_name
        )


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_a_frozen_encoder_is_in_evaluation_mode_and_keeps_no_graph(kind, name):
    encoder = built(kind, name).requires_grad_(False).train()
    assert not any(module.training for module in encoder.modules())
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    features = encoder(pixels_of(encoder, SIZES[kind][0]))
    assert all(stream.grad_fn is None for stream in features.streams)
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())


def test_an_encoder_without_checkpoints_of_its_own_takes_no_path():
    with pytest.raises(RecipeError, match="image encoder 'vit2d' takes no path"):
        IMAGE_ENCODERS["vit2d"].pretrained_settings({"type": "vit2d", "path": "somewhere"})
    with pytest.raises(RecipeError, match="'vit2d' reads no checkpoint by path"):
        build_image_encoder(IMAGES["vit2d"]).load_pretrained("somewhere")
