"""Benchmarks on pictures: their published layouts, splits, kinds and identities, and what is wrong in them by name."""

from pathlib import Path

import pytest

from medmvl.datasets.public import find_task
from medmvl.errors import UserError
from tests.factories.public_datasets import convert, lines, medxpertqa


@pytest.mark.parametrize("zipped", [True, False])
def test_medxpertqa_shows_every_picture_and_lists_options_once(tmp_path: Path, zipped: bool) -> None:
    summary = convert("medxpertqa", medxpertqa(tmp_path / "raw", zipped), tmp_path / "out")
    assert {name: part["samples"] for name, part in summary["splits"].items()} == {"validation": 1, "test": 2}
    assert summary["splits"]["test"]["kinds"] == {"choice_reasoning": 1, "choice_understanding": 1}
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
