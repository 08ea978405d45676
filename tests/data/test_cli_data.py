"""`medmvl data`: what it prints, what it writes, and with which exit code it ends."""

import json
from pathlib import Path

import pytest

from medmvl.cli.main import main
from tests.factories.data import dataset, image_file
from tests.factories.training import recipe, write_recipe


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_check_tells_good_from_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset(tmp_path)
    assert run("check", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    (tmp_path / "images" / "1.png").unlink()
    assert run("check", path) == 2
    out = capsys.readouterr().out
    assert "Wrong:    1 files that are not there" in out
    assert "s10" in out
    assert run("check", tmp_path / "gone.jsonl") == 2
    assert run("check") == 2


def test_check_counts_tokens_with_the_processor_of_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    dataset(tmp_path)
    document = recipe(train=[{"path": "train.jsonl"}], data={"train": [{"path": "train.jsonl"}]})
    file = write_recipe(tmp_path / "r.yaml", document)
    assert run("check", "--recipe", file) == 0
    out = capsys.readouterr().out
    assert "14 in train" in out
    assert "Limit:    256 tokens" in out
    assert "visual" in out
    document["model"]["max_length"] = 34
    assert run("check", "--recipe", write_recipe(tmp_path / "r.yaml", document)) == 2
    assert "would lose their answer" in capsys.readouterr().out


def test_from_csv_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        image_file(tmp_path / "x" / f"{number}.png", number)
    rows = "\n".join(f"{number},{number}.png,All clear." for number in range(10))
    (tmp_path / "t.csv").write_text(f"patient,image,report\n{rows}\n11,none.png,x\n")
    out = tmp_path / "out"
    command = ("from-csv", tmp_path / "t.csv", out, "--images", tmp_path / "x")
    assert run(*command) == 2
    assert "none.png" in capsys.readouterr().err
    assert run(*command, "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "patient = 'patient'" in captured.out
    assert "8 samples, 8 patients" in captured.out
    assert "Left out: line 12" in captured.err
    assert run("check", out) == 0


def test_split_keeps_files_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset(tmp_path / "d", patients=6)
    assert run("split", path, tmp_path / "deep" / "out", "--split", "0.5,0.25,0.25") == 0
    assert run("check", tmp_path / "deep" / "out") == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    assert run("split", path, tmp_path / "deep" / "out") == 2


def test_convert_and_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path))
    assert run("convert") == 0
    assert "vqa-rad" in capsys.readouterr().out
    assert run("convert", "nothing", tmp_path, tmp_path) == 2
    assert run("cache") == 0
    assert "0 scans" in capsys.readouterr().out
    assert run("cache", "--clear") == 0
