"""Reasoning on the command line: apart from the answer, told where it leaves none, and never scored."""

import json
from pathlib import Path

import pytest

from medmvl.cli.main import main
from medmvl.engine import Engine
from medmvl.phantoms import write_dataset
from tests.factories.engine import save_tiny_model, tiny_engine, writes

REASONING, ANSWER = "There is a shadow.", "yes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinking")
    save_tiny_model(folder / "model", thinking=True)
    write_dataset(folder / "data", preset="quickstart", patients=4, seed=3, splits={"test": 4}, workers=1)
    return folder


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Engine = tiny_engine(thinking=True)
    monkeypatch.setattr(engine.model, "forward", writes(engine, f"{REASONING}\n</think>\n\n{ANSWER}"))
    monkeypatch.setattr(Engine, "load", lambda *_, **__: engine)


def medmvl(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return int(ended.value.code or 0)


def test_generate_prints_the_answer_and_reasoning_apart(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ("generate", place / "model", "--prompt", "Nodule?")
    assert medmvl(*ask) == 0
    said = capsys.readouterr()
    assert said.out == "yes\n" and REASONING in said.err
    assert medmvl(*ask, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reasoning"], found["text"]) == (REASONING, ANSWER)
    assert medmvl(*ask, "--max-new-tokens", 3) == 0
    said = capsys.readouterr()
    assert (
        said.out == "\n"
        and "no answer: the reasoning was cut after 3 tokens; raise --max-new-tokens" in said.err
    )
    assert medmvl(*ask, "--no-thinking") == 0
    assert capsys.readouterr().out.startswith(REASONING)


def test_a_file_of_answers_keeps_both(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "data/test.jsonl"
    out = tmp_path / "answers.jsonl"
    assert medmvl("generate", place / "model", "--data", data, "--out", out) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(line["reasoning"], line["text"]) for line in lines} == {(REASONING, ANSWER)}
    short = tmp_path / "short.jsonl"
    assert medmvl("generate", place / "model", "--data", data, "--out", short, "--max-new-tokens", 2) == 0
    assert f"{len(lines)} answers are empty: the reasoning took all tokens" in capsys.readouterr().err


def test_an_evaluation_scores_the_answer_alone(place: Path, tmp_path: Path) -> None:
    common = ("evaluate", place / "model", "--data", place / "data/test.jsonl", "--no-controls")
    assert medmvl(*common, "--out", tmp_path / "a", "--max-new-tokens", 60) == 0
    text = (tmp_path / "a/answers.jsonl").read_text() + (tmp_path / "a/page.html").read_text()
    assert "shadow" not in text and "think>" not in text
    results = json.loads((tmp_path / "a/results.json").read_text())
    assert not any("reasoning" in warning for warning in results["warnings"])
    assert medmvl(*common, "--out", tmp_path / "b", "--max-new-tokens", 3) == 0
    results = json.loads((tmp_path / "b/results.json").read_text())
    assert any(
        "answers are empty: the reasoning took all tokens" in warning for warning in results["warnings"]
    )
    assert all(
        json.loads(line)["text"] == "" for line in (tmp_path / "b/answers.jsonl").read_text().splitlines()
    )


def test_chat_prints_reasoning_before_the_answer_and_forgets_it(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    asked = []
    engine = Engine.load(place)
    prepare = engine.prepare
    monkeypatch.setattr(
        engine, "prepare", lambda request, *more: asked.append(request) or prepare(request, *more)
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("Nodule?\nSure?\n/quit\n"))
    assert medmvl("chat", place / "model") == 0
    assert capsys.readouterr().out.count(f"{REASONING}\n\n{ANSWER}\n") == 2
    assert [turn.text for turn in asked[1].messages] == ["Nodule?", ANSWER, "Sure?"]
    assert all(turn.reasoning is None for turn in asked[1].messages)


@pytest.mark.parametrize("protocol", ["m3d", "ctchat", "medevalkit", "strict", "reader"])
def test_blocks_in_files_of_others_are_never_scored(tmp_path: Path, protocol: str) -> None:
    rows = [
        {
            "id": "1",
            "prediction": "<think>no, no</think>yes",
            "answer": "yes",
            "question": "Is there?",
            "kind": "closed",
        },
        {
            "id": "2",
            "prediction": "<think>yes, surely",
            "answer": "yes",
            "question": "Is there?",
            "kind": "closed",
        },
        {
            "id": "3",
            "prediction": "no</think>left lung",
            "answer": "left lung",
            "question": "Where?",
            "kind": "open",
        },
    ]
    plain = [{**row, "prediction": said} for row, said in zip(rows, ("yes", "", "left lung"), strict=True)]
    found = []
    for name, lines in (("blocks", rows), ("plain", plain)):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert medmvl("score", file, "--protocol", protocol, "--out", tmp_path / name) == 0
        found.append(json.loads((tmp_path / name / "score.json").read_text())["protocols"])
    assert found[0] == found[1]
