"""Verbs that write one file leave the old one where the disk has no room, name it, and leave nothing else."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.factories.commands import run
from tests.factories.kill_inputs import write_lines

Written = tuple[list[object], Path]


def scored(folder: Path) -> Written:
    lines = [{"id": str(n), "prediction": "yes", "references": ["yes"]} for n in range(9)]
    write_lines(folder / "predictions.jsonl", lines)
    out = folder / "out" / "answers.jsonl"
    return ["score", folder / "predictions.jsonl", "--answers", out], out


def paired(folder: Path) -> Written:
    asked = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}]
    write_lines(folder / "data.jsonl", [{"id": str(n), "messages": asked} for n in range(9)])
    for text in ("yes", "no"):
        write_lines(folder / text, [{"id": str(n), "text": text} for n in range(9)])
    out = folder / "out" / "pairs.jsonl"
    return [
        "data",
        "pairs",
        folder / "data.jsonl",
        out,
        "--from",
        folder / "yes",
        "--from",
        folder / "no",
    ], out


def compared(folder: Path) -> Written:
    for name in "ab":
        line = {"modality": "3D", "question_type": "nodule", "language": "en", "question": "?", "truth": "yes",
                "text": "yes", "metric": "accuracy", "score": 1.0}  # fmt: skip
        (folder / name).mkdir()
        write_lines(folder / name / "answers.jsonl", [{**line, "id": str(n), "cluster": n} for n in range(9)])
        (folder / name / "results.json").write_text(json.dumps({"protocol": "strict", "cluster": "patient"}))
    return ["compare", folder / "a", folder / "b", "--out", folder / "out"], folder / "out" / "compare.png"


def previewed(folder: Path) -> Written:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "scan.png")
    out = folder / "out" / "preview.png"
    return ["inspect", folder / "scan.png", "--preview", out], out


@pytest.mark.parametrize("made", [scored, paired, compared, previewed])
def test_a_full_disk_leaves_the_old_file_and_names_it(
    tmp_path: Path, made: Callable[[Path], Written], capsys: pytest.CaptureFixture[str]
) -> None:
    command, out = made(tmp_path)
    assert run(*command) == 0, capsys.readouterr().err
    before, mode = out.read_bytes(), out.stat().st_mode & 0o777
    assert before and mode == 0o600
    capsys.readouterr()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        code = run(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    said = capsys.readouterr().err
    assert code == 2 and said.count("Error: ") == 1 and str(out.parent) in said, said
    assert "run the same command again" in said
    assert out.read_bytes() == before
    assert {path.name for path in out.parent.iterdir()} <= {out.name, "compare.json"}
