"""The MLP-Mixer: streams of different grids, Med3DVLM's sizes."""

from __future__ import annotations

import pytest
import torch
from tests.factories.connectors import OUTPUT, built
from tests.factories.parts import weights_without_gradient

from medmvl.errors import RecipeError
from medmvl.models.connectors import build_connector, check_connector, parse_connector_config
from medmvl.models.features import VisualFeatures

TWO = {"type": "mlp_mixer", "grids": [[2, 4, 4], [1, 2, 2]], "tokens": [[6, 5], [3, 2]]}
GRIDS = ((2, 4, 4), (1, 2, 2))


def streams():
    return VisualFeatures((torch.randn(2, 32, 12), torch.randn(2, 4, 16)), GRIDS[0], grids=GRIDS)


def test_layers_mix_tokens_then_channels_and_streams_follow_one_another():
    connector, features = built(TWO, (12, 16)), streams()
    mixed = []
    for stream, layers in zip(features.streams, connector.mixers, strict=True):
        for layer in layers:
            tokens = layer.tokens(layer.token_norm(stream).mT).mT
            stream = layer.channels(layer.channel_norm(tokens))
        mixed.append(stream)
    assert [stream.shape[1] for stream in mixed] == [5, 2]
    torch.testing.assert_close(connector(features), torch.cat(mixed, dim=1))
    assert connector.num_tokens(GRIDS[0]) == 7


def test_every_weight_of_both_streams_is_trained():
    connector = built(TWO, (12, 16)).train()
    connector(streams()).square().sum().backward()
    assert weights_without_gradient(connector) == []


def test_the_defaults_are_med3dvlms():
    config = parse_connector_config({"type": "mlp_mixer"})
    check_connector(config, (384, 768), ((4, 8, 8), (2, 4, 4)))
    assert config.num_tokens((4, 8, 8)) == 256
    with torch.device("meta"):
        connector = build_connector({"type": "mlp_mixer"}, (384, 768), 3584)
    shapes = {name: tuple(weight.shape) for name, weight in connector.named_parameters()}
    assert shapes["mixers.0.0.tokens.0.weight"] == (192, 256)
    assert shapes["mixers.0.0.channels.0.weight"] == (1792, 384)
    assert shapes["mixers.0.1.channels.2.weight"] == (3584, 3584)
    assert shapes["mixers.1.0.tokens.0.weight"] == (64, 32)
    assert shapes["mixers.1.1.tokens.0.weight"] == (128, 64)


@pytest.mark.parametrize(
    ("widths", "grids", "reason"),
    [
        ((12,), (GRIDS[0],), r"for 2 stream\(s\) of features, the encoder gives 1"),
        ((12, 16), ((2, 4, 4), (2, 2, 2)), r"set grids to \[\[2, 4, 4\], \[2, 2, 2\]\]"),
    ],
)
def test_another_encoder_is_refused_with_the_reason(widths, grids, reason):
    with pytest.raises(RecipeError, match=reason):
        check_connector(parse_connector_config(TWO), widths, grids)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"tokens": [[6, 5]]}, "one entry per stream"), ({"tokens": [[6, 5], [3]]}, "as many mixing layers")],
)
def test_settings_that_do_not_fit_together_are_refused(change, reason):
    with pytest.raises(RecipeError, match=reason):
        build_connector({**TWO, **change}, (12, 16), OUTPUT)
