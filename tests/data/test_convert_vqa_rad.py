"""VQA-RAD: its public layout, closed and open, and no picture on both sides."""

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.data.convert import CONVERTERS, get_converter
from medmvl.data.sources import open_data
from medmvl.errors import UserError
from medmvl.schema import Sample, iter_samples
from tests.factories.data import picture

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def raw(folder: Path, **changes: Any) -> Path:
    records = []
    for number in range(20):
        picture(folder / "images" / f"synpic{number // 2}.jpg", number)
        closed = number % 2 == 0
        record = {
            "qid": 1, "image_name": f"synpic{number // 2}.jpg", "question": " Is it large? ", "image_organ": "CHEST",
            "answer": "No" if closed else "Left lung", "answer_type": "CLOSED " if closed else "OPEN",
        }  # fmt: skip
        records.append(record | changes)
    (folder / "vqa.json").write_text(json.dumps(records))
    return folder


def splits(out: Path) -> dict[str, list[Sample]]:
    return {name: list(iter_samples(out / f"{name}.jsonl")) for name in FRACTIONS}


def test_samples_are_readable_and_pictures_undivided(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = CONVERTERS["vqa-rad"](raw(tmp_path / "raw"), out, FRACTIONS, 0)
    parts = splits(out)
    assert {name: one["samples"] for name, one in summary["splits"].items()} == {
        "train": 12,
        "validation": 4,
        "test": 4,
    }
    groups = [{one.image_group for one in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    everything = [one for part in parts.values() for one in part]
    assert len({one.id for one in everything}) == 20
    targets = {(one.target.kind, one.target.answers, one.target.choices) for one in everything if one.target}
    assert targets == {("closed", ("No",), ("yes", "no")), ("open", ("Left lung",), ())}
    source = open_data(out / "test.jsonl")
    assert source.load(source.samples[0].visuals[0]).kind == "image"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_name": "gone.jpg"}, "question 1: the picture gone.jpg"),
        ({"answer_type": "?"}, "CLOSED or OPEN"),
    ],
)
def test_a_bad_question_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CONVERTERS["vqa-rad"](raw(tmp_path / "raw", **changes), tmp_path / "out", FRACTIONS, 0)


def test_unknown_layouts_and_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected vqa\.json"):
        CONVERTERS["vqa-rad"](tmp_path, tmp_path / "out", FRACTIONS, 0)
    with pytest.raises(UserError, match="known converters: vqa-rad"):
        get_converter("vqarad")


@pytest.mark.real_data
def test_the_real_sample(tmp_path: Path, real_data: Path) -> None:
    CONVERTERS["vqa-rad"](real_data / "vqa_rad", tmp_path / "out", FRACTIONS, 0)
    parts = splits(tmp_path / "out")
    assert sum(map(len, parts.values())) == 501
    assert sum(len({one.image_group for one in part}) for part in parts.values()) == 48
    kinds = [one.target.kind for part in parts.values() for one in part if one.target]
    assert (kinds.count("closed"), kinds.count("open")) == (298, 203)
