"""The soft mixture of experts."""

from __future__ import annotations

import pytest
import torch
from tests.factories.connectors import CONNECTORS, VOLUME_GRID, WIDTH, built, features_of


@pytest.mark.parametrize("router", ["sigmoid", "softmax"])
def test_tokens_are_the_experts_weighted_by_the_router(router):
    connector = built({**CONNECTORS["moe"], "router": router})
    features = features_of(VOLUME_GRID)
    scores = connector.router(features.streams[0])
    weights = scores.sigmoid() if router == "sigmoid" else scores.exp()
    weights = weights / weights.sum(-1, keepdim=True)
    expected = sum(
        weights[..., index, None] * expert(features.streams[0])
        for index, expert in enumerate(connector.experts)
    )
    torch.testing.assert_close(connector(features), expected, rtol=1e-4, atol=1e-5)


def test_a_router_that_prefers_one_expert_gives_that_experts_answer():
    connector = built({**CONNECTORS["moe"], "router": "softmax"})
    with torch.no_grad():
        connector.router[2].weight.zero_()
        connector.router[2].bias.copy_(torch.tensor([-50.0, 50.0, -50.0]))
    features = features_of(VOLUME_GRID)
    torch.testing.assert_close(connector(features), connector.experts[1](features.streams[0]))


def test_four_neighbours_are_joined_as_uni_med_does():
    connector = built(CONNECTORS["moe of joined tokens"])
    features = features_of(VOLUME_GRID)
    assert connector.experts[0][0].in_features == connector.router[0].in_features == 4 * WIDTH
    joined = features.streams[0].reshape(2, 8, 4 * WIDTH)
    weights = connector.weights(joined)
    expected = sum(weights[..., i, None] * expert(joined) for i, expert in enumerate(connector.experts))
    torch.testing.assert_close(connector(features), expected, rtol=1e-4, atol=1e-5)
