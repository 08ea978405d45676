"""`medmvl generate` with a form for the answer and an earlier study: the same as the engine's own, and readable errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from medmvl.cli.main import main
from medmvl.engine import Engine
from tests.factories.engine import save_tiny_model

SCHEMA = {
    "type": "object",
    "properties": {"nodule": {"type": "boolean"}},
    "required": ["nodule"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("generate") / "model")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("scans")
    drawn = np.random.default_rng(0)
    for name in ("now", "before"):
        np.save(folder / f"{name}.npy", drawn.integers(-1000, 400, (4, 16, 16)).astype(np.int16))
    return str(folder / "now.npy"), str(folder / "before.npy")


def generate(model: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["generate", str(model), "--prompt", "Nodule?", "--max-new-tokens", "12", *arguments])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("choices", ["yes,no", "left, right, both"])
def test_the_answer_is_one_of_the_choices(
    model: Path, scans: tuple[str, str], choices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, "--volume", scans[0], "--choices", choices) == 0
    allowed = tuple(name.strip() for name in choices.split(","))
    said = capsys.readouterr().out.strip()
    assert said in allowed
    assert (
        said == Engine.load(model).ask("Nodule?", volumes=scans[0], choices=allowed, max_new_tokens=12).text
    )


@pytest.mark.parametrize("as_file", [False, True])
def test_the_answer_fits_the_schema(
    model: Path, scans: tuple[str, str], as_file: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = json.dumps(SCHEMA)
    if as_file:
        (tmp_path / "schema.json").write_text(given, encoding="utf-8")
        given = str(tmp_path / "schema.json")
    assert generate(model, "--volume", scans[0], "--schema", given) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["nodule"]
    assert isinstance(answer["nodule"], bool)


def test_an_earlier_study_is_told_with_its_days(
    model: Path, scans: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    now, before = scans
    assert generate(model, "--volume", now, "--prior", f"180:{before}", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    engine = Engine.load(model)
    assert [seen["kind"] for seen in said["seen"]] == ["volume", "volume"]
    wanted = engine.ask("Nodule?", volumes=now, priors={before: 180}, max_new_tokens=12)
    assert said["tokens"] == list(wanted.tokens)
    days = [engine.ask("Nodule?", volumes=now, priors={before: n}).num_prompt_tokens for n in (1, 180)]
    assert days[1] > days[0]  # the number of days is part of the question


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prior", "soon:{before}"], "expected DAYS:PATH"),
        (["--prior", "0:{before}"], "expected DAYS:PATH"),
        (["--prior", "180:gone.npy"], "gone.npy: there is no such file"),
        (["--schema", "gone.json"], "--schema gone.json: there is no such file"),
        (["--schema", '{{"type":'], "--schema is not JSON"),
        (["--choices", "yes,no", "--schema", '{{"type": "object"}}'], "give one form of the answer"),
    ],
)
def test_what_cannot_be_asked_is_said(
    model: Path,
    scans: tuple[str, str],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(before=scans[1]) for argument in arguments]
    assert generate(model, "--volume", scans[0], *filled) == 2
    assert message in capsys.readouterr().err
