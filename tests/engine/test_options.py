"""Generation options refuse what contradicts itself."""

import pytest
from pydantic import ValidationError

from medmvl.engine.options import GenerationOptions


def test_greedy_by_default() -> None:
    assert GenerationOptions().arguments() == {"max_new_tokens": 256, "num_beams": 1, "do_sample": False}


@pytest.mark.parametrize(
    "values",
    [
        {"num_beams": 3, "temperature": 0.5},
        {"top_p": 0.9},
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"beams": 2},
    ],
)
def test_contradictions_are_errors(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GenerationOptions.model_validate(values)
