"""A training that breaks, and goes on by the same call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medmvl.training.recipe import Recipe
from medmvl.training.run import train
from medmvl.training.trainer import StageTrainer


class CrashError(Exception):
    """Stands for a kill."""


def train_with_a_crash(
    recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, *, micro_batch: int
) -> None:
    """Train until the given micro batch, counted from 1, where the training breaks; then once more, to its end."""
    original, calls = StageTrainer.training_step, 0

    def crashing(self: StageTrainer, *arguments: Any, **more: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == micro_batch:
            raise CrashError
        return original(self, *arguments, **more)

    monkeypatch.setattr(StageTrainer, "training_step", crashing)
    with pytest.raises(CrashError):
        train(recipe, out)
    train(recipe, out)


def assert_same_weights(one: Path, other: Path) -> None:
    """The models of two runs are equal bit for bit."""
    found, expected = (load_file(run / "model/model.safetensors") for run in (one, other))
    assert found.keys() == expected.keys()
    assert not [name for name in found if not torch.equal(found[name], expected[name])]
