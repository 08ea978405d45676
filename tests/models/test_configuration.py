"""Configurations are plain data with their defaults filled in; what does not fit together is refused by name."""

import pytest
from tests.factories.models import LLMS
from tests.factories.parts import hf_vision, vit2d, vit3d
from transformers import AutoConfig, Qwen2Config

from medmvl.errors import RecipeError
from medmvl.models.configuration import MedMVLConfig

MLP = {"type": "mlp"}


def test_defaults_are_filled_in_and_survive_a_file(tmp_path):
    config = MedMVLConfig(
        llm=dict(LLMS["qwen2"]), image_encoder=hf_vision(), image_connector=MLP, volume_encoder=vit3d(),
        volume_connector=MLP, image_token_id=7, volume_token_id=8, image_size=(16, 16), volume_size=[8, 16, 16],
    )  # fmt: skip
    assert config.image_connector is not None
    assert set(config.image_connector) > {"type"}
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, MedMVLConfig)
    for part in ("image_encoder", "image_connector", "volume_encoder", "volume_connector"):
        assert getattr(loaded, part) == getattr(config, part)
    assert (loaded.image_token_id, loaded.volume_token_id) == (7, 8)
    assert list(loaded.volume_size) == [8, 16, 16]
    assert isinstance(loaded.llm, Qwen2Config)
    assert loaded.get_text_config() is loaded.llm
    assert loaded.llm.hidden_size == 24


def test_shared_is_short_for_slices_through_the_image_encoder():
    config = MedMVLConfig(
        llm=dict(LLMS["llama"]), image_encoder=vit2d(), image_connector=MLP, volume_encoder="shared",
        volume_connector=MLP,
    )  # fmt: skip
    assert isinstance(config.volume_encoder, dict)
    assert (config.volume_encoder["type"], config.volume_encoder["encoder"]) == ("slices", "shared")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"image_encoder": vit2d()},
            "image_encoder and image_connector come together: the connector is missing",
        ),
        (
            {"volume_connector": MLP},
            "volume_encoder and volume_connector come together: the encoder is missing",
        ),
        (
            {"volume_encoder": "shared", "volume_connector": MLP},
            "'shared' but the model has no image encoder",
        ),
        ({"image_encoder": vit2d(widht=8), "image_connector": MLP}, "did you mean 'width'"),
        ({"image_encoder": {"type": "vit_2d"}, "image_connector": MLP}, "did you mean 'vit2d'"),
        ({"image_encoder": vit2d(), "image_connector": {"type": "mpl"}}, "did you mean 'mlp'"),
    ],
)
def test_what_does_not_fit_is_named(parts, message):
    with pytest.raises(RecipeError, match=message):
        MedMVLConfig(llm=dict(LLMS["qwen2"]), **parts)
