"""The doctor: sees what is there, and calls broken only what is needed."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from medmvl.cli import doctor
from medmvl.cli.main import main
from medmvl.digests import SUMS, write_sums


def run_json(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def results_of(found: dict[str, object]) -> dict[str, dict[str, str]]:
    rows = found["checks"]
    assert isinstance(rows, list)
    return {row["name"]: row for row in rows}


def test_this_machine_is_fit_to_run_the_tests(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = run_json(capsys)
    assert (code, report["ok"]) == (0, True)
    results = results_of(report)
    assert results["torch"]["detail"].startswith("2.")
    for syntax in ("JPEG Baseline (Process 1)", "JPEG 2000 Image Compression", "RLE Lossless"):
        assert results[syntax]["level"] == "ok"


def test_the_needed_packages_are_those_of_the_metadata() -> None:
    """A dependency added to pyproject.toml must be known to the doctor."""
    requirements = importlib.import_module("importlib.metadata").requires("medmvl")
    names = {
        requirement.split(">")[0].split("<")[0].strip().lower()
        for requirement in requirements
        if "extra ==" not in requirement
    }
    assert names == set(doctor.NEEDED)


def test_an_absent_extra_is_a_note_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "mkdocs" else real(name))
    code, report = run_json(capsys)
    assert code == 0
    assert results_of(report)["mkdocs"]["level"] == "note"
    assert "pip install -e '.[docs]'" in results_of(report)["mkdocs"]["detail"]


def test_an_absent_dependency_is_broken_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "nibabel" else real(name))
    code, report = run_json(capsys)
    assert (code, report["ok"]) == (2, False)
    assert results_of(report)["nibabel"]["level"] == "broken"


def test_a_torchvision_that_does_not_fit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real_version, real_import = doctor._version, importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real_import(name)

    monkeypatch.setattr(
        doctor, "_version", lambda name: "0.28.0" if name == "torchvision" else real_version(name)
    )
    monkeypatch.setattr("medmvl.cli.doctor.importlib.import_module", import_module)
    (finding,) = doctor.check_torchvision()
    assert finding.level == "broken"
    assert "0.28.0" in finding.detail
    assert "nms" in finding.detail


def test_a_model_is_compared_with_its_digests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it was written, then with a flipped byte, without a file, and without its list: told by name, with exit code 2."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "processor_config.json", "model.safetensors"):
        (folder / name).write_bytes(b"{} of " + name.encode())
    write_sums(folder)

    def said() -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", str(folder)])
        return int(ended.value.code or 0), " ".join(capsys.readouterr().out.split())

    code, text = said()
    assert code == 0
    assert "The model is as it was written." in text
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert said()[0] == 2
    weights.unlink()
    code, text = said()
    assert code == 2
    assert "model.safetensors" in text
    (folder / SUMS).unlink()
    code, text = said()
    assert code == 2
    assert f"has no {SUMS}" in text
