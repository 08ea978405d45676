"""Connectors: the promised number of tokens, and the mathematics of each."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.parts import CONNECTORS, randomise, weights_without_gradient

from medmvl.errors import RecipeError
from medmvl.models.connectors import build_connector, parse_connector_config, validate_connector_config
from medmvl.models.connectors.attention_pooling import grid_positions
from medmvl.models.features import VisualFeatures

WIDTH, OUTPUT = 12, 10
grids = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))


def features_of(grid, batch=2, mask=None):
    return VisualFeatures((torch.randn(batch, math.prod(grid), WIDTH),), grid, mask)


def built(config):
    torch.manual_seed(0)
    connector = build_connector(config, (WIDTH,), OUTPUT)
    randomise(connector)
    return connector


@pytest.mark.parametrize("config", CONNECTORS.values(), ids=CONNECTORS)
@settings(max_examples=25, deadline=None)
@given(grid=grids)
def test_tokens_are_as_many_as_promised(config, grid):
    connector = built(config)
    assert connector(features_of(grid)).shape == (2, connector.num_tokens(grid), OUTPUT)
    assert connector.num_tokens(grid) == parse_connector_config(config).num_tokens(grid)


@pytest.mark.parametrize("grid", [(1, 4, 6), (2, 4, 6)], ids=["image", "volume"])
@pytest.mark.parametrize("config", CONNECTORS.values(), ids=CONNECTORS)
def test_every_weight_is_trained(config, grid):
    connector = built(config)
    connector(features_of(grid)).square().sum().backward()
    assert weights_without_gradient(connector) == []


@pytest.mark.parametrize("config", CONNECTORS.values(), ids=CONNECTORS)
def test_samples_do_not_touch_each_other(config):
    connector, features = built(config), features_of((2, 4, 4), batch=3)
    together = connector(features)
    for index in range(3):
        alone = connector(VisualFeatures((features.streams[0][index : index + 1],), features.grid))
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)


def test_an_mlp_of_one_layer_is_linear_and_of_two_is_llavas():
    features = features_of((1, 2, 3))
    one, two = built({"type": "mlp", "num_layers": 1}), built({"type": "mlp"})
    first, second = two.mlp[0], two.mlp[2]
    torch.testing.assert_close(one(features), features.streams[0] @ one.mlp[0].weight.T + one.mlp[0].bias)
    hidden = torch.nn.functional.gelu(first(features.streams[0]))
    torch.testing.assert_close(two(features), second(hidden))


@settings(max_examples=25, deadline=None)
@given(
    cells=st.tuples(st.integers(2, 3), st.integers(1, 3), st.integers(1, 3)),
    factors=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)
def test_pooling_is_the_mean_of_each_block(cells, factors):
    grid = tuple(c * f for c, f in zip(cells, factors, strict=True))
    connector = built({"type": "spatial_pooling", "factors": factors, "num_layers": 1})
    features = features_of(grid, batch=1)
    (d, h, w), (fd, fh, fw) = cells, factors
    means = features.streams[0].reshape(d, fd, h, fh, w, fw, WIDTH).mean(dim=(1, 3, 5)).reshape(1, -1, WIDTH)
    torch.testing.assert_close(connector(features), connector.mlp(means), rtol=1e-4, atol=1e-5)


def test_what_is_left_at_a_border_is_averaged_over_what_is_there():
    connector = built(
        {"type": "spatial_pooling", "factors": [1, 1, 2], "num_layers": 1, "remainder": "average"}
    )
    features = features_of((1, 1, 3), batch=1)
    tokens = features.streams[0][0]
    expected = connector.mlp(torch.stack([tokens[:2].mean(dim=0), tokens[2]]))
    torch.testing.assert_close(connector(features)[0], expected)


def test_what_is_left_at_a_border_can_be_dropped_as_pytorch_does():
    connector = built({"type": "spatial_pooling", "factors": [2, 2, 2], "num_layers": 1, "remainder": "drop"})
    features = features_of((5, 4, 3), batch=1)
    volume = features.streams[0].mT.reshape(1, WIDTH, 5, 4, 3)
    means = torch.nn.functional.avg_pool3d(volume, 2, 2).flatten(2).mT
    assert connector.num_tokens((5, 4, 3)) == 4
    torch.testing.assert_close(connector(features), connector.mlp(means))
    with pytest.raises(RecipeError, match="do not divide"):
        connector.check((5, 4, 1))


def test_images_are_pooled_in_their_plane_only():
    connector = built({"type": "spatial_pooling", "factors": [2, 2, 2]})
    assert connector.num_tokens((1, 4, 6)) == 6
    assert connector.num_tokens((8, 16, 16)) == 256  # M3D-LaMed


@pytest.mark.parametrize("grid", [(1, 3, 4), (3, 4, 4), (1, 1, 17)])
def test_a_grid_that_the_factors_do_not_divide_is_refused_before_and_when_it_comes(grid):
    connector = built({"type": "spatial_pooling", "factors": [2, 2, 2]})
    for attempt in (connector.check, connector.num_tokens, connector.part_config.num_tokens):
        with pytest.raises(RecipeError, match=r"do not divide the grid .*set remainder"):
            attempt(grid)
    with pytest.raises(RecipeError, match="do not divide"):
        connector(features_of(grid))


@pytest.mark.parametrize("norm", [False, True])
def test_without_positions_attention_sees_a_set_and_with_them_an_arrangement(norm):
    config = {**CONNECTORS["attention_pooling"], "norm": norm}
    features = features_of((2, 3, 4))
    shuffled = VisualFeatures((features.streams[0][:, torch.randperm(24)],), features.grid)
    plain = built({**config, "position_embedding": False})
    placed = built(config)
    torch.testing.assert_close(plain(features), plain(shuffled), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(placed(features), placed(shuffled), rtol=1e-3, atol=1e-3)


def test_attention_is_softmax_of_scaled_products_per_head():
    connector = built({"type": "attention_pooling", "num_queries": 3, "num_heads": 2, "num_layers": 1})
    tokens = torch.randn(1, 8, WIDTH)
    to_q, to_k, to_v = connector.attention.in_proj_weight.chunk(3)
    b_q, b_k, b_v = connector.attention.in_proj_bias.chunk(3)
    query, key, value = connector.query @ to_q.T + b_q, tokens[0] @ to_k.T + b_k, tokens[0] @ to_v.T + b_v
    heads = [
        torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(WIDTH // 2), dim=-1) @ value[:, part]
        for part in (slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH))
    ]
    expected = connector.mlp(connector.attention.out_proj(torch.cat(heads, dim=-1)))
    torch.testing.assert_close(
        connector(VisualFeatures((tokens,), (2, 2, 2)))[0], expected, rtol=1e-4, atol=1e-5
    )


def test_attention_ignores_masked_tokens():
    connector = built(CONNECTORS["attention_pooling"])
    mask = torch.ones(1, 24, dtype=torch.bool)
    mask[0, 20:] = False
    features = features_of((2, 3, 4), batch=1, mask=mask)
    changed = features.streams[0].clone()
    changed[:, 20:] = torch.randn(1, 4, WIDTH)
    torch.testing.assert_close(
        connector(features), connector(VisualFeatures((changed,), features.grid, mask))
    )


@settings(max_examples=20, deadline=None)
@given(grid=grids, width=st.integers(6, 20))
def test_every_cell_has_its_own_code(grid, width):
    codes = grid_positions(grid, torch.zeros(1, 1, width))
    assert codes.shape == (math.prod(grid), width)
    assert len({tuple(code.tolist()) for code in codes}) == math.prod(grid)


@pytest.mark.parametrize("config", CONNECTORS.values(), ids=CONNECTORS)
def test_normalised_settings_are_complete_and_stable(config):
    normalised = validate_connector_config(config)
    assert validate_connector_config(normalised) == normalised
    assert build_connector(normalised, (WIDTH,), OUTPUT).part_config.to_dict() == normalised


@pytest.mark.parametrize(
    ("config", "widths", "message"),
    [
        ({"type": "mpl"}, (WIDTH,), "connector: unknown type 'mpl'; did you mean 'mlp'.*Known: linear, mlp"),
        ({"type": "mlp", "layers": 2}, (WIDTH,), "unknown key 'layers'.*num_layers"),
        ({"type": "mlp", "num_layers": 0}, (WIDTH,), "num_layers: Input should be greater than 0"),
        ({"type": "attention_pooling", "num_heads": 7}, (WIDTH,), "12 is not a multiple of num_heads 7"),
        ({"type": "linear"}, (WIDTH, 2 * WIDTH), "reads 1 stream.* the encoder gives 2"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(config, widths, message):
    with pytest.raises(RecipeError, match=message):
        build_connector(config, widths, OUTPUT)
