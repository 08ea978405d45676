"""A run that is killed, also while it saves, and started again ends with the weights of a run never killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.factories.training import command, losses, phantom_cache, recipe, stage, write_recipe

__all__ = ["phantom_cache"]

ENCODERS = {"image_encoder": "full", "volume_encoder": "full"}


def two_stages() -> dict:
    document = recipe(
        stage("encoders", objective="classification", parts=ENCODERS, max_steps=5, save_steps=1),
        stage("instruct", max_steps=6, save_steps=2, micro_batch_size=2),
    )
    document["model"]["llm"]["config"]["attention_dropout"] = 0.2  # so that random states matter
    return document


def kill_when(arguments: list[str], reached: Callable[[], bool]) -> None:
    """Start a run and kill it at the first moment that `reached` says so."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(tmp_path: Path, phantom_cache: Path) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", two_stages())
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = subprocess.Popen(
        command(file, "--out", whole), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )

    first, second = killed / "stages" / "01-encoders", killed / "stages" / "02-instruct"
    moments: list[Callable[[], bool]] = [
        lambda: any((first / "checkpoints").glob(".partial-checkpoint-3*/*/*")),  # while it saves
        lambda: (first / ".partial-model").exists(),  # while it writes the stage's model
        lambda: (second / "checkpoints" / "checkpoint-4").exists(),  # between two checkpoints
    ]
    for reached in moments:
        kill_when(command(file, "--out", killed), reached)
    subprocess.run(command(file, "--out", killed), check=True, capture_output=True, timeout=120)

    _, error = uninterrupted.communicate(timeout=120)
    assert uninterrupted.returncode == 0, error.decode()
    for name in ("01-encoders", "02-instruct"):
        expected = load_file(whole / "stages" / name / "model" / "model.safetensors")
        found = load_file(killed / "stages" / name / "model" / "model.safetensors")
        assert expected.keys() == found.keys()
        assert [key for key in expected if expected[key].tobytes() != found[key].tobytes()] == []
    assert losses(killed) == losses(whole)
    assert not list(killed.rglob(".partial-*"))
