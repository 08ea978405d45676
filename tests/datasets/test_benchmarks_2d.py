"""Benchmarks on images: their published layouts, splits, question types and identities, and what is wrong in them by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.datasets.public import find_task
from medmvl.errors import UserError
from tests.factories.public_datasets import (
    convert,
    document,
    lines,
    medthinkvqa,
    medxpertqa,
    png,
    rexvqa,
    samples,
    write_parquet,
)


@pytest.mark.parametrize("zipped", [True, False])
def test_medxpertqa_shows_every_image_and_lists_options_once(tmp_path: Path, zipped: bool) -> None:
    summary = convert("medxpertqa", medxpertqa(tmp_path / "raw", zipped), tmp_path / "out")
    assert {name: part["samples"] for name, part in summary["splits"].items()} == {"validation": 1, "test": 2}
    assert summary["splits"]["test"]["question_types"] == {"choice_reasoning": 1, "choice_understanding": 1}
    first, second = find_task("medxpertqa-mm").load(tmp_path / "out").samples
    assert len(first.visuals) == 2 and all((tmp_path / "out" / one.path).is_file() for one in first.visuals)
    assert first.target is not None and first.target.answers == ("C", "Option C")
    assert second.messages[0].text.count("Option A") == 1 and "Answer Choices" not in second.messages[0].text


def test_medxpertqa_names_what_is_wrong(tmp_path: Path) -> None:
    raw = medxpertqa(tmp_path / "raw")
    good = {
        "id": "MM-0", "question": "What?", "options": {"A": "a", "B": "b"}, "label": "A", "images": ["MM-0-a.jpeg"],
        "question_type": "Reasoning",
    }  # fmt: skip
    for change, said in (
        ({"images": []}, "names no images"),
        ({"images": ["MM-7-a.jpeg"]}, "images.zip has no MM-7-a.jpeg"),
        ({"options": {"A": "a", "C": "c"}}, "expected options A, B and so on, found A, C"),
        ({"options": ["a", "b"]}, "expected options as letters with texts, found list"),
        ({"label": "E"}, "'E' is none of the letters of its 2 options"),
        ({"question_type": "Guess"}, "expected Reasoning or Understanding"),
    ):  # fmt: skip
        lines(raw / "MM" / "test.jsonl", [good | change])
        with pytest.raises(UserError, match=f"test.jsonl, question 1: .*{said}"):
            convert("medxpertqa", raw, tmp_path / "out")
    lines(raw / "MM" / "test.jsonl", [good])
    (raw / "images.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"images\.zip is not a readable zip archive"):
        convert("medxpertqa", raw, tmp_path / "out")


def test_rexvqa_shows_every_view_and_hides_who_it_is(tmp_path: Path) -> None:
    summary = convert("rexvqa", rexvqa(tmp_path / "raw"), tmp_path / "out")
    assert {name: part["samples"] for name, part in summary["splits"].items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    assert summary["splits"]["test"]["question_types"] == {
        "choice_negation_detection": 1,
        "choice_presence_assessment": 1,
    }
    first, second = find_task("rexvqa").load(tmp_path / "out").samples
    assert len(first.visuals) == 2 and first.study == second.study and first.patient == second.patient
    assert first.target is not None and first.target.answers == ("B", "Effusion")
    assert "A. None\nB. Effusion\nC. Nodule\nD. Fracture" in first.messages[0].text
    for one in (first, second):
        assert "GRDN" not in f"{one.id}{one.patient}" and "1.2.840" not in f"{one.id}{one.study}"


def test_rexvqa_names_what_is_wrong(tmp_path: Path) -> None:
    raw = rexvqa(tmp_path / "raw")
    path = raw / "metadata" / "test_vqa_data.json"
    name, good = next(iter(json.loads(path.read_text(encoding="utf-8")).items()))
    for change, said in (
        ({"options": ["A. one", "C. two"]}, "expected options that begin with A, B and so on"),
        ({"options": "A. one"}, "expected a list of at least two options"),
        ({"ImagePath": []}, "expected a list of images as ImagePath"),
        ({"ImagePath": ["../deid_png/../../secret.png"]}, "leads out of the data set's folder"),
        ({"ImagePath": ["../deid_png/none.png"]}, r"deid_png/none\.png is missing"),
        ({"correct_answer": "Effusion"}, "'Effusion' is none of the letters of its 4 options"),
        ({"task_name": ""}, "it has no 'task_name'"),
    ):  # fmt: skip
        document(path, {name: good | change})
        with pytest.raises(UserError, match=rf"test_vqa_data.json, question 1: .*{said}"):
            convert("rexvqa", raw, tmp_path / "out")


def test_medthinkvqa_asks_in_three_steps(tmp_path: Path) -> None:
    convert("medthinkvqa", medthinkvqa(tmp_path / "raw"), tmp_path / "out")
    parts = samples(tmp_path / "out")
    question_types = [one.target.question_type for one in parts["test"] if one.target]
    assert question_types == ["choice_longitudinal", "report", "caption", "caption", "caption"]
    assert [one.target.question_type for one in parts["train"] if one.target] == [
        "choice_single",
        "report",
        "caption",
    ]
    assert [len(one.visuals) for one in parts["test"]] == [3, 3, 1, 1, 1]
    assert {one.patient for one in parts["test"]} == {"eurorad:19254"}
    (choice,) = find_task("medthinkvqa").load(tmp_path / "out").samples
    assert choice.target is not None and choice.target.answers == ("B", "Disease B")
    assert "A man with pain." in choice.messages[0].text and "Oedema" not in choice.messages[0].text


def test_medthinkvqa_names_what_is_wrong(tmp_path: Path) -> None:
    raw = medthinkvqa(tmp_path / "raw")
    table = raw / "test.jsonl"
    good = json.loads(table.read_text(encoding="utf-8"))
    for change, said in (
        ({"image_count": 2}, "image_count is 2, but there is an image_03_path"),
        ({"image_count": 4}, "it has no 'image_04_path'"),
        ({"image_count": "many"}, "expected a number of images as image_count, found 'many'"),
        ({"image_count": 0}, "expected a number of images as image_count, found '0'"),
        ({"is_longitudinal": "yes"}, "expected true or false as is_longitudinal"),
        ({"correct_answer": "F"}, "'F' is none of the letters of its 5 options"),
        ({"image_02_path": "images/none.jpg"}, r"images/none\.jpg is missing"),
    ):  # fmt: skip
        lines(table, [good | change])
        with pytest.raises(UserError, match=rf"test.jsonl, case 1: .*{said}"):
            convert("medthinkvqa", raw, tmp_path / "out")


def test_slake_as_parquet_is_its_english_part(tmp_path: Path) -> None:
    def row(seed: int, answer: str) -> dict[str, Any]:
        return {"image": {"bytes": png(seed), "path": None}, "question": "Is it?", "answer": answer}

    for split, seed in (("train", 1), ("validation", 2), ("test", 3)):
        rows = [row(seed, answer) for answer in ("Yes", "Liver", "")]
        write_parquet(tmp_path / "raw" / "data" / f"{split}-00000-of-00001-eb88.parquet", rows)
    summary = convert("slake", tmp_path / "raw", tmp_path / "out")
    assert {name: part["samples"] for name, part in summary["splits"].items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    assert summary["notes"] == {"questions with an empty answer, as published": 3}
    assert len(find_task("slake-en").load(tmp_path / "out").samples) == 2
