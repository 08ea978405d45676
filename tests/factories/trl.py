"""Our model around the tiny text model that trl's numbers were made with."""

from __future__ import annotations

from typing import Any

import pytest

from medmvl.models.configuration import MedMVLConfig
from medmvl.models.modeling import MedMVLForConditionalGeneration
from tests.factories.scripts import load_script


def model_of_trl(numbers: dict[str, Any]) -> MedMVLForConditionalGeneration:
    """The model, after a look whether its weights are those that `numbers` were made with."""
    reference = load_script("benchmarks/trl_reference.py")
    model = MedMVLForConditionalGeneration(MedMVLConfig(llm=reference.LLM))
    model.llm.load_state_dict(reference.llm().state_dict())
    total = float(sum(weight.detach().double().abs().sum() for weight in model.llm.parameters()))
    assert total == pytest.approx(numbers["weights"], rel=1e-9), (
        "other weights than trl's numbers were made with"
    )
    return model
