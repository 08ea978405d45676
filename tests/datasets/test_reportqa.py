"""ReportQA: its layout by source, turns of options, identities, the gate by entity, and what is wrong by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.datasets.public import find_task
from medmvl.datasets.public.reportqa import gated_accuracy
from medmvl.errors import UserError
from tests.factories.public_datasets import convert, everything, lines, reportqa, scan

TABLE = Path("ct-rate") / "full" / "qas_filtered_wrong.jsonl"


def test_every_letter_of_a_question_is_right_once(tmp_path: Path) -> None:
    summary = convert("reportqa", reportqa(tmp_path / "raw"), tmp_path / "out")
    assert summary["splits"]["test"]["samples"] == 3 + 5 + 3 + 3 + 3 + 3 + 3
    assert summary["splits"]["test"]["languages"] == {"en": 17, "zh": 6}
    margin = [
        one for one in everything(tmp_path / "out") if one.target and one.target.categories == ("finding", "margin")
    ]  # fmt: skip
    targets = [one.target for one in margin if one.target]
    assert sorted(target.answers for target in targets) == [(letter, "Spiculated") for letter in "ABCDE"]
    for one, target in zip(margin, targets, strict=True):
        assert f"{target.answers[0]}. Spiculated" in one.messages[0].text
        assert "Insufficient information" in one.messages[0].text


def test_scans_and_identities_are_those_of_the_sources(tmp_path: Path) -> None:
    convert("reportqa", reportqa(tmp_path / "raw"), tmp_path / "out")
    asked = everything(tmp_path / "out")
    units = {one.study: one.visuals[0].units for one in asked if one.visuals[0].type == "volume"}
    assert units == {"ct-rate:valid_1_a": "HU", "ctrg-brain:00000": None}
    chest = [one for one in asked if one.visuals[0].type == "image"]
    assert len(chest) == 3 and all(one.patient and one.study for one in chest)
    assert not any(
        number in f"{one.id} {one.patient} {one.study}"
        for one in chest
        for number in ("10000032", "50414267")
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_missed_entity_makes_its_other_questions_wrong(language: str, tmp_path: Path) -> None:
    convert("reportqa", reportqa(tmp_path / "raw"), tmp_path / "out")
    asked = find_task(f"reportqa-{language}").load(tmp_path / "out").samples
    right = {one.id: True for one in asked}
    question_types = (
        {"choice_base", "choice_hierarchical", "choice_negative"} if language == "en" else {"choice_base"}
    )
    assert gated_accuracy(asked, right) == dict.fromkeys(question_types, 1.0)
    attribute = [one.id for one in asked if one.target and "presence" not in (one.target.categories or ())]
    presence = [one.id for one in asked if one.id.rsplit("-", 2)[0] == attribute[0].rsplit("-", 2)[0]]
    lost = gated_accuracy(asked, right | {presence[0]: False})
    assert lost["choice_base"] == (0.5 if language == "en" else 0), "the other English report is all right"
    part = gated_accuracy(asked, right | {attribute[0]: False})["choice_base"]
    assert part == pytest.approx((0.9 + 1) / 2 if language == "en" else (2 / 3 + 1) / 2), "a turn, no gate"
    if language == "en":
        absent = next(one.id for one in asked if one.target and one.target.question_type == "choice_negative")
        found = gated_accuracy(asked, right | {absent: False})
        assert found["choice_negative"] == pytest.approx(2 / 3) and found["choice_base"] == 1
    with pytest.raises(UserError, match="1 ids are only among"):
        gated_accuracy(asked[1:], right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, "expected 0 to 1 as answer"),
        ({"answer": True}, "expected 0 to 1 as answer"),
        ({"options": ["Yes"]}, "expected 2 to 7 options, found 1"),
        ({"options": ["Yes", "Yes"]}, "two of its options are equal"),
        ({"options": {"A": "Yes"}}, "expected a list of texts"),
        ({"question_type": "other"}, "base, hierarchical, negative as question_type, found 'other'"),
        ({"clinical_entity_type": "organ"}, "finding, diagnosis as clinical_entity_type"),
        ({"report_id": "valid_2_a_1.nii.gz"}, "the scan is missing"),
        ({"report_id": "/other/valid_1_a_1.nii.gz"}, "that of another report_id"),
        ({"attribute": "margin"}, "an earlier question has the same"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    raw = reportqa(tmp_path / "raw")
    records = [json.loads(line) for line in (raw / TABLE).read_text(encoding="utf-8").splitlines()]
    lines(raw / TABLE, [records[1], records[0] | change])
    with pytest.raises(UserError, match=rf"ct-rate/qas_filtered_wrong\.jsonl, question 2: .*{message}"):
        convert("reportqa", raw, tmp_path / "out")


def test_folders_of_scans_tell_equal_names_apart(tmp_path: Path) -> None:
    raw = reportqa(tmp_path / "raw")
    scan(raw / "ctrg-brain-zh" / "normal" / "7.nii.gz", 5)
    path = raw / "ctrg-brain-zh" / "full" / "qas_filtered_wrong.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines(path, [*records, records[0] | {"report_id": "/data/normal/7.nii.gz"}])
    convert("reportqa", raw, tmp_path / "out")
    paths = {one.visuals[0].path for one in everything(tmp_path / "out") if one.language == "zh"}
    assert len(paths) == 2


def test_a_folder_without_tables_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "raw" / "ct-rate").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"expected full/qas_filtered_wrong\.jsonl in one of the folders ct-rate"
    ):
        convert("reportqa", tmp_path / "raw", tmp_path / "out")
    raw = reportqa(tmp_path / "both")
    lines(raw / "ct-rate" / TABLE.name, [{}])
    with pytest.raises(UserError, match=r"is there twice"):
        convert("reportqa", raw, tmp_path / "out")
