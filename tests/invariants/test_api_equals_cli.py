"""The engine in Python and the commands give the same answers; the commands fail with code 2 and a message."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmvl.cli.main import main
from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine, GenerationOptions, Request, read_answers
from medmvl.schema import Message, write_samples
from tests.factories.engine import question, save_tiny_model

TEXT = "Is there a nodule? 有没有结节？"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an image, a volume and two data files."""
    folder = tmp_path_factory.mktemp("asking")
    save_tiny_model(folder / "model")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 24), dtype=np.uint8)).save(folder / "x.png")
    np.save(folder / "ct-1.npy", rng.integers(-1000, 400, (6, 20, 20)).astype(np.int16))
    samples = [question(f"s{i}", f"Which lobe? {i}", "ct-1.npy", "x.png", answer="left") for i in range(6)]
    write_samples(folder / "data.jsonl", samples)
    broken = question("gone", "?", "missing.png")
    write_samples(folder / "broken.jsonl", [samples[0], broken, samples[1]])
    records = [
        {"id": s.id, "image": "x.png", "image3d": "ct-1.npy",
         "conversations": [{"from": "human", "value": f"<image3d>\n<image>\n{s.messages[0].text}"},
                           {"from": "gpt", "value": "left"}]}
        for s in samples
    ]  # fmt: skip
    (folder / "llava.json").write_text(json.dumps(records))
    return folder


def medmvl(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_generate_is_the_engine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # one spacing serves all files of a command, and a 2D file has two axes: the volume is declared in its own call
    arguments = ("generate", folder / "model", "--volume", folder / "ct-1.npy", "--prompt", TEXT,
                 "--units", "HU", "--spacing", "5,1,1", "--max-new-tokens", 9)  # fmt: skip
    assert medmvl(*arguments, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert medmvl(*arguments) == 0
    assert capsys.readouterr().out == said["text"] + "\n"
    assert {"text", "tokens", "seconds", "seen"} <= said.keys() and 0 < said["probability"] <= 1
    assert said["seen"][0]["spacing_mm"] == [5.0, 1.0, 1.0] and said["seen"][0]["units"] == "HU"
    assert str(folder) not in json.dumps(said)


def test_images_and_volumes_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = GenerationOptions(max_new_tokens=9)
    content = [
        {"type": "image", "image": str(folder / "x.png")},
        {"type": "volume", "volume": str(folder / "ct-1.npy")},
        {"type": "text", "text": TEXT},
    ]
    engine = Engine.load(folder / "model")
    load = engine.processor.visual_loader(BlockLoader(Path()))
    request = Request((Message.model_validate({"role": "user", "content": content}),), load)
    expected = engine.answer([request], options)[0].to_json()
    arguments = ("--image", folder / "x.png", "--volume", folder / "ct-1.npy", "--prompt", TEXT)
    assert medmvl("generate", folder / "model", *arguments, "--max-new-tokens", 9, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    for key in ("text", "tokens", "seen", "finish"):
        assert said[key] == expected[key]


@pytest.mark.parametrize("name", ["data.jsonl", "llava.json"])
def test_generate_data_answers_either_format(folder: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "o.jsonl"
    arguments = ("generate", folder / "model", "--data", folder / name, "--out", out)
    assert medmvl(*arguments, "--max-new-tokens", 6, "--batch-size", 4) == 0
    answers = read_answers(out)
    assert [answer.id for answer in answers] == [f"s{i}" for i in range(6)]
    assert medmvl(*arguments, "--max-new-tokens", 6, "--batch-size", 4) == 0
    assert read_answers(out) == answers
    assert medmvl(*arguments, "--max-new-tokens", 7) == 2


def test_bad_samples_are_listed_with_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.jsonl"
    arguments = ("--data", folder / "broken.jsonl", "--out", out, "--max-new-tokens", 6)
    assert medmvl("generate", folder / "model", *arguments) == 2
    message = capsys.readouterr().err
    assert "1 of 3 samples" in message and "gone" in message and "Traceback" not in message
    assert [answer.id for answer in read_answers(out)] == ["s0", "s1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--prompt"),
        (["--prompt", "a", "--data", "b"], "either --prompt"),
        (["--data", "b"], "needs --out"),
        (["--prompt", "a", "--out", "b"], "belongs to --data"),
        (["--prompt", "a", "--image", "none.png"], "none.png"),
        (["--prompt", "a", "--spacing", "x"], "--spacing"),
        (["--prompt", "a", "--num-beams", "2", "--temperature", "1"], "beams"),
        (["--prompt", "say <|volume|>"], "special token"),
    ],
)
def test_what_a_user_can_cause(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert medmvl("generate", folder / "model", *arguments) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message


def test_chat_goes_on_after_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"/image {folder / 'x.png'}", f"/volume {folder / 'ct-1.npy'}", TEXT, "Which lobe?", "/image none.png",
             "/nonsense", "/reset", TEXT, "/quit", "never read"]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert medmvl("chat", folder / "model", "--max-new-tokens", 9) == 0
    shown = capsys.readouterr().out
    assert "no diagnosis" in shown
    assert "[image 20x24, 4 tokens]" in shown and "[volume 6x20x20, 8 tokens]" in shown
    assert "none.png" in shown and "unknown command '/nonsense'" in shown and "[a new conversation]" in shown
    assert medmvl("generate", folder / "model", "--image", folder / "x.png", "--volume", folder / "ct-1.npy",
                  "--prompt", TEXT, "--max-new-tokens", 9) == 0  # fmt: skip
    assert capsys.readouterr().out.strip() in shown  # the first turn is the single question
    assert medmvl("generate", folder / "model", "--prompt", TEXT, "--max-new-tokens", 9) == 0
    assert capsys.readouterr().out.strip() in shown.split("[a new conversation]")[1]


def test_evaluate_writes_results_and_cases(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.json").write_text('{"statement": "not medicine"}')
    lines = (folder / "data.jsonl").read_text().replace('"image":"x.png"', f'"image":"{folder}/x.png"')
    (tmp_path / "test.jsonl").write_text(
        lines.replace('"volume":"ct-1.npy"', f'"volume":"{folder}/ct-1.npy"')
    )
    out = tmp_path / "out"
    arguments = ("--data", tmp_path / "test.jsonl", "--out", out, "--max-new-tokens", 4)
    assert medmvl("evaluate", folder / "model", *arguments) == 0
    shown = capsys.readouterr().out
    assert "not medicine" in shown and "2D+3D open -" in shown
    assert json.loads((out / "results.json").read_text())["statement"] == "not medicine"
    assert (out / "cases.png").is_file() and len((out / "answers.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
def test_two_processes_give_the_answers_of_one(folder: Path, tmp_path: Path) -> None:
    arguments = ["generate", folder / "model", "--data", folder / "broken.jsonl", "--max-new-tokens", 6,
                 "--batch-size", 1, "--out"]  # fmt: skip
    assert medmvl(*arguments, tmp_path / "one.jsonl") == 2
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "medmvl",
    ]
    done = subprocess.run(
        [*command, *map(str, arguments), str(tmp_path / "two.jsonl")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "1 of 3 samples" in done.stderr, done.stderr
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert not list(tmp_path.glob("two.jsonl.part*"))
