"""Perceiver and Q-Former: learned queries in layers."""

from __future__ import annotations

import math

import pytest
import torch
from tests.factories.connectors import CONNECTORS, VOLUME_GRID, WIDTH, built, features_of
from torch.nn import functional
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from medmvl.errors import RecipeError
from medmvl.models.connectors import parse_connector_config
from medmvl.models.features import VisualFeatures


def attend(query, key, value, heads):
    """Softmax of scaled products, head by head, written out."""
    parts = zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True)
    return torch.cat(
        [torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1) @ v for q, k, v in parts], dim=-1
    )


def test_a_perceiver_is_flamingos():
    connector = built({**CONNECTORS["perceiver"], "position_embedding": False})
    features = features_of(VOLUME_GRID)
    latents = connector.latents.expand(2, -1, -1)
    for layer in connector.layers:
        tokens, normed = layer.token_norm(features.streams[0]), layer.latent_norm(latents)
        key, value = layer.key_value(torch.cat([tokens, normed], dim=1)).chunk(2, dim=-1)
        latents = latents + layer.out(attend(layer.query(normed), key, value, heads=2))
        norm, up, _, down = layer.feed_forward
        latents = latents + down(functional.gelu(up(norm(latents))))
    expected = connector.linear(connector.norm(latents))
    torch.testing.assert_close(connector(features), expected, rtol=1e-4, atol=1e-5)


def test_a_perceiver_tells_places_apart_only_by_positions():
    features = features_of(VOLUME_GRID)
    shuffled = VisualFeatures((features.streams[0][:, torch.randperm(32)],), VOLUME_GRID)
    placed = built(CONNECTORS["perceiver"])
    plain = built({**CONNECTORS["perceiver"], "position_embedding": False})
    torch.testing.assert_close(plain(features), plain(shuffled), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(placed(features), placed(shuffled), rtol=1e-3, atol=1e-3)


def test_a_q_former_is_blip_2s():
    connector = built(CONNECTORS["q_former"])
    sizes = {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    theirs = Blip2QFormerModel(Blip2QFormerConfig(**sizes, encoder_hidden_size=WIDTH)).eval()
    theirs.load_state_dict(connector.q_former.state_dict())
    features = features_of(VOLUME_GRID)
    read = theirs(connector.query.expand(2, -1, -1), encoder_hidden_states=features.streams[0])
    torch.testing.assert_close(connector(features), connector.linear(read.last_hidden_state))


def test_heads_must_divide_the_width_of_a_q_former():
    with pytest.raises(RecipeError, match="width 8 is not a multiple of num_heads 3"):
        parse_connector_config({**CONNECTORS["q_former"], "num_heads": 3})
