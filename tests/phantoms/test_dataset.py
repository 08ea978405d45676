"""Data sets on disk: equal when read in every format, same bytes for a seed, patients whole."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medmvl.errors import UserError
from medmvl.imaging import read
from medmvl.phantoms import make_patient, render_ct, render_xray, write_dataset
from medmvl.phantoms.dataset import SPLITS, default_splits
from medmvl.schema import VolumeBlock, iter_samples


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.mark.parametrize("format", ["npy", "nifti", "dicom"])
def test_what_is_written_reads_back_equal_and_again_the_same_bytes(tmp_path, format):
    for name in ("one", "two"):
        write_dataset(tmp_path / name, patients=4, seed=3, preset="tiny", format=format)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    checked = set()
    for split in SPLITS:
        for sample in iter_samples(tmp_path / "one" / f"{split}.jsonl"):
            block = sample.visuals[0]
            if block.path in checked:
                continue
            checked.add(block.path)
            image = read(tmp_path / "one" / block.path, **block.declared)
            patient = make_patient(3, int(sample.patient.rsplit("-", 1)[1]), "tiny")
            truth = render_ct(patient) if isinstance(block, VolumeBlock) else render_xray(patient)
            assert np.array_equal(image.array, truth.array)
            assert (image.units, image.modality, image.axcodes) == (
                truth.units,
                truth.modality,
                truth.axcodes,
            )
            assert image.spacing_mm == pytest.approx(truth.spacing_mm)
            if format != "npy" and truth.kind == "volume":
                assert np.allclose(image.affine, truth.affine, atol=1e-4)
    assert len(checked) == 8


def test_priors_are_written_as_studies_of_their_own(tmp_path):
    write_dataset(tmp_path / "out", patients=4, preset="chest", format="dicom", shape=(4, 16, 16))
    paired = [s for s in iter_samples(tmp_path / "out" / "train.jsonl") if len(s.visuals) == 2]
    assert paired
    for sample in paired:
        arrays = [read(tmp_path / "out" / block.path, **block.declared).array for block in sample.visuals]
        assert arrays[0].shape == arrays[1].shape
        assert not np.array_equal(*arrays)
        studies = {study_uid(tmp_path / "out" / block.path) for block in sample.visuals}
        assert len(studies) == 2


def study_uid(path: Path) -> str:
    first = min(path.iterdir()) if path.is_dir() else path
    return pydicom.dcmread(first, stop_before_pixels=True).StudyInstanceUID


def test_workers_change_nothing(tmp_path):
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), patients=5, preset="tiny", workers=workers)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_splits_never_divide_a_patient_and_reports_show_each_study_once(tmp_path):
    summary = write_dataset(
        tmp_path / "out", patients=10, preset="tiny", splits={"train": 6, "validation": 1, "test": 3}
    )
    patients, studies = {}, []
    for split in SPLITS:
        patients[split] = {s.patient for s in iter_samples(tmp_path / "out" / f"{split}.jsonl")}
        reports = list(iter_samples(tmp_path / "out" / f"{split}_reports.jsonl"))
        studies += [s.image_group for s in reports]
        assert all(s.target.question_type.endswith("_report") and s.labels for s in reports)
    assert [len(patients[split]) for split in SPLITS] == [6, 1, 3]
    assert not patients["train"] & (patients["validation"] | patients["test"])
    assert len(studies) == len(set(studies)) == 20
    stored = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert stored == summary
    assert "not medicine" in stored["statement"]


def test_default_splits_are_whole_blocks_where_possible():
    assert default_splits(3400) == {"train": 2760, "validation": 320, "test": 320}
    assert default_splits(10) == {"train": 8, "validation": 1, "test": 1}
    assert default_splits(1) == {"train": 1, "validation": 0, "test": 0}


def test_nothing_is_overwritten_and_nothing_left_behind(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        write_dataset(tmp_path / "full", patients=2, preset="tiny")

    def fail(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "new", patients=2, preset="tiny", progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0},
        {"splits": {"train": 3}},
        {"splits": {"dev": 2}},
        {"format": "raw"},
        {"preset": "none"},
        {"workers": 0},
    ],
)
def test_wrong_options_are_user_errors(tmp_path, wrong):
    with pytest.raises(UserError):
        write_dataset(tmp_path / "out", **({"patients": 2, "preset": "tiny"} | wrong))
    assert not list(tmp_path.iterdir())


def test_command_prints_sizes_and_counts(tmp_path, capsys):
    from medmvl.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(["phantoms", str(tmp_path / "out"), "--patients", "4", "--preset", "tiny", "--shape", "8,16,16"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "Finding sizes" in printed and "ct_nodule" in printed and "not medicine" in printed
    with pytest.raises(SystemExit) as stopped:
        main(["phantoms", str(tmp_path / "other"), "--shape", "8x16x16"])
    assert stopped.value.code == 2
    assert "three whole numbers" in capsys.readouterr().err


def test_preview_is_an_image(tmp_path):
    from PIL import Image

    from medmvl.phantoms.preview import write_preview

    write_preview(tmp_path / "sheet.png", seed=0, preset="quickstart", patients=1)
    assert Image.open(tmp_path / "sheet.png").size == (6 * 256, 256)
