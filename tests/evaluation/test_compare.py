"""Two runs: differences by hand, and refusal where a pair would compare what is not the same."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from medmvl.cli.main import main
from medmvl.errors import UserError
from medmvl.evaluation.compare import compare_runs, comparison_table, draw_comparison, read_run, verdict


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
    nodule, side = comparison.pairs
    assert (side.group, nodule.group) == ("3D side en", "3D nodule en")
    assert (nodule.score, nodule.base_score, nodule.difference.value) == (1.0, 0.0, 1.0)
    assert nodule.difference.n == 12 and nodule.difference.clusters == 6
    assert nodule.p == pytest.approx(2 / 2**6) and side.p == 1.0  # six patients, all for the second
    assert nodule.p_holm == pytest.approx(2 * nodule.p)
    assert verdict(comparison).startswith("No difference was shown")  # 0.0625 with six patients
    shown = replace(comparison, pairs=(replace(nodule, p_holm=0.01), side))
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


def test_what_differs_next_to_the_model_is_said(tmp_path: Path) -> None:
    base = read_run(write_run(tmp_path / "a", [1.0] * 80))
    made = {
        "data": "d1", "dtype": "float32", "options": {"max_new_tokens": 256, "seed": 0}, "versions": {"medmvl": "0.2.0"},
    }  # fmt: skip
    first = replace(base, about={**base.about, **made})
    assert (
        compare_runs([first, replace(first, name="b")]).warnings == compare_runs([base, first]).warnings == ()
    )
    other = {**made, "data": "d2", "options": {"max_new_tokens": 8, "seed": 1}}
    (warning,) = compare_runs([first, replace(base, name="b", about={**base.about, **other})]).warnings
    assert warning.endswith("b differ in more than the model: data, max_new_tokens (256 and 8)")


def test_each_pair_is_one_line_of_a_terminal_of_80_columns(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, [i % 2] * 8)) for i, name in enumerate("ab")]
    comparison = compare_runs(runs)
    long = [replace(pair, group="2D xray_cardiomegaly zh") for pair in comparison.pairs]
    console = Console(width=80, record=True, file=StringIO())
    console.print(comparison_table(replace(comparison, pairs=tuple(long))))
    lines = [line for line in console.export_text().splitlines() if "cardiomegaly" in line]
    assert len(lines) == 2 and all(
        "2D xray_cardiomegaly zh" in line and "+1.00]" in line for line in lines
    ), lines


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write_run(tmp_path / name, [i % 2] * 8)) for i, name in enumerate("ab")]
    with pytest.raises(SystemExit) as done:
        main(["compare", *folders, "--out", str(tmp_path / "out")])
    assert done.value.code == 0 and "+1.00" in capsys.readouterr().out
    pairs = json.loads((tmp_path / "out/compare.json").read_text())["pairs"]
    assert [pair["difference"]["value"] for pair in pairs] == [1.0, 1.0]
