"""SigLIP 2, DINOv3 and the towers of stages: what we give is the library's own at the chosen layer or stage."""

from __future__ import annotations

import pytest
import torch
from tests.factories.encoders import TOWERS, hf_vision
from tests.factories.parts import randomise
from transformers import AutoConfig, AutoModel, Siglip2Config
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_image_encoder, parse_image_encoder_config
from medmvl.models.encoders.hf_families import _efficientnet_repeats
from medmvl.models.encoders.hf_vision import HFVision

STAGED = [name for name in TOWERS if name not in ("siglip2_vision_model", "dinov3_vit")]
STAGES = {"convnext": 4, "convnextv2": 4, "resnet": 4, "efficientnet": 8, "swin": 3}
SIZES = [(64, 64), (73, 94), (65, 128)]


def whole(model_type):
    """The library's complete tower, its weights and running statistics moved."""
    torch.manual_seed(0)
    tower = AutoModel.from_config(AutoConfig.for_model(**TOWERS[model_type]))
    randomise(tower)
    if model_type in ("resnet", "efficientnet"):
        tower.train()
        for _ in range(3):
            tower(torch.randn(4, 3, 96, 96))
    return tower.eval()


def ours_of(tower, model_type, **settings):
    encoder = build_image_encoder(hf_vision(model_type, **settings)).eval()
    weights = tower.state_dict()
    encoder.tower.load_state_dict({name: weights[name] for name in encoder.tower.state_dict()})
    return encoder


def library_maps(tower, model_type, pixels):
    """The maps of all stages as the library computes them in one pass of the complete tower."""
    if model_type == "swin":
        embedded, size = tower.embeddings(pixels, interpolate_pos_encoding=True)
        before = {"output_hidden_states": True, "output_hidden_states_before_downsampling": True}
        return tower.encoder(embedded, size, **before).reshaped_hidden_states[1:]
    output = tower(pixels, output_hidden_states=True)
    if model_type == "efficientnet":
        repeats = _efficientnet_repeats(tower.config)
        ends = [sum(repeats[: index + 1]) for index in range(len(repeats))]
        return [*[output.hidden_states[end] for end in ends], output.last_hidden_state]
    return output.hidden_states[1:]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model_type", STAGED)
def test_every_stage_gives_the_librarys_map_on_the_grid_known_before(model_type, size):
    tower, pixels = whole(model_type), torch.randn(2, 3, *size)
    maps = library_maps(tower, model_type, pixels)
    assert len(maps) == STAGES[model_type]
    for stage, expected in enumerate(maps, start=1):
        encoder = ours_of(tower, model_type, layer=stage)
        features = encoder(pixels)
        assert features.grid == (1, *expected.shape[2:]) and encoder.widths == (expected.shape[1],)
        tokens = expected.flatten(2).transpose(1, 2)
        torch.testing.assert_close(features.streams[0], tokens, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model_type", STAGED)
def test_negative_stages_count_from_the_last(model_type):
    count = STAGES[model_type]
    for stage in (1, count):
        settings = parse_image_encoder_config(hf_vision(model_type, layer=stage - count - 1))
        assert settings.num_layers == stage
    with pytest.raises(RecipeError, match=rf"layer 0 does not exist: {model_type} has {count} stages"):
        parse_image_encoder_config(hf_vision(model_type, layer=0))


@pytest.mark.parametrize("model_type", [*STAGED, "siglip2_vision_model"])
def test_there_is_no_class_token_to_select(model_type):
    with pytest.raises(RecipeError, match=f"{model_type} has no class token"):
        build_image_encoder(hf_vision(model_type, select="cls"))


def test_a_small_image_does_not_change_what_swin_sees_in_the_next():
    encoder = ours_of(whole("swin"), "swin")
    large = torch.randn(1, 3, 128, 128)
    before = encoder(large).streams[0]
    encoder(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(encoder(large).streams[0], before)
    with pytest.raises(
        RecipeError, match="32 x 64 pixels are too few for swin: a map of 2 x 4 cells is smaller than 4"
    ):
        encoder(torch.randn(1, 3, 32, 64))


def test_swins_last_norm_is_applied_where_asked():
    tower, pixels = whole("swin"), torch.randn(1, 3, 64, 64)
    normed = ours_of(tower, "swin", final_norm=True)(pixels).streams[0]
    torch.testing.assert_close(normed, tower(pixels).last_hidden_state, rtol=1e-4, atol=1e-5)
    for model_type in ("convnext", "resnet"):
        with pytest.raises(RecipeError, match="does not apply its norm to the patches"):
            build_image_encoder(hf_vision(model_type, final_norm=True))


@pytest.mark.parametrize("layer", [-1, -2, 0])
def test_siglip2_reads_native_aspect_ratios_as_the_librarys_processor_cuts_them(layer):
    tower, pixels = whole("siglip2_vision_model"), torch.randn(2, 3, 12, 29)
    features = ours_of(tower, "siglip2_vision_model", layer=layer)(pixels)
    flat = torch.stack([
        torch.as_tensor(convert_image_to_patches(image[:, :, :28].numpy(), 4)) for image in pixels
    ])  # fmt: skip
    hidden = tower(
        flat, torch.ones(2, 21), torch.tensor([[3, 7], [3, 7]]), output_hidden_states=True
    ).hidden_states  # fmt: skip
    assert features.grid == (1, 3, 7)
    torch.testing.assert_close(features.streams[0], hidden[layer], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_dinov3_gives_the_layer_without_registers(layer):
    tower, pixels = whole("dinov3_vit"), torch.randn(2, 3, 16, 28)
    hidden = tower(pixels, output_hidden_states=True).hidden_states[layer]
    patches = ours_of(tower, "dinov3_vit", layer=layer)(pixels)
    both = ours_of(tower, "dinov3_vit", layer=layer, select="cls_patch")(pixels)
    assert patches.grid == (1, 4, 7) and both.grid == (1, 1, 29)
    torch.testing.assert_close(patches.streams[0], hidden[:, 3:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.streams[0][:, :1], hidden[:, :1], rtol=1e-4, atol=1e-5)


def test_dinov3_draws_no_positions_while_it_is_fine_tuned():
    encoder, pixels = ours_of(whole("dinov3_vit"), "dinov3_vit"), torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(encoder.train()(pixels).streams[0], encoder.eval()(pixels).streams[0])


@pytest.mark.parametrize("model_type", TOWERS)
def test_a_saved_tower_is_taken_by_its_path(model_type, tmp_path):
    tower, pixels = whole(model_type), torch.randn(1, 3, 64, 64)
    tower.save_pretrained(tmp_path)
    config, encoder = HFVision.from_pretrained(tmp_path, layer=-2)
    expected = ours_of(tower, model_type, layer=-2)(pixels).streams[0]
    torch.testing.assert_close(encoder.eval()(pixels).streams[0], expected)
    assert build_image_encoder(config).state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("model_type", ["resnet", "efficientnet"])
def test_a_frozen_tower_keeps_its_running_statistics(model_type):
    encoder = build_image_encoder(hf_vision(model_type)).requires_grad_(False).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_the_image_tower_of_a_siglip2_checkpoint_is_taken_with_its_weights(tmp_path):
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 40, "projection_size": 16}  # fmt: skip
    vision = {key: value for key, value in TOWERS["siglip2_vision_model"].items() if key != "model_type"}
    both = AutoModel.from_config(Siglip2Config(text_config=text, vision_config=vision)).eval()
    randomise(both)
    both.save_pretrained(tmp_path)
    _, encoder = HFVision.from_pretrained(tmp_path, layer=-2)
    whole_tower = whole("siglip2_vision_model")
    whole_tower.load_state_dict(both.vision_model.state_dict())
    pixels = torch.randn(1, 3, 12, 20)
    expected = ours_of(whole_tower, "siglip2_vision_model", layer=-2)(pixels).streams[0]
    torch.testing.assert_close(encoder.eval()(pixels).streams[0], expected)
