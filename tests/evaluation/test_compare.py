"""Two runs: differences by hand, and refusal where a pair would compare what is not the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from medmvl.cli.main import main
from medmvl.errors import UserError
from medmvl.evaluation.compare import compare_runs, draw_comparison, read_run, verdict


def write_run(folder: Path, scores: list[float], protocol: str = "strict", **changes: object) -> Path:
    folder.mkdir(parents=True)
    lines = [
        {
            "id": f"{i}", "modality": "3D", "question_type": "nodule" if i % 2 else "side", "language": "en",
            "question": "?", "truth": "yes", "text": "yes", "metric": "accuracy", "score": score,
            "cluster": i // 4, **changes,
        }
        for i, score in enumerate(scores)
    ]  # fmt: skip
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.json").write_text(json.dumps({"protocol": protocol, "cluster": "patient"}))
    return folder


def test_differences_by_hand(tmp_path: Path) -> None:
    worse = write_run(tmp_path / "a", [0.0] * 24)
    better = write_run(tmp_path / "b", [float(i % 2) for i in range(24)])
    comparison = compare_runs([read_run(worse), read_run(better)])
    side, nodule = comparison.pairs
    assert (side.group, nodule.group) == ("3D side en", "3D nodule en")
    assert (nodule.score, nodule.base_score, nodule.difference.value) == (1.0, 0.0, 1.0)
    assert nodule.difference.n == 12 and nodule.difference.clusters == 6
    assert nodule.p == pytest.approx(2 / 2**6) and side.p == 1.0  # six patients, all for the second
    assert nodule.p_holm == pytest.approx(2 * nodule.p)
    assert verdict(comparison).startswith("No difference was shown")  # 0.0625 with six patients
    shown = replace(comparison, pairs=(side, replace(nodule, p_holm=0.01)))
    assert verdict(shown).endswith("/b better at 3D nodule en.")
    assert "fewer than 20 patients" in comparison.warnings[0]
    draw_comparison(comparison, tmp_path / "compare.png")
    assert Image.open(tmp_path / "compare.png").width > 500


def test_answers_of_an_older_version_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [1.0] * 4)
    lines = (folder / "answers.jsonl").read_text()
    (folder / "answers.jsonl").write_text(lines.replace('"question_type"', '"kind"'))
    with pytest.raises(UserError, match="question_type"):
        read_run(folder)


def test_other_samples_protocols_or_truths_are_refused(tmp_path: Path) -> None:
    base = read_run(write_run(tmp_path / "a", [1.0] * 4))
    others = {
        "other protocols": write_run(tmp_path / "b", [1.0] * 4, protocol="unimed"),
        "other samples": write_run(tmp_path / "c", [1.0] * 5),
        "disagree about the truth": write_run(tmp_path / "d", [1.0] * 4, truth="no"),
    }
    for message, folder in others.items():
        with pytest.raises(UserError, match=message):
            compare_runs([base, read_run(folder)])
    with pytest.raises(UserError, match="no finished evaluation"):
        read_run(tmp_path)
    with pytest.raises(UserError, match="two runs"):
        compare_runs([base])


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write_run(tmp_path / name, [i % 2] * 8)) for i, name in enumerate("ab")]
    with pytest.raises(SystemExit) as done:
        main(["compare", *folders, "--out", str(tmp_path / "out")])
    assert done.value.code == 0 and "+1.00" in capsys.readouterr().out
    pairs = json.loads((tmp_path / "out/compare.json").read_text())["pairs"]
    assert [pair["difference"]["value"] for pair in pairs] == [1.0, 1.0]
