"""`answer_alignment`: a connector that reads the question learns what to answer, without the LLM."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medmvl.errors import RecipeError, SampleError
from medmvl.schema import ImageBlock, Message, Sample, TextBlock
from medmvl.training.answer_alignment import AnswerAlignment, _chosen
from medmvl.training.objectives import pair_totals
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from medmvl.training.stage_data import FirstAnswers
from tests.factories.models import tiny
from tests.factories.training import (
    MODEL,
    command,
    losses,
    phantom_cache,
    phantoms,
    recipe,
    stage,
    write_recipe,
    write_text_samples,
)

__all__ = ["phantom_cache"]

pytestmark = pytest.mark.usefixtures("phantom_cache")

CONNECTORS = {"image_connector": "full", "volume_connector": "full"}
READING = {"type": "bilinear", "rank": 32, "glimpses": 2, "dropout": 0.0}


def aligned(**more: Any) -> dict[str, Any]:
    document = recipe(
        stage(
            "align",
            objective="answer_alignment",
            **{"parts": CONNECTORS, "batch_size": 8, "group": "none", **more},
        ),
        train=[phantoms()],
    )
    return document | {"model": MODEL | dict.fromkeys(CONNECTORS, READING)}


def test_it_learns_which_answer_belongs_to_a_question_and_moves_nothing_but_the_connectors(
    tmp_path: Path,
) -> None:
    document = aligned(max_steps=60, learning_rate=1e-2, eval_steps=30)
    document["stages"].append(stage("instruct", max_steps=2))
    train(parse_recipe(document, "aligned"), tmp_path / "run")
    found = losses(tmp_path / "run")
    first, last = found["01-align", 1, "loss"], found["01-align", 60, "loss"]
    assert last < 0.6 * first
    assert found["01-align", 60, "eval_answer_accuracy"] > 0.3
    stages = tmp_path / "run" / "stages"
    after, later = (
        load_file(stages / name / "model/model.safetensors") for name in ("01-align", "02-instruct")
    )
    assert after.keys() == later.keys()
    assert any(name.startswith("image_connector.importance") for name in after)


def test_equal_answers_count_once_and_the_own_answer_is_the_right_one() -> None:
    model, _ = tiny(image_connector=READING)
    objective = AnswerAlignment(model, temperature=1.0)
    answers = torch.eye(3)[[0, 1, 0, 0]]
    seen = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    right, wrong = torch.tensor([1.0, 0.0]).log_softmax(0).neg().tolist()
    none = torch.zeros(2).log_softmax(0)[0].neg().item()
    scale = objective.scale()
    losses = _chosen(seen, answers, answers, scale)
    torch.testing.assert_close(losses, torch.tensor([right, wrong, wrong, none]))
    metrics = objective.metrics(pair_totals(seen, answers, scale).detach(), [None] * 4)
    assert metrics["answer_accuracy"] in (0.25, 0.5)  # the last sees neither, which is a tie
    assert metrics["loss"] == pytest.approx(losses.mean().item())


def test_samples_end_with_their_first_answer_and_need_an_image_before_it() -> None:
    def said(role: str, *blocks: Any) -> Message:
        return Message(role=role, content=blocks)

    image, text = ImageBlock(image="a.png"), TextBlock(text="Is it?")
    turns = (said("user", image, text), said("assistant", TextBlock(text="Yes")))
    samples = [
        Sample(id="two", messages=(*turns, said("user", text), said("assistant", TextBlock(text="No")))),
        Sample(id="blind", messages=(said("user", text), *turns[1:])),
        Sample(id="asked", messages=turns[:1]),
    ]
    kept = FirstAnswers(samples)
    assert [(sample.id, [turn.text for turn in sample.messages]) for sample in kept] == [
        ("two", ["Is it?", "Yes"])
    ]


def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'answer_alignment' trains connectors, but none of its parts"):
        parse_recipe(aligned(parts={"llm": "full"}), "r")
    deaf = aligned() | {"model": MODEL}
    with pytest.raises(RecipeError, match=r"image_connector 'linear' does not; take \{type: bilinear\}"):
        train(parse_recipe(deaf, "r"), tmp_path / "deaf")
    write_text_samples(tmp_path / "text.jsonl", 2)
    blind = aligned()
    blind["data"] = {"train": [{"path": str(tmp_path / "text.jsonl")}]}
    with pytest.raises(SampleError, match="has both an image or volume and an answer"):
        train(parse_recipe(blind, "r"), tmp_path / "blind")


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", aligned(max_steps=4, eval_steps=2))
    for count in (1, 2):
        arguments = command(file, "--out", tmp_path / str(count), processes=count)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) > 4
    assert two == pytest.approx(one, rel=1e-5)
