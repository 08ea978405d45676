"""bfloat16 on a CPU that does not compute in it is told: a step then takes many times as long."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from medmvl.training import trainer_arguments
from medmvl.training.recipe import Distributed, Stage


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about CPUs")
@pytest.mark.parametrize(
    ("precision", "fast", "told"),
    [("bfloat16", False, True), ("bfloat16", True, False), ("float32", False, False)],
)
def test_slow_bfloat16_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    precision: str,
    fast: bool,
    told: bool,
) -> None:
    monkeypatch.setattr(trainer_arguments, "cpu_has_bfloat16", lambda: fast)
    stage = Stage.model_validate(
        {
            "name": "one",
            "parts": {"llm": "full"},
            "max_steps": 1,
            "batch_size": 1,
            "learning_rate": 1,
            "precision": precision,
        }
    )
    order = cast("Any", SimpleNamespace(num_steps=1))
    arguments = trainer_arguments.training_arguments(stage, tmp_path, order, 0, Distributed())
    assert arguments.bf16 is (precision == "bfloat16")
    assert ("stages.one.precision=float32" in caplog.text) is told
