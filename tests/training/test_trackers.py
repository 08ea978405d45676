"""Trackers by name: numbers and settings, on this machine, and nothing that tells of a patient or of the machine."""

import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from medmvl.errors import RecipeError
from medmvl.training import trackers
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.trackers import check_trackers
from tests.factories.ranks import train_in_ranks
from tests.factories.training import phantom_cache, recipe, stage

__all__ = ["phantom_cache"]

SECRET = "Doe-Jane"
HOST = socket.gethostname()


def secrets(folder: Path) -> list[str]:
    """What no tracker may know; the host only where its name is not in every text."""
    return [SECRET, str(folder), "phantoms", *([HOST] if len(HOST) > 4 else [])]


def train_and_track(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training in a folder with a patient's name, that reports to one tracker."""
    if find_spec(name) is None:
        pytest.skip(f"the extra `{name}` is not installed; `make scale`")
    for variable in ("WANDB_MODE", "TRACKIO_DIR", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(variable, raising=False)
    run = folder / SECRET
    run.mkdir()
    document = recipe(stage(max_steps=2), report_to=[name])
    (run / "r.yaml").write_text(yaml.safe_dump(document))
    assert train_in_ranks([run / "r.yaml", "--out", run / "out"], 1, folder / "logs") == [0], (
        folder / "logs" / "0"
    ).read_text()[-3000:]
    return run / "out"


@pytest.mark.slow
def test_wandb_stays_offline_and_tells_nothing(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train_and_track("wandb", tmp_path, monkeypatch)
    (log,) = found.rglob("*.wandb")
    assert "offline" in log.parent.name
    sent = [log, *(file for file in (log.parent / "files").rglob("*") if file.is_file())]
    whole = b"".join(file.read_bytes() for file in sent)
    assert b"loss" in log.read_bytes() and b"learning_rate" in log.read_bytes()
    for told in secrets(tmp_path):
        assert told.encode() not in whole, told


@pytest.mark.slow
def test_trackio_keeps_its_data_base_in_the_run(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train_and_track("trackio", tmp_path, monkeypatch)
    assert list((found / "trackio").glob("*.db"))
    whole = b"".join(file.read_bytes() for file in (found / "trackio").iterdir())
    assert b"loss" in whole and b"learning_rate" in whole
    for told in secrets(tmp_path):
        assert told.encode() not in whole, told


def test_a_tracker_that_is_not_installed_is_named_before_anything_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    check_trackers(("tensorboard",))
    with pytest.raises(
        RecipeError, match=r"report_to: wandb not installed; pip install -e '\.\[wandb\]' in the clone"
    ):
        check_trackers(("tensorboard", "wandb"))


def test_names_are_exact() -> None:
    with pytest.raises(Exception, match="wandb"):
        parse_recipe(recipe(report_to=["WandB"]), "r")
    assert parse_recipe(recipe(), "r").report_to == ("tensorboard",)
    assert parse_recipe(recipe(report_to=[]), "r").report_to == ()
