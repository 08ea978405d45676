"""CT-RATE, M3D and 3D-RAD: units, studies, dates, prior volumes, types of question."""

import shutil
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmvl.data.sources import open_data
from medmvl.datasets.gathering.ct_rate_questions import read_entry
from medmvl.datasets.public import find_task
from medmvl.datasets.public.ct_rate import ABNORMALITIES
from medmvl.errors import UserError
from medmvl.imaging import read
from medmvl.schema import Sample, TextBlock, VolumeBlock
from medmvl.tasks import judge
from tests.factories.public_datasets import convert, ct_rate, everything, m3d, rad_3d, samples


def question_types(part: list[Sample]) -> dict[str, int]:
    return dict(Counter(one.target.question_type for one in part if one.target))


def test_ct_rate_reports_questions_labels_and_dates(tmp_path: Path) -> None:
    summary = convert("ct-rate", ct_rate(tmp_path / "raw"), tmp_path / "out")
    counts = {
        split: (part["files"], part["studies"], part["patients"]) for split, part in summary["splits"].items()
    }
    assert counts == {"train": (4, 3, 2), "test": (2, 1, 1)}, "volumes, studies, patients"
    parts = samples(tmp_path / "out")
    assert question_types(parts["test"]) == {
        "report": 2,
        "long": 1,
        "short": 1,
        "choice": 1,
        "conversation": 1,
    }
    by_id = {one.id: one for one in parts["train"]}
    first = by_id["ct_rate-report-train_1_a_1.nii.gz"]
    assert first.messages[-1].text == "Findings: Nodule in train_1_a. Impression: Lung nodule."
    assert first.labels["Lung nodule"] == 1 and first.labels["Pleural effusion"] == 0
    assert set(first.labels) <= set(ABNORMALITIES) and len(set(ABNORMALITIES)) == 18
    assert (first.patient, first.study) == ("ct-rate:train_1", "ct-rate:train_1_a")
    assert (
        first.days_before_current == 100
        and by_id["ct_rate-report-train_1_b_1.nii.gz"].days_before_current == 0
    )


def test_ct_rate_is_read_in_hounsfield_units_from_either_release(tmp_path: Path) -> None:
    convert("ct-rate", ct_rate(tmp_path / "fixed"), tmp_path / "a")
    stored = ct_rate(tmp_path / "stored")
    shutil.rmtree(stored / "dataset" / "train_fixed")
    shutil.rmtree(stored / "dataset" / "valid_fixed")
    for part in ("train", "valid"):
        shutil.copytree(tmp_path / "fixed" / "dataset" / f"{part}_fixed", stored / "dataset" / part)
        for path in (stored / "dataset" / part).rglob("*.nii.gz"):
            image = nib.load(path)
            bare = nib.Nifti1Image(np.asanyarray(image.dataobj.get_unscaled()), image.affine)
            bare.header.set_slope_inter(1, 0)
            nib.save(bare, path)
    summary = convert("ct-rate", stored, tmp_path / "b")
    assert (
        summary["notes"]["volumes copied because the release without _fixed does not hold Hounsfield units"]
        == 6
    )
    for split in ("train", "test"):
        fixed, copied = (open_data(tmp_path / name / f"{split}.jsonl") for name in "ab")
        for one, other in zip(fixed.samples, copied.samples, strict=True):
            seen, again = fixed.load(one.visuals[0]), copied.load(other.visuals[0])
            assert seen.units == again.units == "HU" and seen.array.min() < -900
            np.testing.assert_array_equal(seen.array, again.array)
            np.testing.assert_allclose(seen.affine, again.affine)


def test_ct_rate_choices_conversations_and_study_reports(tmp_path: Path) -> None:
    convert("ct-rate", ct_rate(tmp_path / "raw"), tmp_path / "out")
    (choice,) = find_task("ct-rate-choice").load(tmp_path / "out").samples
    assert choice.messages[0].text == "What is seen? (a) Nodule (b) Effusion (c) None of the above"
    assert choice.target and choice.target.choices == ("Nodule", "Effusion", "None of the above")
    said = ("(a) Nodule", "It is a nodule.", "effusion", "nodule or effusion", "(b) Effusion", "")
    assert [judge(text, choice.target).score for text in said] == [1, 1, 0, 0, 0, 0]
    (talk,) = find_task("ct-rate-conversation").load(tmp_path / "out").samples
    assert [message.role for message in talk.messages] == ["user", "assistant"] * 2
    assert len(talk.visuals) == 1 and talk.prompt().messages[-1].text == "Where is it?"
    assert len(find_task("ct-rate-report").load(tmp_path / "out").samples) == 2
    assert len(find_task("ct-rate-report-study").load(tmp_path / "out").samples) == 1


def test_ct_rate_says_what_is_missing(tmp_path: Path) -> None:
    raw = ct_rate(tmp_path / "raw")
    (raw / "dataset/train_fixed/train_2/train_2_a/train_2_a_1.nii.gz").unlink()
    with pytest.raises(
        UserError, match=r"report of train_2_a_1\.nii\.gz: the file dataset/train_fixed/.* is missing"
    ):
        convert("ct-rate", raw, tmp_path / "out")
    summary = convert("ct-rate", raw, tmp_path / "out", skip_bad=True)
    assert summary["left_out"]["bad"] == 1 and summary["splits"]["train"]["patients"] == 1


def test_a_choice_without_readable_options_stays_open() -> None:
    entry = {
        "conversations": [
            {"from": "human", "value": "Which?<multiple_choice>"},
            {"from": "gpt", "value": "A"},
        ]
    }
    ((turn,), conversation) = read_entry(entry)
    assert (turn.question_type, turn.choices, conversation) == ("choice", (), False)
    with pytest.raises(UserError, match="a human turn and then a gpt turn"):
        read_entry({"conversations": entry["conversations"][::-1]})
    with pytest.raises(UserError, match="found 1 of them"):
        read_entry({"conversations": entry["conversations"][:1]})


def test_m3d_keeps_the_volumes_of_a_case_together(tmp_path: Path) -> None:
    summary = convert("m3d", m3d(tmp_path / "raw"), tmp_path / "out")
    assert summary["left_out"]["leaks"] == 1, "the training caption of the case whose other volume is test"
    assert summary["notes"] == {"captions of the list test100, which repeats others": 1}
    parts = samples(tmp_path / "out")
    assert question_types(parts["train"]) == {"report": 1, "open_plane": 1, "choice_plane": 1}
    studies = [{one.study for one in part} for part in parts.values()]
    assert sum(map(len, studies)) == len(set.union(*studies))
    (report,) = find_task("m3d-caption").load(tmp_path / "out").samples
    assert report.messages[-1].text == "Case 1 shows a mass."
    (choice,) = find_task("m3d-choice").load(tmp_path / "out").samples
    asked = "In which plane is it? Choices: A. axial B. coronal C. sagittal D. oblique"
    assert choice.messages[0].text == asked and choice.messages[-1].text == "A. axial"
    assert choice.target and [judge(said, choice.target).score for said in ("A", "A. axial", "B.")] == [
        1,
        1,
        0,
    ]
    volume = open_data(tmp_path / "out" / "test.jsonl").load(choice.visuals[0])
    assert volume.units == "arbitrary" and volume.spacing_mm is None, "the arrays say neither"


def test_3d_rad_shows_dated_prior_volumes(tmp_path: Path) -> None:
    convert("3d-rad", rad_3d(tmp_path / "raw"), tmp_path / "out")
    parts = samples(tmp_path / "out")
    (one,) = parts["train"]
    assert [Path(block.path).name for block in one.visuals] == [
        "train_3_b_1.npy", "train_3_c_1.npy", "train_3_d_1.npy",
    ]  # fmt: skip
    assert [block.days_before_current for block in one.visuals] == [58, 30, None]
    said = [block.text for block in one.messages[0].content if isinstance(block, TextBlock)]
    assert said[:3] == ["Earlier CT (58 days before): ", "Earlier CT (30 days before): ", "Current CT: "]
    assert said[3] == "How has it changed? Choices: A. New Lesion B. Resolved Lesion C. No Abnormality"
    assert one.target and one.target.answers == ("B. Resolved Lesion", "B", "Resolved Lesion")
    (test,) = parts["test"]
    assert test.target and (test.target.question_type, test.target.choices) == ("computation", ())
    assert test.patient == "ct-rate:valid_7", "named as in CT-RATE, so that leaks between the two are seen"


def test_3d_rad_without_dates_or_priors(tmp_path: Path) -> None:
    raw = rad_3d(tmp_path / "raw")
    shutil.rmtree(raw / "dataset")
    convert("3d-rad", raw, tmp_path / "a")
    (one,) = samples(tmp_path / "a")["train"]
    assert one.messages[0].text.startswith("Earlier CT (date unknown): ")
    assert {block.days_before_current for block in one.visuals if isinstance(block, VolumeBlock)} == {None}
    for letter in "abc":
        (raw / "Images" / "train" / f"train_3_{letter}_1.npy").unlink()
    summary = convert("3d-rad", raw, tmp_path / "b")
    assert summary["notes"] == {"longitudinal questions whose prior volumes are not there": 1}
    (one,) = samples(tmp_path / "b")["train"]
    assert len(one.visuals) == 1 and one.messages[0].text.startswith("How has it changed?")
    (raw / "Images" / "test" / "test_7_a_1.npy").unlink()
    with pytest.raises(UserError, match=r"there is no volume valid_7_a_1\.npy"):
        convert("3d-rad", raw, tmp_path / "c")


def test_volumes_are_not_decoded_but_empty_ones_are_bad(tmp_path: Path) -> None:
    raw = m3d(tmp_path / "raw")
    (raw / "M3D_Cap_npy/ct_quizze/000003/Axial.npy").write_bytes(b"")
    summary = convert("m3d", raw, tmp_path / "out", skip_bad=True)
    assert summary["left_out"]["bad"] == 2 and "validation" not in summary["splits"]
    assert all(one.study != "m3d:ct_quizze/000003" for one in everything(tmp_path / "out"))


@pytest.mark.parametrize("said", ["[0.6, 0.7]", "0.6", "(0.6,0.6)"])
def test_ct_rate_without_fixed_takes_its_spacing_from_the_table(tmp_path: Path, said: str) -> None:
    """Headers of that release are those of saving: 1 x 1 x 1 mm, whatever the scan."""
    raw = ct_rate(tmp_path / "raw", fixed=False)
    for path in raw.rglob("*.nii.gz"):
        stored = np.asanyarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(stored, np.diag([-1.0, -1, 1, 1])), path)
    for path in raw.rglob("*_metadata.csv"):
        path.write_text(path.read_text().replace('"[0.75, 0.75]"', f'"{said}"'))
    summary = convert("ct-rate", raw, tmp_path / "out")
    volume = read(next((tmp_path / "out" / "volumes").glob("train_1_a_1.nii.gz")))
    assert volume.spacing_mm == pytest.approx((1.5, 0.7 if "0.7" in said else 0.6, 0.6))
    assert (volume.axcodes, volume.acquired_axcodes) == (("S", "P", "L"), ("S", "P", "L"))
    assert not [warning for warning in volume.warnings if "disagree" in warning]
    assert any("spacing" in note for note in summary["notes"])
    for path in raw.rglob("*_metadata.csv"):
        path.write_text(path.read_text().replace("XYSpacing", "Unsaid"))
    with pytest.raises(UserError, match="nothing says the spacing"):
        convert("ct-rate", raw, tmp_path / "untold")
