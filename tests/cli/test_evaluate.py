"""The command: one data file into one folder, and tasks of converted data into a folder each."""

import json
from pathlib import Path

import pytest

from medmvl.cli.main import main
from medmvl.phantoms import write_dataset
from tests.factories.engine import save_tiny_model


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["evaluate", "--batch-size", "16", "--max-new-tokens", "4", "--limit-patients", "3", *arguments])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    save_tiny_model(folder / "model")
    write_dataset(
        folder / "data/phantoms",
        preset="quickstart",
        patients=8,
        seed=3,
        splits={"train": 4, "test": 4},
        workers=1,
    )
    return folder


def test_tasks_get_a_folder_each(place: Path) -> None:
    out = place / "tasks"
    common = [str(place / "model"), "--data", str(place / "data"), "--out", str(out)]
    assert (
        run(
            *common,
            "--tasks",
            "phantoms-ct,phantoms-zh",
            "--protocol",
            "unimed",
            "--robustness",
            "noise",
            "--consistency",
        )
        == 0
    )
    ct, zh = (
        json.loads((out / name / "results.json").read_text()) for name in ("phantoms-ct", "phantoms-zh")
    )
    assert ct["task"] == "phantoms-ct" and {row["modality"] for row in ct["rows"]} == {"3D"}
    assert {row["language"] for row in zh["rows"]} == {"zh"}
    assert ct["majority_from"] == "training answers" and "not medicine" in ct["statement"]
    assert {score["protocol"] for score in ct["protocols"]} == {"strict", "reader", "unimed"}
    assert {row["shift"] for row in zh["robustness"]} == {"noise"}
    assert (out / "phantoms-ct/answers.jsonl").is_file() and (out / "phantoms-ct/cases.png").is_file()
    page = (out / "index.html").read_text()
    assert all(f'href="{name}/page.html"' in page for name in ("phantoms-ct", "phantoms-zh"))
    assert page.count("<tr>") == 2 + len(ct["rows"]) + len(zh["rows"]) and str(out) not in page
    with pytest.raises(SystemExit):
        main(["compare", str(out / "phantoms-ct"), str(out / "phantoms-ct")])


def test_mistakes_are_told_before_anything_is_loaded(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(place / "model"), "--data", str(place / "data"), "--out", str(place / "no")]
    for wrong in (["--tasks", "phantom"], ["--protocol", "stric"], ["--robustness", "blur"]):
        assert run(*common, *wrong) == 2
        assert "known" in capsys.readouterr().err.lower()
    assert not (place / "no").exists()
