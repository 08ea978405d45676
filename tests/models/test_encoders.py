"""Our own encoders: transformers in two and three dimensions, and slices."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.parts import hf_vision, randomise, slices, vit2d, vit3d, weights_without_gradient

from medmvl.errors import RecipeError, UserError
from medmvl.models.encoders import (
    build_image_encoder,
    build_volume_encoder,
    parse_volume_encoder_config,
    validate_image_encoder_config,
    validate_volume_encoder_config,
)
from medmvl.models.encoders.slices import sinusoids
from medmvl.models.encoders.vit import Block

VOLUME_ENCODERS: dict[str, dict[str, Any]] = {
    "vit3d": vit3d(),
    "vit3d conv": vit3d(stem="conv"),
    "vit3d class token": vit3d(class_token=True, qkv_bias=False),
    "slices": slices(slice_positions="sinusoidal", chunk_slices=3),
    "slices of a tower": slices(encoder=hf_vision()),
}
IMAGE_ENCODERS: dict[str, dict[str, Any]] = {"vit2d": vit2d(), "vit2d conv": vit2d(stem="conv")}
whole_patches = st.integers(1, 6)


def built(config: dict[str, Any], image_encoder: Any = None) -> Any:
    torch.manual_seed(0)
    encoder = build_volume_encoder(config, image_encoder)
    randomise(encoder)
    return encoder


@pytest.mark.parametrize("config", VOLUME_ENCODERS.values(), ids=VOLUME_ENCODERS)
@settings(max_examples=8, deadline=None)
@given(patches=st.tuples(whole_patches, whole_patches, whole_patches), batch=st.integers(1, 2))
def test_the_grid_is_known_before_the_volume_is_encoded(config, patches, batch):
    size = (2 * patches[0], 4 * patches[1], 4 * patches[2])
    expected = parse_volume_encoder_config(config).grid(size)
    encoder = built(config)
    features = encoder(torch.rand(batch, 1, *size))
    assert features.grid == expected == encoder.grid(*size)
    assert [tuple(s.shape) for s in features.streams] == [
        (batch, math.prod(expected), w) for w in encoder.widths
    ]
    assert torch.isfinite(features.streams[0]).all()


@pytest.mark.parametrize("config", VOLUME_ENCODERS.values(), ids=VOLUME_ENCODERS)
def test_every_weight_of_a_volume_encoder_is_trained(config):
    encoder = built(config)
    encoder(torch.rand(2, 1, 8, 16, 16)).streams[0].square().sum().backward()
    assert weights_without_gradient(encoder) == []


@pytest.mark.parametrize("config", IMAGE_ENCODERS.values(), ids=IMAGE_ENCODERS)
def test_every_weight_of_an_image_encoder_is_trained(config):
    encoder = build_image_encoder(config)
    randomise(encoder)
    features = encoder(torch.rand(2, 1, 16, 24))
    assert features.grid == encoder.grid(16, 24) == (1, 4, 6)
    features.streams[0].square().sum().backward()
    assert weights_without_gradient(encoder) == []


@pytest.mark.parametrize("config", VOLUME_ENCODERS.values(), ids=VOLUME_ENCODERS)
def test_a_frozen_volume_encoder_keeps_no_graph(config):
    keeps_a_graph_only_for_training(built(config), torch.rand(1, 1, 8, 16, 16))


@pytest.mark.parametrize("config", IMAGE_ENCODERS.values(), ids=IMAGE_ENCODERS)
def test_a_frozen_image_encoder_keeps_no_graph(config):
    keeps_a_graph_only_for_training(build_image_encoder(config), torch.rand(1, 1, 16, 16))


def keeps_a_graph_only_for_training(encoder, pixels):
    assert encoder(pixels).streams[0].grad_fn is not None
    with torch.no_grad():
        assert encoder(pixels).streams[0].grad_fn is None
    encoder.requires_grad_(False)
    assert encoder(pixels.requires_grad_(True)).streams[0].grad_fn is None
    next(encoder.parameters()).requires_grad_(True)
    assert encoder(pixels).streams[0].grad_fn is not None


@pytest.mark.parametrize("name", ["vit3d", "slices", "slices of a tower"])
def test_one_volume_of_a_batch_does_not_touch_another(name):
    encoder = built(VOLUME_ENCODERS[name])
    volumes = torch.rand(3, 1, 8, 16, 16)
    together = encoder(volumes).streams[0]
    for index in range(3):
        torch.testing.assert_close(encoder(volumes[index : index + 1]).streams[0][0], together[index])


def test_tokens_are_ordered_depth_height_width():
    encoder = built(vit3d(num_layers=0))
    empty = torch.zeros(1, 1, 8, 16, 16)
    marked = empty.clone()
    marked[0, 0, 2 * 1 : 2 * 2, 4 * 2 : 4 * 3, 4 * 3 : 4 * 4] = 1.0  # the patch (1, 2, 3) of 4 x 4 x 4
    changed = (encoder(marked).streams[0] - encoder(empty).streams[0]).abs().sum(dim=-1)[0]
    assert changed.nonzero().flatten().tolist() == [(1 * 4 + 2) * 4 + 3]


def test_positions_are_the_learned_ones_at_the_native_size():
    vit = built(vit3d()).vit
    assert vit.positions((4, 4, 4)) is vit.position_embedding


def test_positions_that_grow_linearly_still_do_at_other_sizes():
    vit = built(vit3d()).vit
    with torch.no_grad():
        depth = torch.arange(4.0).reshape(4, 1, 1).expand(4, 4, 4).reshape(1, 64, 1)
        vit.position_embedding.copy_(depth.expand_as(vit.position_embedding))
    resized = vit.positions((8, 2, 6)).reshape(8, 2, 6, -1)
    torch.testing.assert_close(resized[1:-1, 0, 0, 0], torch.arange(1, 7) * 0.5 - 0.25)  # half-voxel centres
    torch.testing.assert_close(resized, resized[:, :1, :1, :1].expand_as(resized))


def test_a_block_is_pytorchs_own_pre_norm_layer():
    config = build_image_encoder(vit2d()).part_config
    ours, theirs = (
        Block(config),
        torch.nn.TransformerEncoderLayer(
            24, 2, 96, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        ),
    )
    randomise(ours)
    theirs.load_state_dict({
        "self_attn.in_proj_weight": ours.qkv.weight, "self_attn.in_proj_bias": ours.qkv.bias,
        "self_attn.out_proj.weight": ours.out_proj.weight, "self_attn.out_proj.bias": ours.out_proj.bias,
        "norm1.weight": ours.norm1.weight, "norm1.bias": ours.norm1.bias,
        "norm2.weight": ours.norm2.weight, "norm2.bias": ours.norm2.bias,
        "linear1.weight": ours.mlp[0].weight, "linear1.bias": ours.mlp[0].bias,
        "linear2.weight": ours.mlp[2].weight, "linear2.bias": ours.mlp[2].bias,
    })  # fmt: skip
    tokens = torch.randn(2, 7, 24)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient():
    plain = built(vit3d()).train()
    saving = copy.deepcopy(plain)
    saving.vit.gradient_checkpointing = True
    pixels = torch.rand(1, 1, 8, 16, 16)
    for encoder in (plain, saving):
        encoder(pixels).streams[0].square().sum().backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_slices_equal_the_image_encoder_slice_by_slice():
    encoder = built(slices(encoder=hf_vision()))
    volume = torch.rand(2, 1, 5, 16, 20)
    tokens = encoder(volume).streams[0].reshape(2, 5, -1, 16)
    for patient in range(2):
        for index in range(5):
            alone = encoder.image_encoder(volume[patient : patient + 1, :, index]).streams[0][0]
            torch.testing.assert_close(tokens[patient, index], alone)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_change_no_value(chunk):
    whole, chunked = built(slices(chunk_slices=14)), built(slices(chunk_slices=chunk))
    chunked.load_state_dict(whole.state_dict())
    volume = torch.rand(2, 1, 7, 16, 16)
    torch.testing.assert_close(chunked(volume).streams[0], whole(volume).streams[0])


def test_a_shared_encoder_is_the_models_own_and_is_saved_once():
    image_encoder = build_image_encoder(hf_vision())
    encoder = build_volume_encoder({"type": "slices", "encoder": "shared"}, image_encoder)
    assert encoder.state_dict() == {} and encoder.image_encoder is image_encoder
    encoder(torch.rand(1, 1, 2, 16, 16)).streams[0].sum().backward()
    assert image_encoder.tower.embeddings.patch_embedding.weight.grad is not None
    image_encoder.requires_grad_(False)
    assert encoder(torch.rand(1, 1, 2, 16, 16)).streams[0].grad_fn is None


def test_a_copied_model_shares_its_own_copy():
    model = torch.nn.ModuleDict({"image": build_image_encoder(vit2d())})
    model["volume"] = build_volume_encoder({"type": "slices"}, model["image"])
    copied = copy.deepcopy(model)
    assert copied["volume"].image_encoder is copied["image"]


def test_slice_positions_are_physical_and_relative():
    plain = built(slices())
    placed = built(slices(slice_positions="sinusoidal"))
    placed.load_state_dict(plain.state_dict())
    volume, mm = torch.rand(1, 1, 3, 16, 16), torch.tensor([[-100.0, -95.0, -70.0]])
    code = (placed(volume, mm).streams[0] - plain(volume, mm).streams[0]).reshape(3, -1, 24)
    expected = sinusoids(mm[0] - mm.mean(), 24).unsqueeze(1).expand_as(code)
    torch.testing.assert_close(code, expected, rtol=1e-4, atol=1e-4)
    shifted = placed(volume, mm + 300).streams[0]
    torch.testing.assert_close(shifted, placed(volume, mm).streams[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(placed(volume).streams[0], shifted)


def test_layers_of_patches_lie_between_their_slices():
    mm = torch.tensor([[0.0, 1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 40.0]])
    features = built(vit3d())(torch.rand(1, 1, 8, 16, 16), mm)
    assert features.positions_mm.tolist() == [[0.5, 2.5, 15.0, 35.0]]
    assert built(slices())(torch.rand(1, 1, 8, 16, 16), mm).positions_mm.tolist() == mm.tolist()


@pytest.mark.parametrize("config", [vit3d(), slices(), slices(encoder=hf_vision("clip_vision_model"))])
def test_normalised_settings_are_complete_and_stable(config):
    normalised = validate_volume_encoder_config(config)
    assert validate_volume_encoder_config(normalised) == normalised
    assert build_volume_encoder(normalised).part_config.to_dict() == normalised
    assert set(config) <= set(normalised)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "vit3D"}, "unknown type 'vit3D'; did you mean 'vit3d'.*Known: vit3d, slices"),
        ({}, "unknown type 'None'.*Known"),
        (vit3d(num_layer=2), "unknown key 'num_layer'; did you mean 'num_layers'.*Known"),
        (vit3d(size=[8, 16, 18]), "8 x 16 x 18 is not a multiple of the patch size 2 x 4 x 4"),
        (vit3d(num_heads=5), "width 24 is not a multiple of num_heads 5"),
        (vit3d(patch_size=[1, 8, 1], size=[3, 8, 4], num_heads=0), "num_heads"),
        ({**vit3d(stem="conv"), "size": [9, 16, 16], "patch_size": [3, 4, 4]}, "powers of two"),
        ({"type": "slices", "encoder": "shared"}, "no image encoder"),
        (slices(encoder=vit2d(widht=3)), "image encoder 'vit2d': unknown key 'widht'; did you mean 'width'"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(config, message):
    with pytest.raises(RecipeError, match=message):
        build_volume_encoder(config)


def test_pixels_that_do_not_fit_are_refused():
    encoder = built(vit3d())
    with pytest.raises(UserError, match="2 channels, the encoder reads 1"):
        encoder(torch.rand(1, 2, 8, 16, 16))
    with pytest.raises(UserError, match="5 axes"):
        encoder(torch.rand(1, 8, 16, 16))
    with pytest.raises(RecipeError, match="multiple of the patch size"):
        encoder(torch.rand(1, 1, 7, 16, 16))


def test_defaults_are_filled_in():
    assert validate_image_encoder_config({"type": "vit2d"})["patch_size"] == [16, 16]
