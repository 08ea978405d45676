"""Recipes whose connector does not fit encoder or LLM are refused before any weight is made."""

from __future__ import annotations

import pytest
from tests.factories.models import TEXTS, recipe

from medmvl.errors import RecipeError
from medmvl.models import assemble as assembly
from medmvl.models.assemble import assemble


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def build(config):
        raise AssertionError("a model was built")

    monkeypatch.setattr(assembly, "MedMVLForConditionalGeneration", build)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 30}, r"one image takes 16 tokens, and the shortest question .* leaves no room within .* 512"),
        ({"max_length": 513}, "more than the LLM's context of 512"),
        ({"image_connector": {"type": "attention_pooling", "num_heads": 7}}, "24 is not a multiple of num_heads 7"),
        ({"image_connector": {"type": "mlp_mixer"}}, r"for 2 stream\(s\) of features, the encoder gives 1"),
        ({"volume_connector": {"type": "pixel_shuffle", "factors": [3, 1, 1]}}, "do not divide the grid"),
        ({"volume_connector": {"type": "mlp_mixer", "grids": [[1, 1, 1]], "tokens": [[4]]}}, r"set grids to \[\[2, 2, 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        assemble(recipe(**changes), texts=TEXTS)


def test_the_least_that_fits_is_not_refused():
    with pytest.raises(AssertionError, match="a model was built"):
        assemble(recipe(max_length=39), texts=TEXTS)
