"""Real X-rays, CT and MR from files to answers, by the very commands of docs/how-to/real-data.md; no identity on the way."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from safetensors.torch import load_file

from medmvl.cli.main import main
from medmvl.models.part_names import PARTS
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs/how-to/real-data.md"
SEEN = {
    "ct_dicom_philips_head_phantom/dicom": ("volume", [28, 512, 512], "HU", "CT"),
    "ct_nifti/example_ct.nii.gz": ("volume", [112, 101, 122], "HU", "CT"),
    "mr_nifti/t1_fl2d_sag_HFS.nii.gz": ("volume", [256, 256, 35], "arbitrary", "MR"),
    "xray_png/00000001_000.png": ("image", [512, 512], "display", None),
    "dicom_single/RG1_J2KI.dcm": ("image", [1955, 1841], "arbitrary", "CR"),
    "dicom_single/CT_small.dcm": ("image", [128, 128], "HU", "CT"),
}
"""What the page asks about, and kind, canonical shape, units and modality that the answer must say it saw."""
IDENTIFYING = (
    "PatientName", "PatientID", "OtherPatientIDs", "InstitutionName", "ReferringPhysicianName", "AccessionNumber",
    "StudyDate", "SeriesDate", "ContentDate", "StudyTime", "SeriesTime", "DeviceSerialNumber",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
IN_TABLES = ("PLASTIC", "torso-of-a-patient", "volunteer-1", "2015-02-06", "2020-01-31")
SHORT = 5
"""Shorter values are looked for as whole words of text, not among the bytes of weights."""


@dataclass
class Walk:
    """What the commands of the page left behind."""

    printed: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File below `scans` that was asked about, to the JSON that was printed."""


@pytest.fixture
def folder(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the scans and the page's tables."""
    (tmp_path / "scans").symlink_to(real_data, target_is_directory=True)
    text = PAGE.read_text(encoding="utf-8")
    for name, table in re.findall(r'```csv title="(.*?)"\n(.*?)```', text, re.DOTALL):
        (tmp_path / name).write_text(table)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.real_data
def test_the_page_of_real_data_holds(
    folder: Path, real_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    walk = Walk()
    for _, *words in commands(PAGE):
        out, err = run(words, capfd)
        walk.printed += [out, err]
        if "--json" in words:
            asked = next(word for word in words if word.startswith("scans/"))
            walk.answers[asked.removeprefix("scans/")] = json.loads(out)
    assert any("Nothing is wrong." in text for text in walk.printed)
    check_training(folder / "runs/real")
    check_what_was_seen(walk)
    check_the_test_split(folder, capfd)
    check_identity(folder, real_data, walk)


def run(words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Run one command in this process; it must succeed."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capfd.readouterr()
    assert not stop.value.code, f"{words}\n{err}"
    return out, err


def check_training(run_folder: Path) -> None:
    """The loss falls, and every part learns: 2D and 3D both."""
    history = [json.loads(line) for line in (run_folder / "history.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in history if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    early = load_file(run_folder / "stages/01-answer/checkpoints/checkpoint-40/model.safetensors")
    late = load_file(run_folder / "model/model.safetensors")
    # vectors have no weight decay, so a gradient moved them; a checkpoint holds the model beside its objective
    vectors = [name for name, value in late.items() if value.ndim == 1]
    moved = [name for name in vectors if not late[name].equal(early[f"model.{name}"])]
    for part in PARTS:
        assert any(name.startswith(f"{part}.") for name in moved), part


def check_what_was_seen(walk: Walk) -> None:
    assert walk.answers.keys() == SEEN.keys()
    for file, answer in walk.answers.items():
        (seen,) = answer["seen"]
        assert (seen["kind"], seen["shape"], seen["units"], seen["modality"]) == SEEN[file]
        assert answer["text"] and answer["tokens"] and answer["seconds"] > 0


def check_the_test_split(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every question has its answer, in order, and a run that was cut mid-line ends with the same bytes."""
    answers = folder / "runs/answers.jsonl"
    whole = answers.read_bytes()
    lines = whole.splitlines(keepends=True)
    asked = (folder / "data/vqa-rad/test.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [json.loads(line)["id"] for line in asked]
    answers.write_bytes(b"".join(lines[:-3]) + lines[-3][:9])
    run(list(commands(PAGE))[-1][1:], capfd)
    assert answers.read_bytes() == whole


def identities(real_data: Path) -> set[str]:
    """What the DICOM files and the tables say about who and when."""
    series = sorted((real_data / "ct_dicom_philips_head_phantom/dicom").iterdir())
    found = set(IN_TABLES)
    for file in [*series, *sorted((real_data / "dicom_single").glob("*.dcm"))]:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(IDENTIFYING))
        found |= {str(header.get(name, "")).strip() for name in IDENTIFYING}
        found |= set(str(header.get("PatientName", "")).split("^"))
    return found - {""}


def check_identity(folder: Path, real_data: Path, walk: Walk) -> None:
    """No name, number or date of a patient in what was printed, in the run folders, or in the data sets."""
    values = identities(real_data)
    assert {"CompressedSamples", "9RG1", "QMC", "20150206"} <= values
    said = "\n".join(walk.printed)
    for value in values:
        assert not re.search(rf"(?<![\w.]){re.escape(value)}(?![\w.])", said), value
    long = [value.encode() for value in values if len(value) >= SHORT]
    files = [path for part in ("runs", "data") for path in (folder / part).rglob("*") if path.is_file()]
    assert {"model.safetensors", "recipe.yaml", "dataset.json", "answers.jsonl"} <= {
        path.name for path in files
    }
    for path in files:
        content = path.read_bytes()
        assert not [value for value in long if value in content], path
