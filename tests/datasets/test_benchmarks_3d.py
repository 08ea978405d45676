"""Benchmarks on volumes: their published layouts, splits, kinds and identities, and what is wrong in them by name."""

import json
from pathlib import Path

import pytest

from medmvl.datasets.public import find_task
from medmvl.datasets.public.deeptumorvqa import STAGE_OF, STAGES, options_in
from medmvl.errors import UserError
from tests.factories.public_datasets import (
    convert,
    ct_rate,
    ct_spatialvqa,
    deeptumorvqa,
    document,
    everything,
    lines,
    samples,
)


def test_ct_spatialvqa_is_asked_about_ct_rates_validation_scans(tmp_path: Path) -> None:
    summary = convert("ct-spatialvqa", ct_spatialvqa(tmp_path / "raw"), tmp_path / "out")
    assert set(summary["splits"]) == {"test"} and summary["splits"]["test"]["samples"] == 3
    asked = everything(tmp_path / "out")
    assert [one.study for one in asked] == ["ct-rate:valid_1_a", "ct-rate:valid_1_a", "ct-rate:valid_2_b"]
    assert {block.units for one in asked for block in one.visuals} == {"HU"}
    convert("ct-rate", ct_rate(tmp_path / "ct-rate"), tmp_path / "other")
    shared = {one.study for one in asked} & {one.study for one in samples(tmp_path / "other")["test"]}
    assert shared == {"ct-rate:valid_1_a"}, "a leak between the two is seen"


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
    assert set(summary["splits"]["test"]["kinds"]) == {
        f"{form}_{one}" for form in ("choice", "open") for one in stages
    }
    assert summary["notes"] == {"questions about one slice of a scan, because train/ct/ is not there": 1}
    choices = find_task("deeptumorvqa").load(tmp_path / "out").samples
    assert [one.target.answers for one in choices if one.target] == [
        ("B", "Yes"), ("B", "181.5"), ("B", "2"), ("A", "Normal (no splenomegaly)"),
    ]  # fmt: skip
    assert "segment B: 4?\nA. 1\nB. 2\nC. 3\n" in choices[2].messages[0].text
    assert (
        choices[1].task == "deeptumorvqa: organ volume measurement"
        and choices[1].patient == "bdmap:BDMAP_00000001"
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
        ({"image_id": "BDMAP_00000009"}, r"BDMAP_00000009/ct\.nii\.gz is missing"),
    ):  # fmt: skip
        lines(table, [good | change])
        with pytest.raises(UserError, match=f"test_qa.jsonl, question 1: .*{said}"):
            convert("deeptumorvqa", raw, tmp_path / "out")


def test_options_are_the_last_list_of_a_question() -> None:
    assert options_in("Grade A: or B: of A? A: one B: two") == ("Grade A: or B: of A?", ["one", "two"])
    with pytest.raises(UserError, match="ends in no options"):
        options_in("Which? A: one C: three")
