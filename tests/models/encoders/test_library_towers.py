"""timm and open_clip: without them the error names the extra; with them the maps are the library's own.

The second half runs only where the libraries are installed, which the constraints of this project leave to the user.
"""

from __future__ import annotations

import sys

import pytest
import torch
from tests.factories.models import LLMS
from tests.factories.parts import randomise

from medmvl.errors import RecipeError
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.encoders import build_image_encoder, parse_image_encoder_config
from medmvl.models.modeling import MedMVLForConditionalGeneration

OPEN_CLIP = {
    "type": "open_clip",
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8},
    "embed_dim": 16,
}
TIMM_CLIP = {
    "type": "open_clip", "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"},
}  # fmt: skip
TIMM = {
    "test_vit": {"img_size": 32},
    "test_convnext": {},
    "test_byobnet": {},
    "swin_tiny_patch4_window7_224": {"img_size": 32, "window_size": 2, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]},
}  # fmt: skip


@pytest.mark.parametrize(("library", "extra"), [("timm", "timm"), ("open_clip.model", "open-clip")])
def test_without_the_library_the_error_names_the_extra(library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    config = {"type": "timm", "name": "resnet18"} if library == "timm" else OPEN_CLIP
    with pytest.raises(RecipeError, match=rf"needs {library}: pip install -e '\.\[{extra}\]' in the clone"):
        parse_image_encoder_config(config)


def timm_encoder(name, **settings):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    encoder = build_image_encoder({"type": "timm", "name": name, "options": TIMM[name], **settings})
    randomise(encoder)
    return encoder.eval()


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("name", TIMM)
def test_the_map_is_timms_own_and_every_weight_is_trained(name, layer):
    encoder, pixels = timm_encoder(name, layer=layer), torch.randn(2, 3, 32, 32)
    import timm

    whole = timm.create_model(name, num_classes=0, **TIMM[name]).eval()
    randomise(whole)
    encoder.load_weights(whole)
    expected = whole.forward_intermediates(pixels, intermediates_only=True, norm=False)[layer]
    features = encoder(pixels)
    assert features.grid == encoder.part_config.grid((32, 32)) == (1, *expected.shape[2:])
    assert encoder.widths == (expected.shape[1],)
    torch.testing.assert_close(features.streams[0], expected.flatten(2).mT, rtol=1e-4, atol=1e-5)
    features.streams[0].square().sum().backward()
    assert [
        key for key, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()
    ] == []


ALL = {name: {"type": "timm", "name": name, "options": options} for name, options in TIMM.items()}
ALL |= {"open_clip own": OPEN_CLIP, "open_clip timm": TIMM_CLIP}


@pytest.mark.parametrize("config", ALL.values(), ids=ALL)
def test_a_saved_model_gives_equal_features(config, tmp_path):
    pytest.importorskip("timm" if config["type"] == "timm" else "open_clip")
    model = MedMVLForConditionalGeneration(MedMVLConfig(
        llm={**LLMS["qwen2"], "vocab_size": 32}, image_token_id=1, volume_token_id=2, image_encoder=config,
        image_connector={"type": "linear"}, image_size=[32, 32],
    )).eval()  # fmt: skip
    randomise(model)
    model.save_pretrained(tmp_path)
    loaded = MedMVLForConditionalGeneration.from_pretrained(tmp_path).eval()
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(
        loaded.encode_images(pixels), model.encode_images(pixels), rtol=1e-5, atol=1e-6
    )


def test_a_timm_checkpoint_is_taken_by_its_path(tmp_path):
    timm = pytest.importorskip("timm")
    from medmvl.models.encoders.timm_vision import TimmVision

    whole = timm.create_model("test_vit", num_classes=5, img_size=32).eval()
    randomise(whole)
    timm.models.save_for_hf(whole, str(tmp_path), model_args={"img_size": 32}, safe_serialization=True)
    settings = {"type": "timm", "path": f"local-dir:{tmp_path}", "layer": 1}
    config = TimmVision.pretrained_settings(settings)
    assert config["name"] == "test_vit" and config["options"]["img_size"] == [32, 32] and "path" not in config
    encoder = build_image_encoder(config).eval()
    encoder.load_pretrained(settings["path"])
    pixels = torch.randn(1, 3, 32, 32)
    expected = whole.forward_intermediates(pixels, indices=[1], intermediates_only=True)[0]
    torch.testing.assert_close(encoder(pixels).streams[0], expected.flatten(2).mT, rtol=1e-4, atol=1e-5)
    with pytest.raises(RecipeError, match="no checkpoint at 'local-dir:"):
        TimmVision.pretrained_settings({"path": f"local-dir:{tmp_path / 'none'}"})


@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize("config", [OPEN_CLIP, TIMM_CLIP], ids=["own", "timm"])
def test_the_map_is_open_clips_own_and_every_weight_is_trained(config, layer):
    model = pytest.importorskip("open_clip.model")
    encoder = build_image_encoder({**config, "layer": layer}).eval()
    whole = model._build_vision_tower(16, model.CLIPVisionCfg(**config["vision_cfg"])).eval()
    randomise(whole)
    encoder.load_weights(whole)
    pixels = torch.randn(2, 3, 32, 32)
    expected = whole.forward_intermediates(pixels, intermediates_only=True)["image_intermediates"][layer]
    features = encoder(pixels)
    assert features.grid == encoder.part_config.grid((32, 32)) == (1, *expected.shape[2:])
    torch.testing.assert_close(features.streams[0], expected.flatten(2).mT, rtol=1e-4, atol=1e-5)
    features.streams[0].square().sum().backward()
    assert [
        key for key, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()
    ] == []


def test_wrong_settings_are_refused_with_the_reason():
    pytest.importorskip("timm")
    for config, message in (
        ({"name": "no_such_tower"}, "'no_such_tower' cannot be built"),
        ({"name": "test_vit", "layer": 99}, "layer 99 does not exist"),
        ({"name": "test_vit", "options": {"nonsense": 1}}, "cannot be built"),
    ):
        with pytest.raises(RecipeError, match=message):
            parse_image_encoder_config({"type": "timm", **config})
    with pytest.raises(RecipeError, match="40 x 40 pixels cannot be read"):
        parse_image_encoder_config({"type": "timm", "name": "test_vit", "options": TIMM["test_vit"]}).grid(
            (40, 40)
        )
