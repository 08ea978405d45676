"""2D-enhanced 3D: both streams are those of their encoders, and the question decides which slices count."""

from __future__ import annotations

import pytest
import torch
from tests.factories.parts import hf_vision, randomise, slices, vit2d, vit3d
from torch import nn

from medmvl.errors import RecipeError
from medmvl.models.connectors import build_connector, check_connector, parse_connector_config
from medmvl.models.encoders import (
    build_image_encoder,
    build_volume_encoder,
    parse_volume_encoder_config,
    validate_volume_encoder_config,
)
from medmvl.models.features import VisualFeatures

BOTH = {"type": "volume_and_slices", "volume": vit3d(), "slices": slices(encoder=hf_vision())}
CONNECTOR = {"type": "text_guided_slices", "factors": [2, 2, 2], "slice_tokens": [2, 1]}


def test_each_stream_is_that_of_its_encoder_alone():
    encoder, volume = build_volume_encoder(BOTH).eval(), torch.randn(2, 1, 8, 16, 16)
    mm = torch.arange(8.0).repeat(2, 1)
    features = encoder(volume, mm)
    assert features.grids == encoder.part_config.grids((8, 16, 16)) == ((4, 4, 4), (8, 4, 4))
    assert encoder.widths == (24, 16) and encoder.part_config.channels == 1
    torch.testing.assert_close(features.streams[0], encoder.volume(volume, mm).streams[0])
    torch.testing.assert_close(features.streams[1], encoder.slices(volume, mm).streams[0])
    assert features.positions_mm.tolist() == [[0.5, 2.5, 4.5, 6.5]] * 2


def test_a_shared_image_encoder_is_the_models_own():
    image = build_image_encoder(vit2d())
    encoder = build_volume_encoder({"type": "volume_and_slices", "volume": vit3d()}, image)
    assert all(name.startswith("volume.") for name in encoder.state_dict())
    assert {id(w) for w in image.parameters()} < {id(w) for w in encoder.weights()}
    encoder.volume.requires_grad_(False)
    encoder(torch.randn(1, 1, 8, 16, 16)).streams[1].sum().backward()
    assert image.vit.position_embedding.grad is not None
    with pytest.raises(RecipeError, match="no image encoder"):
        parse_volume_encoder_config({"type": "volume_and_slices", "volume": vit3d()})


def test_settings_are_complete_stable_and_refused_with_the_reason():
    normalised = validate_volume_encoder_config(BOTH)
    assert validate_volume_encoder_config(normalised) == normalised
    assert normalised["volume"]["patch_size"] == [2, 4, 4] and normalised["slices"]["chunk_slices"] == 16
    with pytest.raises(RecipeError, match="dcformer gives 2 streams; each encoder must give one"):
        parse_volume_encoder_config({**BOTH, "volume": {"type": "dcformer"}})
    with pytest.raises(RecipeError, match="unknown type 'vit3'"):
        parse_volume_encoder_config({**BOTH, "volume": {"type": "vit3"}})


def connected(**changes):
    connector = build_connector({**CONNECTOR, **changes}, (6, 4), 10)
    randomise(connector)
    features = VisualFeatures(
        (torch.randn(2, 8, 6), torch.randn(2, 12, 4)), (2, 2, 2), grids=((2, 2, 2), (3, 2, 2))
    )
    return connector, features, torch.randn(2, 5, 10)


def test_slices_are_weighted_as_written_out():
    connector, features, text = connected()
    tokens = connector(features, text)
    assert tokens.shape == (2, 3, 10) and connector.num_tokens((2, 2, 2)) == 3
    for patient in range(2):
        volume = connector.volume.mlp(features.streams[0][patient].mean(dim=0))
        torch.testing.assert_close(tokens[patient, 0], volume, rtol=1e-4, atol=1e-5)
        rows = (
            features.streams[1][patient].reshape(3, 2, 2, 4).mean(dim=2)
        )  # the columns of a slice are averaged
        rows = connector.slice_mlp(rows)
        question = connector.question.weight @ text[patient].mean(dim=0)
        scores = torch.stack([rows[index].mean(dim=0) @ question / 5 for index in range(3)])
        weights = scores.exp() / scores.exp().sum()
        expected = sum(weight * row for weight, row in zip(weights, rows, strict=True))
        torch.testing.assert_close(tokens[patient, 1:], expected, rtol=1e-4, atol=1e-5)


def test_the_question_decides_which_slice_counts():
    connector, features, text = connected(temperature=1e-3)
    nn.init.eye_(connector.question.weight)
    unlike = torch.eye(3, 10)[None, :, None].expand(
        2, 3, 2, 10
    )  # slices of equal length, at right angles to each other
    assert unlike.shape == connector.slices(features).shape
    for index in range(3):
        weights = connector.slice_weights(unlike, 100 * unlike[:, index])
        assert weights.argmax(dim=1).tolist() == [index] * 2
    first, second = connector(features, text), connector(features, -text)
    torch.testing.assert_close(first[:, 0], second[:, 0])
    assert not torch.allclose(first[:, 1:], second[:, 1:])


def test_every_weight_of_the_connector_is_trained():
    connector, features, text = connected(temperature=1.0)
    connector(features, text).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in connector.parameters())


def test_what_does_not_fit_is_refused_before_anything_is_built():
    config = parse_connector_config(CONNECTOR)
    check_connector(config, (6, 4), ((2, 2, 2), (3, 2, 2)))
    with pytest.raises(RecipeError, match=r"reads 2 stream\(s\) of features, the encoder gives 1"):
        check_connector(config, (6,), ((2, 2, 2),))
    with pytest.raises(RecipeError, match="do not divide"):
        check_connector(config, (6, 4), ((3, 2, 2), (3, 2, 2)))
