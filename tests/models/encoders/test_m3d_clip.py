"""M3D-CLIP: MONAI's own transformer, with whose parts it was published, is the reference."""

from __future__ import annotations

import pytest
import torch
from tests.factories.encoders import M3D_CLIP
from tests.factories.parts import randomise

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_volume_encoder
from medmvl.models.encoders.vit3d import m3d_clip_settings, m3d_clip_weights


@pytest.fixture(scope="module")
def origin():
    pytest.importorskip("einops")
    vit = pytest.importorskip("monai.networks.nets").ViT(
        M3D_CLIP["in_channels"], M3D_CLIP["img_size"], M3D_CLIP["patch_size"], M3D_CLIP["hidden_size"],
        M3D_CLIP["mlp_dim"], M3D_CLIP["num_layers"], M3D_CLIP["num_heads"], proj_type="perceptron",
        classification=True, num_classes=3,
    )  # fmt: skip
    randomise(vit)
    return vit.eval()


def checkpoint(vit, prefix):
    """As M3D-CLIP is saved: the tower under a prefix, beside a text tower."""
    return {f"{prefix}{name}": tensor for name, tensor in vit.state_dict().items()} | {
        "language_encoder.embeddings.word_embeddings.weight": torch.zeros(3, 4),
        "logit_scale": torch.tensor(1.0),
    }


def imported(vit, prefix="vision_encoder.", **choice):
    encoder = build_volume_encoder(m3d_clip_settings(M3D_CLIP, **choice))
    encoder.load_state_dict(m3d_clip_weights(checkpoint(vit, prefix), encoder.part_config))
    return encoder.eval()


@pytest.mark.parametrize("prefix", ["", "vision_encoder.", "encoder_image3d.encoder.vision_encoder."])
@pytest.mark.parametrize("layer", [-1, -2, 0, 1])
def test_the_layer_is_monais_own(origin, layer, prefix):
    pixels = torch.randn(2, 2, 8, 32, 16)
    _, hidden = origin(pixels)
    features = imported(origin, prefix, layer=layer)(pixels)
    assert features.grid == (4, 4, 4)
    torch.testing.assert_close(features.streams[0], hidden[layer][:, 1:], rtol=1e-4, atol=1e-5)


def test_the_class_token_and_the_norm_are_monais_own(origin):
    pixels = torch.randn(1, 2, 8, 32, 16)
    hidden = origin(pixels)[1][-1]
    both = imported(origin, select="cls_patch")(pixels, torch.zeros(1, 8))
    assert both.grid == (1, 1, 65) and both.positions_mm is None
    torch.testing.assert_close(both.streams[0], hidden, rtol=1e-4, atol=1e-5)
    normed = imported(origin, final_norm=True)(pixels).streams[0]
    torch.testing.assert_close(normed, origin.norm(hidden)[:, 1:], rtol=1e-4, atol=1e-5)


def test_the_defaults_are_those_published():
    settings = build_volume_encoder({**m3d_clip_settings({}), "num_layers": 0}).part_config
    assert (settings.size, settings.patch_size) == ((32, 256, 256), (4, 16, 16))
    assert settings.grid(settings.size) == (8, 16, 16) and settings.widths == (768,)
    assert m3d_clip_settings({})["num_layers"] == 12


def test_missing_tensors_are_listed(origin):
    weights = checkpoint(origin, "vision_encoder.")
    del weights["vision_encoder.blocks.1.attn.qkv.weight"]
    config = build_volume_encoder(m3d_clip_settings(M3D_CLIP)).part_config
    with pytest.raises(RecipeError, match=r"missing 1 tensors: blocks\.1\.attn\.qkv\.weight"):
        m3d_clip_weights(weights, config)
    with pytest.raises(RecipeError, match="expected, found none"):
        m3d_clip_weights({"logit_scale": torch.tensor(1.0)}, config)
    with pytest.raises(RecipeError, match="layer 3 does not exist; the checkpoint has 3 layers"):
        m3d_clip_settings(M3D_CLIP, layer=3)
