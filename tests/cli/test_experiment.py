"""`medmvl experiment`: what a dry run says, and how what is wrong ends."""

from pathlib import Path

import pytest

from medmvl.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["experiment", *arguments])
    out, errors = capsys.readouterr()
    return int(stopped.value.code or 0), out, errors


def test_a_dry_run_lists_runs_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(
        capsys, "phantom-4-alignment", "--dry-run", "--out", str(tmp_path / "out"), "--seeds", "0,2"
    )
    assert code == 0 and "prepared once: text" in out and "6 runs to go" in out
    assert "long-align               seed 2" in out
    assert not (tmp_path / "out").exists()


def test_what_the_chosen_variants_do_not_use_is_not_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    for only, expected in (("random", False), ("labels", True), ("labels,random", True)):
        code, out, _ = run(capsys, "real-3-encoder", "--dry-run", "--only", only)
        assert code == 0 and ("prepared once: labels" in out) is expected


@pytest.mark.slow
def test_a_dry_run_estimates_what_needs_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys,
        "paper-2d-connector",
        "--only",
        "linear-256",
        "--dry-run",
        "--hardware",
        "h100-80gb",
        "--seeds",
        "0",
    )
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("linear-256 ") and "seed" not in line)
    assert "3,173,355,264" in line and " 256 " in line and float(line.split()[-1]) > 1
    assert "GPU-hours to go on h100-80gb" in out
    for needed in ("Qwen/Qwen2.5-3B", "data/unimed/train_unimed.json", "data/unimed/test_unimed.json"):
        assert needed in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("phantom-0",), "Shipped experiments: paper-2d-connector"),
        (("phantom-4-alignment", "--only", "wild"), "no variant 'wild'"),
        (("phantom-4-alignment", "--seeds", "0,7"), "no seed '7'; the experiment has 0, 1, 2"),
        (("phantom-4-alignment", "--seeds", "one"), "--seeds one: expected whole numbers"),
        (("paper-2d-llm", "--only", "qwen2.5-0.5b", "--dry-run", "--hardware", "abacus"), "abacus"),
    ],
)
def test_what_is_wrong_is_named_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, errors = run(capsys, *arguments, "--out", str(tmp_path))
    assert code == 2 and message in errors and "Traceback" not in errors


def test_runs_without_the_reference_are_no_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("medmvl.experiments.run.run_prepared", lambda *_: None)
    monkeypatch.setattr(
        "medmvl.experiments.run.run_missing",
        lambda planned, *_: asked.extend(run.folder.name for run in planned),
    )
    code, out, errors = run(
        capsys, "phantom-4-alignment", "--only", "long-align", "--seeds", "1", "--out", str(tmp_path)
    )
    assert (code, asked, errors) == (0, ["long-align-1"], "")
    assert out == "Nothing is compared before the reference 'with-align' has a finished run.\n"


def test_a_broken_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("question: [")
    code, _, errors = run(capsys, str(file), "--dry-run")
    assert code == 2 and "not valid YAML" in errors
