"""Pixel shuffle and convolutions over blocks of tokens."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.connectors import WIDTH, built, features_of

from medmvl.errors import RecipeError
from medmvl.models.connectors.blocks import space_to_depth

blocks = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(cells=blocks, factors=blocks)
def test_a_block_holds_its_tokens_side_by_side(cells, factors):
    grid = tuple(c * f for c, f in zip(cells, factors, strict=True))
    tokens = torch.arange(math.prod(grid)).reshape(1, -1, 1)
    joined = space_to_depth(tokens, grid, factors)
    where = tokens.reshape(grid)
    assert joined.shape == (1, math.prod(cells), math.prod(factors))
    for number, (d, h, w) in enumerate(
        torch.cartesian_prod(*map(torch.arange, cells)).reshape(-1, 3).tolist()
    ):
        f_d, f_h, f_w = factors
        block = where[d * f_d : (d + 1) * f_d, h * f_h : (h + 1) * f_h, w * f_w : (w + 1) * f_w]
        assert joined[0, number].tolist() == block.flatten().tolist()


@pytest.mark.parametrize("grid", [(1, 4, 6), (2, 4, 6)])
def test_pixel_shuffle_loses_nothing(grid):
    connector = built({"type": "pixel_shuffle", "factors": [1, 2, 2], "num_layers": 1})
    linear = connector.mlp[0]
    with torch.no_grad():  # the map takes out what the third token of each block holds in its first channels
        linear.weight.zero_()
        linear.bias.zero_()
        linear.weight[:10, 2 * WIDTH : 2 * WIDTH + 10] = torch.eye(10)
    features = features_of(grid)
    lower_left = features.streams[0].reshape(2, grid[0], 2, 2, 3, 2, WIDTH)[:, :, :, 1, :, 0, :10]
    torch.testing.assert_close(connector(features), lower_left.reshape(2, -1, 10))


@pytest.mark.parametrize(("grid", "factors"), [((1, 4, 6), [1, 2, 3]), ((4, 2, 6), [2, 2, 3])])
def test_convolutional_pooling_maps_each_block_by_one_matrix(grid, factors):
    connector = built({"type": "conv_pooling", "factors": factors, "expansion": 2})
    features = features_of(grid)
    side_by_side = space_to_depth(features.streams[0], grid, tuple(factors))
    kernel = connector.conv.weight.permute(0, 2, 3, 4, 1).flatten(1)
    hidden = torch.nn.functional.silu(side_by_side @ kernel.T + connector.conv.bias)
    torch.testing.assert_close(connector(features), connector.mlp(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["pixel_shuffle", "conv_pooling"])
@pytest.mark.parametrize(
    ("grid", "factors", "reason"),
    [
        ((1, 1, 17), [1, 2, 2], "with its class token; select: patch"),
        ((1, 4, 4), [2, 2, 2], "Images have depth 1"),
        ((4, 5, 4), [1, 2, 2], r"do not divide the grid \(4, 5, 4\)"),
    ],
)
def test_what_cannot_be_divided_is_refused_with_the_reason(part, grid, factors, reason):
    connector = built({"type": part, "factors": factors})
    for attempt in (connector.check, connector.num_tokens):
        with pytest.raises(RecipeError, match=reason):
            attempt(grid)


def test_pooling_takes_the_mean_of_the_tokens_that_are_there():
    connector = built({"type": "spatial_pooling", "factors": [1, 1, 3], "num_layers": 1})
    mask = torch.tensor([[True, False, True]])
    features = features_of((1, 1, 3), batch=1, mask=mask)
    mean = features.streams[0][:, [0, 2]].mean(dim=1, keepdim=True)
    torch.testing.assert_close(connector(features), connector.mlp(mean))
