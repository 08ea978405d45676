"""Benchmarks on volumes: their published layouts, splits, question types and identities, and what is wrong in them by name."""

import json
from pathlib import Path

import pytest

from medmvl.datasets.public import find_task
from medmvl.datasets.public.deeptumorvqa import STAGE_OF, STAGES, options_in
from medmvl.errors import UserError
from medmvl.tasks.protocols import STRICT, find_protocol
from medmvl.tasks.protocols.predictions import record_of
from medmvl.tasks.protocols.scoring import score
from tests.factories.public_datasets import (
    MR_RATE_LABELS,
    amos_mm,
    convert,
    ct_rate,
    ct_spatialvqa,
    deeptumorvqa,
    document,
    everything,
    lines,
    mr_rate,
    samples,
    table,
)


def test_ct_spatialvqa_is_asked_about_ct_rates_validation_scans(tmp_path: Path) -> None:
    summary = convert("ct-spatialvqa", ct_spatialvqa(tmp_path / "raw"), tmp_path / "out")
    assert set(summary["splits"]) == {"test"} and summary["splits"]["test"]["samples"] == 3
    asked = everything(tmp_path / "out")
    assert [one.study for one in asked] == ["ct-rate:valid_1_a", "ct-rate:valid_1_a", "ct-rate:valid_2_b"]
    assert {block.units for one in asked for block in one.visuals} == {"HU"}
    task = find_task("ct-spatialvqa").load(tmp_path / "out")
    said = ("Bilateral.", "No", "The upper lobe of the left lung.")
    records = [record_of(one, {"prediction": text}) for one, text in zip(task.samples, said, strict=True)]
    assert score(records, find_protocol(task.protocol))[0].measure.value == pytest.approx(2 / 3), (
        "judged by what is claimed"
    )
    convert("ct-rate", ct_rate(tmp_path / "ct-rate"), tmp_path / "other")
    shared = {one.study for one in asked} & {one.study for one in samples(tmp_path / "other")["test"]}
    assert shared == {"ct-rate:valid_1_a"}, "a leak between the two is seen"


def test_ct_spatialvqa_takes_a_scan_from_where_its_table_says(tmp_path: Path) -> None:
    raw = ct_spatialvqa(tmp_path / "raw")
    (raw / "scans").mkdir()
    (raw / "valid_fixed" / "valid_2_b_2.nii.gz").rename(raw / "scans" / "valid_2_b_2.nii.gz")
    path = raw / "spatial_qa_filtered_full_nifti.jsonl"
    root = "3D_VLM_Spatial/dataset/data_volumes/dataset/valid_fixed/valid_2"
    path.write_text(path.read_text(encoding="utf-8").replace(root, "scans/valid_2"), encoding="utf-8")
    convert("ct-spatialvqa", raw, tmp_path / "out")
    assert [one.visuals[0].units for one in everything(tmp_path / "out")] == ["HU", "HU", None], (
        "only valid_fixed is known"
    )


def test_ct_spatialvqa_names_what_is_missing(tmp_path: Path) -> None:
    raw = ct_spatialvqa(tmp_path / "raw")
    (raw / "valid_fixed" / "valid_2_b_2.nii.gz").unlink()
    with pytest.raises(
        UserError, match=r"question 3: the scan is missing: .*valid_fixed/valid_2_b_2\.nii\.gz"
    ):
        convert("ct-spatialvqa", raw, tmp_path / "out")
    lines(raw / "second.jsonl", [{"case_id": "valid_1_a_1.nii.gz"}])
    with pytest.raises(UserError, match=r"expected one \.jsonl file .*second\.jsonl"):
        convert("ct-spatialvqa", raw, tmp_path / "out")


def test_deeptumorvqa_is_asked_by_stage(tmp_path: Path) -> None:
    assert len(STAGE_OF) == 42 and sum(map(len, STAGES.values())) == 42
    raw = deeptumorvqa(tmp_path / "raw")
    summary = convert("deeptumorvqa", raw, tmp_path / "out")
    stages = [stage.replace(" ", "_") for stage in STAGES]
    assert set(summary["splits"]["test"]["question_types"]) == {
        f"{form}_{one}" for form in ("choice", "open") for one in stages
    }
    assert summary["notes"] == {"questions about one slice of a scan, because train/ct/ is not there": 1}
    choices = find_task("deeptumorvqa").load(tmp_path / "out").samples
    assert [one.target.answers for one in choices if one.target] == [
        ("B", "Yes"), ("B", "181.5"), ("B", "2"), ("A", "Normal (no splenomegaly)"),
    ]  # fmt: skip
    assert "segment B: 4?\nA. 1\nB. 2\nC. 3\n" in choices[2].messages[0].text
    assert choices[1].patient == "bdmap:BDMAP_00000001"
    said = ("B. Yes", "A", "It is B.", "<think>A?</think> A")
    records = [record_of(one, {"prediction": text}) for one, text in zip(choices, said, strict=True)]
    scores = {one.question_type: one.measure.value for one in score(records, STRICT)}
    assert scores["all"] == 0.75 and scores["choice_measurement"] == scores["organ volume measurement"] == 0
    assert scores["choice_visual_reasoning"] == scores["lesion counting"] == 1, (
        "by stage, and by type of question"
    )
    nested = deeptumorvqa(tmp_path / "nested")
    flat = nested / "benchmark" / "test_qa.jsonl"
    questions = [json.loads(line) for line in flat.read_text(encoding="utf-8").splitlines()]
    flat.unlink()
    document(nested / "benchmark" / "test_qa.json", {"num_questions": 4, "questions": questions})
    convert("deeptumorvqa", nested, tmp_path / "other")
    texts = [[one.messages for one in everything(tmp_path / name)] for name in ("out", "other")]
    assert [m[0].text for m in texts[0]] == [m[0].text for m in texts[1]], "either form of the table"


def test_deeptumorvqa_names_what_is_wrong(tmp_path: Path) -> None:
    raw = deeptumorvqa(tmp_path / "raw")
    table = raw / "benchmark" / "test_qa.jsonl"
    good = json.loads(table.read_text(encoding="utf-8").splitlines()[0])
    for change, said in (
        ({"question_subtype": "gallstones"}, "'gallstones' is none of the 42"),
        ({"question_type": "measurement"}, "is published as recognition, but its question_type is 'measurement'"),
        ({"correct_option": "D"}, "'D' is none of the letters of its 2 options"),
        ({"mc_question": "Is there a lesion?"}, "ends in no options A:, B:"),
        ({"image_id": "../../secret"}, "leads out of the data set's folder"),
        ({"image_id": "BDMAP_00000009"}, r"BDMAP_00000009/ct\.nii\.gz is missing"),
    ):  # fmt: skip
        lines(table, [good | change])
        with pytest.raises(UserError, match=f"test_qa.jsonl, question 1: .*{said}"):
            convert("deeptumorvqa", raw, tmp_path / "out")


def test_options_are_the_last_list_of_a_question() -> None:
    assert options_in("Grade A: or B: of A? A: one B: two") == ("Grade A: or B: of A?", ["one", "two"])
    with pytest.raises(UserError, match="ends in no options"):
        options_in("Which? A: one C: three")


def test_amos_mm_asks_for_reports_by_region_and_choices(tmp_path: Path) -> None:
    summary = convert("amos-mm", amos_mm(tmp_path / "raw"), tmp_path / "out")
    question_types = {"abdomen_report": 1, "choice": 2, "pelvis_report": 1}
    assert {name: part["question_types"] for name, part in summary["splits"].items()} == {
        "train": question_types,
        "test": question_types,
    }
    abdomen, pelvis = find_task("amos-mm-report").load(tmp_path / "out").samples
    assert abdomen.messages[-1].text == "Cyst in the liver of amos_7008." and pelvis.study == "amos:amos_7008"
    assert abdomen.visuals[0].units == "HU"
    first = find_task("amos-mm-choice").load(tmp_path / "out").samples[0]
    assert first.target is not None and first.target.answers == ("A", "Cyst")


def test_amos_mm_in_one_table_is_the_same(tmp_path: Path) -> None:
    raw = amos_mm(tmp_path / "raw")
    halves = [
        json.loads((raw / f"{name}_train_val.json").read_text()) for name in ("report_generation", "vqa")
    ]
    whole = {
        part: [one | {"labels": one["labels"] | other["labels"]} for one, other in zip(*(h[part] for h in halves), strict=True)]
        for part in ("training", "validation")
    }  # fmt: skip
    document(raw / "dataset.json", whole)
    with pytest.raises(UserError, match=r"dataset\.json repeats the other tables"):
        convert("amos-mm", raw, tmp_path / "out")
    convert("amos-mm", raw := amos_mm(tmp_path / "again"), tmp_path / "halves")
    (raw / "vqa_train_val.json").unlink()
    (raw / "report_generation_train_val.json").unlink()
    document(raw / "dataset.json", whole)
    convert("amos-mm", raw, tmp_path / "out")
    ids = [{one.id for one in everything(tmp_path / name)} for name in ("out", "halves")]
    assert ids[0] == ids[1] and len(ids[0]) == 8


def test_amos_mm_names_what_is_wrong(tmp_path: Path) -> None:
    raw = amos_mm(tmp_path / "raw")
    path = raw / "vqa_train_val.json"
    good = json.loads(path.read_text())
    for change, said in (
        ({"labels": {}}, "validation 1: amos_7008: expected labels with report or qa"),
        ({"labels": {"report": {"findings": "All well."}}}, "expected findings by region"),
        ({"labels": {"qa": [{"question": "q", "options": {"A": "a"}, "answer": "A"}]}}, "amos_7008, qa 1: expected options"),
        ({"image": "./imagesVa/amos_9.nii.gz"}, r"imagesVa/amos_9\.nii\.gz is missing"),
    ):  # fmt: skip
        document(path, good | {"validation": [good["validation"][0] | change]})
        with pytest.raises(UserError, match=said):
            convert("amos-mm", raw, tmp_path / "out")


def test_mr_rate_shows_all_series_in_the_order_of_their_acquisition(tmp_path: Path) -> None:
    summary = convert("mr-rate", mr_rate(tmp_path / "raw"), tmp_path / "out")
    counts = {
        name: (part["studies"], part["patients"], part["files"]) for name, part in summary["splits"].items()
    }
    assert counts == {"train": (2, 1, 3), "test": (1, 1, 3)}
    by_id = {one.id: one for one in everything(tmp_path / "out")}
    shown = [Path(block.path).name for block in by_id["mr_rate-S3"].visuals]
    assert shown == ["S3_t1w-raw-axi-2.nii.gz", "S3_t1w-raw-axi.nii.gz", "S3_flair-raw-axi.nii.gz"]
    assert all((tmp_path / "out" / block.path).is_file() for one in by_id.values() for block in one.visuals)
    assert by_id["mr_rate-S1"].days_before_current == 60 and by_id["mr_rate-S2"].days_before_current == 0
    assert (
        set(by_id["mr_rate-S1"].labels) == set(MR_RATE_LABELS)
        and by_id["mr_rate-S1"].labels["Pathology 3"] == 1
    )
    assert by_id["mr_rate-S2"].messages[-1].text == "Findings: White matter of S2. Impression: \u2014 Normal."
    assert not list((tmp_path / "out").rglob("*mask*")), "masks stay in the archive"


def test_mr_rate_names_what_is_wrong(tmp_path: Path) -> None:
    raw = mr_rate(tmp_path / "raw")
    archive = raw / "mri" / "batch00" / "S3.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:200])
    with pytest.raises(UserError, match=r"reports\.csv, row 3: S3\.zip is not a readable zip archive"):
        convert("mr-rate", raw, tmp_path / "out")
    middle = len(whole) // 3
    archive.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(UserError, match=r"row 3: S3\.zip is not a readable zip archive \(Bad CRC"):
        convert("mr-rate", raw, tmp_path / "out")
    archive.unlink()
    with pytest.raises(UserError, match=r"row 3: neither mri/\*/S3\.zip nor a folder"):
        convert("mr-rate", raw, tmp_path / "out")
    archive.write_bytes(whole)
    (raw / "mri" / "batch00" / "S2" / "img" / "S2_t1w-raw-axi.nii.gz").unlink()
    with pytest.raises(UserError, match="row 2: study S2: no img/ of t1w-raw-axi in S2"):
        convert("mr-rate", raw, tmp_path / "out")
    splits = [{"patient_uid": "P1", "study_uid": "S1", "split": "holdout"}]
    table(raw / "splits.csv", splits)
    with pytest.raises(UserError, match=r"splits\.csv: expected train, .* found 'holdout'"):
        convert("mr-rate", raw, tmp_path / "out")
    table(raw / "splits.csv", [splits[0] | {"split": "train"}])
    with pytest.raises(UserError, match=r"row 3: splits\.csv has neither the study S3 nor its patient"):
        convert("mr-rate", raw, tmp_path / "out")
    table(raw / "splits.csv", [splits[0] | {"split": one, "study_uid": one} for one in ("train", "test")])
    with pytest.raises(UserError, match="the patient P1 is in train and in test"):
        convert("mr-rate", raw, tmp_path / "out")


def test_mr_rate_is_split_by_patient(tmp_path: Path) -> None:
    raw = mr_rate(tmp_path / "raw")
    rows = [{"patient_uid": "P1", "split": "train"}, {"patient_uid": "P2", "split": "Validation"}]
    table(raw / "splits.csv", rows)
    convert("mr-rate", raw, tmp_path / "out")
    assert {name: len(part) for name, part in samples(tmp_path / "out").items()} == {
        "train": 2,
        "validation": 1,
    }
