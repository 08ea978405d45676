"""Mistakes that people make at the command line: each gets one message that says what to do, and exit code 2."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmvl.cli import main as cli
from medmvl.engine import GenerationOptions
from medmvl.errors import UserError
from medmvl.training.recipe_files import load_recipe
from tests.factories.engine import save_tiny_model

FINE_TUNE = ("train", "fine-tune-lora", "model.init=nowhere")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says as it ends with exit code 2, in one line."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a data set of one sample, a table, and an image."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("chest.png")
    turns = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes."}]
    Path("mine").mkdir()
    Path("mine/train.jsonl").write_text(json.dumps({"id": "a", "messages": turns}) + "\n")
    Path("table.csv").write_text("path,report\nchest.png,Clear.\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("generate", "--model", "m", "--prompt", "x"), "given by its place, without --model"),
        (("data", "from-csv", "t.csv", "--out", "d", "--images", "."), "given by its place, without --out"),
        (("train", "quickstart", "--epochs", "1"), "keys of the recipe are given without dashes"),
        (("generate", "m", "scan.nii.gz"), "files are named by --image, --volume, --data"),
        (("generate", "m", "--prompt", "x", "--choices", "yes"), "separate several by commas"),
        (("data", "convert", "vqarad", "raw", "out"), "did you mean 'vqa-rad'?"),
        (("pretrained", "get", "smollm", "out"), "did you mean 'smollm2-135m-instruct'"),
        (("phantoms", "p", "--patients", "3", "--splits", "1,1,2"), "add up to 3 patients"),
    ],
)
def test_what_was_meant_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "mine", "--out", "r"), "mine is a folder; a recipe is"),
        (("train", "mine/train.jsonl", "--out", "r"), "is a data file; a recipe"),
        ((*FINE_TUNE, "data.train.0.path=mine", "--out", "r"), "name one file of it: train.jsonl"),
        ((*FINE_TUNE, "--out", "r"), "the recipe wants a data file of yours: data.train.0.path="),
        (("generate", "mine", "--data", "mine", "--out", "a.jsonl"), "mine: no model found"),
        (("data", "check", "table.csv"), "medmvl data from-csv makes a data set of a table"),
        (("data", "from-csv", "mine", "d", "--images", "."), "this is a folder, and a file is expected"),
        (("data", "from-csv", "table.csv", "d", "--images", "scanz"), "scanz: there is no such folder"),
        (("inspect", "chest.png", "--preview", "mine"), "mine is a folder; name a file"),
        (("inspect", "chest.png", "--model", "mine"), "mine: no model found"),
        (("train", "medm-vl-2d-tiny", "--out", "chest.png"), "chest.png is a file; give a new folder"),
    ],
)
def test_a_folder_for_a_file_and_a_file_for_a_folder(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"choices": "yes,no"}, r"give several, such as \('yes', 'no'\)"),
        ({"volume": "x"}, "did you mean 'volumes'"),
    ],
)
def test_options_in_python_say_what_was_meant(given: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        GenerationOptions.from_arguments(**given)


def test_a_run_folder_names_the_model_in_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/model").mkdir(parents=True)
    Path("run/model/config.json").write_text("{}")
    assert "Did you mean run/model?" in refused(capsys, "generate", "run", "--prompt", "x")


def test_a_list_of_a_recipe_can_be_begun_and_added_to(data: Path) -> None:
    """As `docs/how-to/can-i.md` does with `data.validation.0.path`."""
    said = ["model.init=m", "data.train.0.path=a", "data.train.1.path=b", "data.validation.0.path=c"]
    recipe = load_recipe("fine-tune-lora", said)
    assert [source.path for source in recipe.data.train] == ["a", "b"]
    assert [source.path for source in recipe.data.validation] == ["c"]


def test_a_list_without_a_position_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, *FINE_TUNE, "data.train.path=mine/train.jsonl")
    assert "data.train is a list of 1, counted from 0; say data.train.0 for its first" in said


def test_a_start_that_failed_leaves_its_folder_to_the_corrected_command(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "data that the recipe names is not here" in refused(
        capsys, *FINE_TUNE, "data.train.0.path=typo.jsonl", "--out", "run"
    )
    said = refused(capsys, *FINE_TUNE, "data.train.0.path=mine/train.jsonl", "--out", "run")
    assert "nowhere: no model found" in said  # and not that the run is another recipe's
    Path("run/stages").mkdir()  # from here on there is something to lose
    said = refused(capsys, *FINE_TUNE, "data.train.0.path=other.jsonl", "--out", "run")
    assert "was 'mine/train.jsonl', now 'other.jsonl'" in said


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_nothing_is_written_between_files_of_others(
    data: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    given = ("--data", "mine/train.jsonl") if verb == "evaluate" else ("chest.png",)
    model = save_tiny_model(data / "model")
    before = sorted(data.rglob("*"))
    said = refused(capsys, verb, model, *given, "--out", "mine")
    assert "mine is not empty and holds no" in said
    assert sorted(data.rglob("*")) == before
