"""`check` finds every sort of trouble, and nothing where there is none."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medmvl.data.check import COUNTED, PROBLEMS, DataCheck, check
from medmvl.data.sources import open_data
from medmvl.imaging.dicom import fixed_series
from medmvl.imaging.selector import Selector
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import Sample, Target, write_samples
from tests.factories.data import dataset, image_file, processor, sample
from tests.factories.dicom import ct_series, stored_volume


@pytest.fixture(scope="module")
def tiny() -> MedMVLProcessor:
    return processor()


def found(report: DataCheck) -> dict[str, int]:
    return {name: one.count for name, one in report.problems.items() if one.count}


def test_a_sound_data_set(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    report = check({"train": [open_data(dataset(tmp_path))]}, tiny, max_length=200)
    assert report.ok
    assert (report.samples, report.patients, report.images, report.volumes) == ({"train": 14}, 4, 4, 1)
    assert (report.text_only, report.without_patient) == (1, 1)
    assert report.tokens["visual"]["max"] == tiny.tokens_of("volume")
    assert report.tokens["total"]["p50"] <= report.tokens["total"]["max"] <= 200
    assert set(report.to_json()["problems"]) == set(PROBLEMS)


def test_a_series_that_is_counted_is_doubted(tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.3.1"), ("b", "1.2.3.2")):
        ct_series(tmp_path / "ct" / name, stored_volume(3), SeriesInstanceUID=uid)
    fixed = fixed_series(tmp_path / "ct", Selector(series=2))
    volumes = [{"type": "volume", "volume": f"ct{chosen}"} for chosen in ("#series=1", fixed)]
    write_samples(tmp_path / "train.jsonl", [sample(number, volume) for number, volume in enumerate(volumes)])
    report = check({"train": [open_data(tmp_path / "train.jsonl")]})
    assert report.ok
    assert {text: one.examples for text, one in report.warnings.items()} == {COUNTED: ["train.jsonl: s0"]}


def test_every_problem_is_found(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    image_file(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    image = {"type": "image", "image": "a.png"}
    write_samples(
        tmp_path / "train.jsonl",
        [
            sample(0, image, patient="p"),
            sample(0, image, patient="p"),
            sample(1, {"type": "image", "image": "gone.png"}),
            sample(2, {"type": "image", "image": "broken.png"}),
            sample(3, answer=None),
            sample(4, answer="Yes. " * 100),
            sample(5, answer=tiny.tokenizer.all_special_tokens[0]),
        ],
    )
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"id": "odd"}\n')
    write_samples(tmp_path / "test.jsonl", [sample(9, patient="p"), sample(10, image)])
    splits = {name: [open_data(tmp_path / f"{name}.jsonl")] for name in ("train", "test")}
    report = check(splits, tiny, max_length=100)
    assert not report.ok
    assert found(report) == {
        "invalid": 1, "duplicate_ids": 1, "missing_files": 1, "broken_files": 1, "no_answer": 1, "too_long": 1,
        "bad_text": 1, "leaks": 2,
    }  # fmt: skip
    assert "s1" in report.problems["missing_files"].examples[0]
    assert {text.split()[0] for text in report.problems["leaks"].examples} == {"patient", "file"}
    fast = check(splits, fast=True)
    assert "broken_files" not in found(fast)
    assert fast.tokens == {}


def test_what_is_in_it_is_counted_and_doubts_are_told(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(-1000, 400, (6, 16, 16)).astype(np.int16)
    for name in ("a", "b"):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 5, 1])), tmp_path / f"{name}.nii.gz")
    choices = {"question_type": "nodule", "choices": ["yes", "no"]}
    write_samples(
        tmp_path / "train.jsonl",
        [
            sample(number, {"type": "volume", "volume": f"{'ab'[number % 2]}.nii.gz"}, language="en")
            .model_copy(update={"target": Target(answers=("No" if number else "yes",), **choices)})
            for number in range(4)
        ],
    )  # fmt: skip
    report = check({"train": [open_data(tmp_path / "train.jsonl")]})
    assert report.ok and report.question_types == {"nodule": 4} and report.languages == {"en": 4}
    assert report.answers == {"no": 3, "yes": 1}
    assert report.modalities == {"unknown": 2} and report.units == {"arbitrary": 2}
    (doubt,) = [text for text in report.warnings if "Hounsfield" in text]
    assert report.warnings[doubt].count == 2


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    path = dataset(tmp_path)
    (tmp_path / "images" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    steps: list[tuple[str, int, int]] = []
    report = check({"a": [open_data(path)]}, workers=2, progress=lambda *step: steps.append(step))
    assert found(report) == {"broken_files": 1}
    assert steps[-1] == ("files", 5, 5)


def test_what_becomes_of_reasoning_is_told(tmp_path: Path) -> None:
    """Learned by a model with thinking, left out by others; that of earlier turns by both."""
    reasoned = sample(0, answer="Yes.").model_dump()
    reasoned["messages"][1]["reasoning"] = "A shadow."
    several = {
        **reasoned,
        "id": "2",
        "messages": [*reasoned["messages"], *sample(1, answer="Left.").model_dump()["messages"]],
    }
    write_samples(
        tmp_path / "train.jsonl",
        [Sample.model_validate(one) for one in (reasoned, several, sample(3, answer="No.").model_dump())],
    )
    said = {
        thinks: check({"train": [open_data(tmp_path / "train.jsonl")]}, made, max_length=200)
        for thinks, made in ((False, processor()), (True, processor(thinking=True)), (None, None))
    }
    assert all((one.reasoning, one.earlier_reasoning) == (1, 1) and one.ok for one in said.values())
    assert "it is left out: model.thinking: true learns it" in said[False].reasoning_words()
    assert "the others teach to answer without it" in said[True].reasoning_words()
    assert "make a sample of each turn" in said[True].reasoning_words()
    assert said[True].tokens["text"]["max"] > 0
    plain = check({"train": [open_data(dataset(tmp_path / "plain"))]}, processor())
    assert plain.reasoning_words() == ""


def test_a_box_that_leaves_its_image_is_wrong(tmp_path: Path) -> None:
    """One in shares, or in pixels of the image before it was resized, would be drawn and learned elsewhere."""
    image = {"type": "image", "image": "a.png"}
    image_file(tmp_path / "a.png")  # 20 rows, 24 columns
    boxes = [(0, 0, 20, 24), (0, 0, 21, 24), (0, 0, 24, 20)]
    write_samples(
        tmp_path / "train.jsonl",
        [
            sample(number, image, boxes=[{"coordinates": box, "label": "nodule"}])
            for number, box in enumerate(boxes)
        ],
    )
    report = check({"train": [open_data(tmp_path / "train.jsonl")]})
    assert found(report) == {"boxes": 2}
    assert [text.split(":")[1] for text in report.problems["boxes"].examples] == [" s1", " s2"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"labels": {"effusion": -1}}, "label 'effusion' is -1; expected 1"),
        ({"labels": {"effusion": float("nan")}}, "label 'effusion' is nan"),
        ({"boxes": [{"coordinates": [0.1, 0.2, 0.5, 0.6], "label": "x"}]}, "has fractions; expected whole"),
    ],
)
def test_truths_in_another_convention_are_refused(more: dict[str, Any], words: str) -> None:
    """CheXpert's -1 for uncertain would be learned as a target below absent."""
    with pytest.raises(ValueError, match=words):
        sample(0, {"type": "image", "image": "a.png"}, **more)
    sample(0, {"type": "image", "image": "a.png"}, labels={"effusion": 0.5, "nodule": 1})
