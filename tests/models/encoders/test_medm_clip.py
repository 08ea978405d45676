"""MedM-CLIP: its forward pass, written out once more with PyTorch's own layers, is the reference."""

from __future__ import annotations

import pytest
import torch
from tests.factories.encoders import MEDM_CLIP
from tests.factories.parts import randomise
from torch import nn

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_volume_encoder
from medmvl.models.encoders.medm_clip import medm_clip_settings, medm_clip_weights


class Published(nn.Module):
    """The published module tree: names, shapes, and what it computes."""

    def __init__(self):
        super().__init__()
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.LayerNorm(128), nn.Linear(128, 24), nn.LayerNorm(24)
        )
        self.pos_embedding = nn.Parameter(torch.zeros(1, 65, 24))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 24))
        self.transformer_layers = nn.ModuleList(
            nn.TransformerEncoderLayer(24, 2, 40, dropout=0.0, batch_first=True) for _ in range(3)
        )
        self.mlp_head = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24))

    def forward(self, volume):
        patches = []
        for d in range(0, 8, 2):
            for h in range(0, 32, 8):
                for w in range(0, 32, 8):
                    block = volume[:, :, d : d + 2, h : h + 8, w : w + 8]
                    patches.append(torch.einsum("bcdhw->bhwdc", block).flatten(1))  # p1 p2 pf c
        tokens = self.to_patch_embedding(torch.stack(patches, dim=1))
        tokens = torch.cat([self.cls_token.expand(len(tokens), 1, 24), tokens], dim=1) + self.pos_embedding
        hidden = []
        for layer in self.transformer_layers:
            tokens = layer(tokens)
            hidden.append(tokens)
        return hidden


@pytest.fixture(scope="module")
def origin():
    published = Published()
    randomise(published)
    return published.eval()


def imported(origin, **choice):
    weights = {f"vision_encoder.{name}": tensor for name, tensor in origin.state_dict().items()}
    encoder = build_volume_encoder(medm_clip_settings(MEDM_CLIP, **choice))
    encoder.load_state_dict(
        medm_clip_weights({**weights, "logit_scale": torch.ones(())}, encoder.part_config)
    )
    return encoder.eval()


@pytest.mark.parametrize("layer", [-1, -3, 1])
def test_the_layer_is_the_published_one(origin, layer):
    volume = torch.randn(2, 1, 8, 32, 32)
    features = imported(origin, layer=layer)(volume)
    assert features.grid == (4, 4, 4)
    torch.testing.assert_close(features.streams[0], origin(volume)[layer][:, 1:], rtol=1e-4, atol=1e-5)


def test_the_class_token_comes_first(origin):
    volume = torch.randn(1, 1, 8, 32, 32)
    features = imported(origin, select="cls_patch")(volume)
    assert features.grid == (1, 1, 65)
    torch.testing.assert_close(features.streams[0], origin(volume)[-1], rtol=1e-4, atol=1e-5)


def test_the_class_token_keeps_its_position_at_other_sizes(origin):
    encoder = imported(origin)
    positions = encoder.positions((2, 4, 8))
    assert positions.shape == (1, 65, 24)
    torch.testing.assert_close(positions[:, 0], encoder.position_embedding[:, 0])
    assert encoder(torch.randn(1, 1, 4, 32, 64)).grid == (2, 4, 8)


def test_wrong_settings_are_refused_with_the_reason():
    settings = medm_clip_settings(MEDM_CLIP)
    with pytest.raises(RecipeError, match="width 25 is not a multiple of num_heads 2"):
        build_volume_encoder({**settings, "width": 25})
    with pytest.raises(RecipeError, match="8 x 32 x 31 is not a multiple of the patch size"):
        build_volume_encoder({**settings, "size": [8, 32, 31]})
