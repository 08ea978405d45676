"""Checkpoints and models that were damaged are refused by name, and the run goes on from what is whole, to the same end."""

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import medmvl.training.stage as stage_module
from medmvl.engine import Engine
from medmvl.errors import UserError
from medmvl.models.assemble import load
from medmvl.training.checkpoints import checkpoints, is_complete
from medmvl.training.interruption import Interruption, StoppedError
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.training import losses, phantom_cache, phantoms, recipe, stage
from tests.test_outputs import flip

__all__ = ["phantom_cache"]

pytestmark = pytest.mark.usefixtures("phantom_cache")
ENCODERS = {"image_encoder": "full"}


def two_stages() -> Recipe:
    document = recipe(
        stage("encoders", objective="classification", parts=ENCODERS, max_steps=2, save_steps=1),
        stage("instruct", max_steps=5, save_steps=1, log_steps=2),
        train=[phantoms(limit=12)],
    )
    document["model"]["llm"]["config"]["attention_dropout"] = 0.2  # so that random states matter
    return parse_recipe(document, "two")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, phantom_cache: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(two_stages(), out)
    return out


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during this step of the second stage, as a terminal sends it."""
    real = Interruption.on_step_end

    def pressed(self: Interruption, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.max_steps == 5 and state.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, args, state, control, **more)

    monkeypatch.setattr(Interruption, "on_step_end", pressed)


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, step: int = 3) -> Path:
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        with pytest.raises(
            StoppedError, match=f"stopped at step {step} of 5 of stage instruct; the same command"
        ):
            train(two_stages(), out)
    return out / "stages" / "02-instruct" / "checkpoints"


def same(found: Path, expected: Path) -> bool:
    pairs = [load_file(folder / "model" / "model.safetensors") for folder in (found, expected)]
    equal = pairs[0].keys() == pairs[1].keys() and all(
        pairs[0][name].tobytes() == pairs[1][name].tobytes() for name in pairs[0]
    )
    return equal and losses(found) == losses(expected)


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_ends_the_same(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = stopped(tmp_path / "run", monkeypatch)
    assert checkpoints(kept)[-1].name == "checkpoint-3"
    train(two_stages(), tmp_path / "run")
    assert same(tmp_path / "run", whole)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory, phantom_cache: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        stopped(out, patch)
    return out


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "optimizer.pt": flip,
    "scheduler.pt": lambda file: os.truncate(file, 10),
    "rng_state.pth": lambda file: file.unlink(),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    tmp_path: Path, whole: Path, stopped_once: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    shutil.copytree(stopped_once, tmp_path / "run")
    DAMAGES[name](tmp_path / "run" / "stages" / "02-instruct" / "checkpoints" / "checkpoint-3" / name)
    caplog.set_level(logging.INFO)
    train(two_stages(), tmp_path / "run")
    assert f"checkpoint-3/{name}" in caplog.text and "set aside as damaged-checkpoint-3" in caplog.text
    assert "resuming stage instruct from checkpoint-2" in caplog.text
    assert same(tmp_path / "run", whole)


def test_a_damaged_model_of_a_stage_is_made_again(tmp_path: Path, whole: Path, stopped_once: Path) -> None:
    shutil.copytree(stopped_once, tmp_path / "run")
    flip(tmp_path / "run" / "stages" / "01-encoders" / "model" / "model.safetensors")
    train(two_stages(), tmp_path / "run")
    assert same(tmp_path / "run", whole)


def test_a_model_is_a_folder_of_its_own(tmp_path: Path, whole: Path) -> None:
    assert not (whole / "model").is_symlink() and is_complete(whole / "model")
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.copytree(run / "model", tmp_path / "copy", symlinks=True)
    shutil.rmtree(run)
    assert Engine.load(tmp_path / "copy", "cpu").processor is not None
    flip(tmp_path / "copy" / "model.safetensors")
    for open_model in (load, Engine.load):
        with pytest.raises(UserError, match=r"copy/model\.safetensors is not as it was written"):
            open_model(tmp_path / "copy")  # type: ignore[operator]


def test_a_finished_run_without_its_stages_is_finished(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "stages")
    monkeypatch.setattr(stage_module, "run_stage", None)
    assert train(two_stages(), tmp_path / "run") == tmp_path / "run" / "model"


def test_a_link_to_nothing_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("gone/model")
    with pytest.raises(UserError, match="model is a link to gone/model, which is not there"):
        load(tmp_path / "model")


def test_a_run_killed_before_its_recipe_was_written_begins(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".recipe.yaml.abcd1234.partial").touch()
    (run / ".lock").write_text("1\nelsewhen\n".replace("elsewhen", os.uname().nodename))
    document = recipe(stage(max_steps=1), train=[phantoms(limit=4)])
    train(parse_recipe(document, "one"), run)
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]
