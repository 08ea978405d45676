"""Hugging Face towers: the chosen layer and tokens are the library's own."""

from __future__ import annotations

import pytest
import torch
from tests.factories.parts import TOWER, TOWERS, hf_vision, randomise, weights_without_gradient
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_image_encoder, validate_image_encoder_config
from medmvl.models.encoders.hf_vision import HFVision

PREFIX = {"clip_vision_model": 1, "siglip_vision_model": 0, "vit": 1, "dinov2": 1, "dinov2_with_registers": 3}
WITH_CLASS_TOKEN = [name for name in TOWERS if PREFIX[name]]


def whole_tower(model_type):
    """The library's complete tower."""
    tower = AutoModel.from_config(AutoConfig.for_model(**TOWERS[model_type])).eval()
    randomise(tower)
    return tower


def ours_of(tower, model_type, **settings):
    """Our encoder with the weights of a complete tower."""
    encoder = build_image_encoder(hf_vision(model_type, **settings)).eval()
    weights = tower.state_dict()
    encoder.tower.load_state_dict({name: weights[name] for name in encoder.tower.state_dict()})
    return encoder


@pytest.mark.parametrize("layer", [-1, -2, 0, 2])
@pytest.mark.parametrize("model_type", TOWERS)
def test_the_layer_is_that_of_hidden_states(model_type, layer):
    tower, pixels = whole_tower(model_type), torch.rand(2, 3, 16, 16)
    features = ours_of(tower, model_type, layer=layer)(pixels)
    theirs = tower(pixels, output_hidden_states=True).hidden_states[layer]
    assert features.grid == (1, 4, 4)
    torch.testing.assert_close(features.streams[0], theirs[:, PREFIX[model_type] :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", WITH_CLASS_TOKEN)
def test_the_class_token_is_told_from_registers_and_patches(model_type):
    tower, pixels = whole_tower(model_type), torch.rand(2, 3, 16, 16)
    theirs = tower(pixels, output_hidden_states=True).hidden_states[-1]
    alone = ours_of(tower, model_type, select="cls")(pixels)
    both = ours_of(tower, model_type, select="cls_patch")(pixels)
    assert (alone.grid, both.grid) == ((1, 1, 1), (1, 1, 17))
    torch.testing.assert_close(alone.streams[0], theirs[:, :1], rtol=1e-4, atol=1e-5)
    expected = torch.cat([theirs[:, :1], theirs[:, PREFIX[model_type] :]], dim=1)
    torch.testing.assert_close(both.streams[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["siglip_vision_model", "vit", "dinov2", "dinov2_with_registers"])
def test_the_final_norm_gives_the_towers_own_output(model_type):
    tower, pixels = whole_tower(model_type), torch.rand(2, 3, 16, 16)
    features = ours_of(tower, model_type, final_norm=True)(pixels)
    theirs = tower(pixels).last_hidden_state[:, PREFIX[model_type] :]
    torch.testing.assert_close(features.streams[0], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", TOWERS)
def test_other_sizes_interpolate_the_positions_as_the_library_does(model_type):
    tower, pixels = whole_tower(model_type), torch.rand(1, 3, 24, 18)
    features = ours_of(tower, model_type)(pixels)
    request = {} if model_type.startswith("dino") else {"interpolate_pos_encoding": True}
    theirs = tower(pixels, output_hidden_states=True, **request).hidden_states[-1]
    assert features.grid == (1, 6, 4)  # two columns of pixels fill no patch
    torch.testing.assert_close(features.streams[0], theirs[:, PREFIX[model_type] :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("model_type", TOWERS)
def test_every_weight_that_is_built_is_trained(model_type, layer):
    encoder = build_image_encoder(hf_vision(model_type, layer=layer))
    randomise(encoder)
    encoder(torch.rand(2, 3, 16, 16)).streams[0].square().sum().backward()
    assert weights_without_gradient(encoder) == []


def test_grey_images_become_three_equal_channels():
    encoder, grey = build_image_encoder(hf_vision()), torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(encoder(grey).streams[0], encoder(grey.repeat(1, 3, 1, 1)).streams[0])


@pytest.mark.parametrize(
    "library", [(CLIPConfig, CLIPModel), (SiglipConfig, SiglipModel)], ids=["clip", "siglip"]
)
def test_the_image_tower_of_a_two_tower_checkpoint_is_taken_with_its_weights(library, tmp_path):
    config_class, model_class = library
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 40, "projection_size": 16}  # fmt: skip
    whole = model_class(config_class(text_config=text, vision_config=TOWER, projection_dim=8)).eval()
    randomise(whole)
    whole.save_pretrained(tmp_path)
    config, encoder = HFVision.from_pretrained(tmp_path, layer=-2)
    pixels = torch.rand(1, 3, 16, 16)
    theirs = whole.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
    first = encoder.eval().settings.num_prefix_tokens
    torch.testing.assert_close(encoder(pixels).streams[0], theirs[:, first:], rtol=1e-4, atol=1e-5)
    assert validate_image_encoder_config(config) == config
    assert build_image_encoder(config).state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf_vision("siglip_vision_model", select="cls_patch"), "siglip_vision_model has no class token"),
        (hf_vision("clip_vision_model", select="patches"), "select"),
        (hf_vision("vit", layer=4), "layer 4 does not exist: vit has 3 layers"),
        (hf_vision("vit", layer=-5), "layer -5 does not exist"),
        (hf_vision("vit", layer=-2, final_norm=True), "final_norm"),
        (hf_vision("clip_vision_model", final_norm=True), "final_norm"),
        (
            {"type": "hf_vision", "config": {"model_type": "bert"}},
            "unknown model_type 'bert'. Known: clip_vision",
        ),
        ({"type": "hf_vision"}, "config: Field required"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(config, message):
    with pytest.raises(RecipeError, match=message):
        build_image_encoder(config)


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(RecipeError, match="hold no patch"):
        build_image_encoder(hf_vision()).grid(3, 16)
