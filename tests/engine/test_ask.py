"""`Engine.ask`: one image or several in any form, declarations, priors, options; what is wrong is said plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medmvl
from medmvl.engine import Answer
from medmvl.errors import UserError
from tests.factories.engine import tiny_engine

CT = np.random.default_rng(0).integers(-1000, 1000, (4, 16, 16)).astype(np.int16)
XRAY = np.random.default_rng(1).integers(0, 255, (16, 16)).astype(np.uint8)


def ask(question: str = "Nodule?", **given: Any) -> Answer:
    return tiny_engine().ask(question, max_new_tokens=4, **given)


def test_a_volume_is_the_same_as_path_array_or_image(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", CT)
    read = medmvl.read(tmp_path / "ct.npy", units="HU")
    forms: list[Any] = [tmp_path / "ct.npy", str(tmp_path / "ct.npy"), CT, read, [CT], (read,)]
    answers = [ask(volumes=form, units="HU") for form in forms]
    assert {answer.tokens for answer in answers} == {answers[0].tokens}
    assert {str(answer.seen) for answer in answers} == {str(answers[0].seen)}
    assert answers[0].seen[0]["units"] == "HU"
    assert ask(volumes=CT).seen[0]["units"] == "arbitrary"


def test_an_image_is_the_same_as_path_array_or_pillow_image(tmp_path: Path) -> None:
    Image.fromarray(XRAY).save(tmp_path / "x.png")
    forms: list[Any] = [tmp_path / "x.png", XRAY, Image.fromarray(XRAY), medmvl.read(tmp_path / "x.png")]
    assert len({ask(images=form).tokens for form in forms}) == 1
    assert len(ask(images=[XRAY, XRAY.T]).seen) == 2


def test_another_array_is_another_answer_object() -> None:
    first, second = ask(volumes=CT), ask(volumes=CT[::-1].copy())
    assert first.probability != second.probability


def test_an_earlier_study_comes_with_its_days(tmp_path: Path) -> None:
    np.save(tmp_path / "old.npy", CT)
    answer = ask(volumes=CT, priors={str(tmp_path / "old.npy"): 180})
    assert [seen["kind"] for seen in answer.seen] == ["volume", "volume"]


def test_a_schema_may_be_a_dict() -> None:
    schema = {"type": "object", "properties": {"nodule": {"type": "boolean"}}, "required": ["nodule"]}
    assert medmvl.GenerationOptions.from_arguments(json_schema=schema).constrained


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"choice": ("yes", "no")}, "did you mean 'choices'"),
        ({"volumes": XRAY}, "give it as images"),
        ({"images": CT}, "give it as volumes"),
        ({"volumes": 3.5}, "not iterable|no image"),
        ({"temperature": -1}, "temperature"),
        ({"volumes": CT, "units": "mmHg"}, "mmHg"),
        ({"volumes": "there/is/none"}, "there/is/none"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        ask(**given)
    assert "pydantic" not in str(caught.value)
