"""Questions about images: VQA-RAD, SLAKE, PathVQA, PMC-VQA, VQA-Med, OmniMedVQA, and text alone."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medmvl.data.sources import open_data
from medmvl.errors import UserError
from medmvl.schema import Sample
from medmvl.tasks import judge
from tests.factories.public_datasets import (
    convert,
    document,
    everything,
    image_file,
    png,
    samples,
    slake,
    table,
    text,
    vqa_rad,
    write_parquet,
)


def targets(out: Path) -> set[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return {
        (one.target.question_type, one.target.answers, one.target.choices)
        for one in everything(out)
        if one.target
    }


def groups(out: Path) -> dict[str, set[str | None]]:
    return {split: {one.image_group for one in part} for split, part in samples(out).items()}


def test_vqa_rad_is_split_by_image(tmp_path: Path) -> None:
    convert("vqa-rad", vqa_rad(tmp_path / "raw"), tmp_path / "out")
    assert targets(tmp_path / "out") == {("closed", ("No",), ("yes", "no")), ("open", ("Left lung",), ())}
    parts = groups(tmp_path / "out")
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 10
    source = open_data(tmp_path / "out" / "test.jsonl")
    assert source.load(source.samples[0].visuals[0]).kind == "image"


def test_vqa_rad_exactly_as_published_keeps_shared_images_and_says_so(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw", question_type="PRSE, pos")
    summary = convert("vqa-rad", raw, tmp_path / "out", split="official")
    parts = samples(tmp_path / "out")
    assert [len(parts[name]) for name in ("train", "test")] == [15, 5]
    assert (summary["split"]["shared"], summary["left_out"]["leaks"]) == (1, 0)
    assert {one.target.categories for one in everything(tmp_path / "out") if one.target} == {
        ("CHEST", "PRES", "POS")
    }
    kept = convert("vqa-rad", raw, tmp_path / "kept", split="published")
    assert kept["left_out"]["leaks"] == 1 and "shared" not in kept["split"]


def test_vqa_rad_and_path_vqa_as_parquet(tmp_path: Path) -> None:
    def row(seed: int, answer: str) -> dict[str, Any]:
        return {"image": {"bytes": png(seed), "path": None}, "question": "Is it?", "answer": answer}

    for split, seeds in (("train", (1, 2, 3)), ("test", (3, 4))):
        rows = [row(seed, "yes" if seed % 2 else "left lung") for seed in seeds]
        write_parquet(tmp_path / "raw" / "data" / f"{split}-00000-of-00001-eb88.parquet", rows)
    for name in ("vqa-rad", "path-vqa"):
        out = tmp_path / name
        summary = convert(name, tmp_path / "raw", out, split="published")
        parts = groups(out)
        assert [len(parts[split]) for split in ("train", "test")] == [2, 2], "image 3 stays in the test only"
        assert summary["left_out"]["leaks"] == 1
        assert all((out / one.visuals[0].path).is_file() for one in everything(out))
        assert {question_type for question_type, _, _ in targets(out)} == {"closed", "open"}


def test_path_vqa_of_the_authors_unpickles_plain_records_only(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        image_file(tmp_path / "images" / split / f"{split}_0001.jpg", len(split))
        folder = tmp_path / "qas" / split
        folder.mkdir(parents=True)
        record = {"image": f"{split}_0001", "question": "what is this?", "answer": "tumor cells"}
        (folder / f"{split}_qa.pkl").write_bytes(pickle.dumps([record]))
    convert("path-vqa", tmp_path, tmp_path / "out")
    assert {split: len(part) for split, part in samples(tmp_path / "out").items()} == {
        "train": 1, "validation": 1, "test": 1,
    }  # fmt: skip
    (tmp_path / "qas" / "test" / "test_qa.pkl").write_bytes(pickle.dumps(Path("evil")))
    with pytest.raises(UserError, match="it asks for pathlib"):
        convert("path-vqa", tmp_path, tmp_path / "again")


def test_slake_keeps_an_image_in_one_split_across_languages_and_boxes(tmp_path: Path) -> None:
    summary = convert("slake", slake(tmp_path / "raw"), tmp_path / "out")
    parts = samples(tmp_path / "out")
    assert groups(tmp_path / "out") == {
        "train": {"xmlab0", "xmlab1", "xmlab2", "xmlab3"}, "validation": {"xmlab4"}, "test": {"xmlab5"},
    }  # fmt: skip
    assert summary["left_out"] == {"bad": 0, "leaks": 0}
    for part in parts.values():
        by_group = Counter(one.image_group for one in part)
        assert set(by_group.values()) == {4 + 4}, (
            "2 questions in 2 languages, 3 identified, 1 asked for by name"
        )
        assert Counter(one.language for one in part)["zh"] == 2 * len(by_group)
    assert ("closed", ("是",), ("是", "否")) in targets(tmp_path / "out")


def test_slake_boxes_are_half_open_rows_first_and_asked_as_in_uni_med(tmp_path: Path) -> None:
    convert("slake", slake(tmp_path / "raw"), tmp_path / "out")
    test = {one.id: one for one in samples(tmp_path / "out")["test"]}
    refer, identify = test["slake-xmlab5-refer-0"], test["slake-xmlab5-identify-0"]
    assert refer.boxes[0].coordinates == (3, 2, 11, 12), "[x 2, y 3, width 10, height 8] of 20 x 24"
    assert refer.messages[-1].text == "{<8><15><50><55>}"
    assert refer.messages[0].text == "[refer] give me the location of Liver"
    assert identify.messages[0].text == "[identify] what object is in this location {<8><15><50><55>}"
    assert identify.target and identify.target.answers == ("Liver",)
    assert "slake-xmlab5-refer-1" not in test, "two regions are called Lung: asking for one is no question"
    assert test["slake-xmlab5-identify-2"].boxes[0].coordinates == (0, 12, 5, 19), "fractions are covered"


@pytest.mark.real_data
def test_real_slake_questions_in_two_languages(tmp_path: Path, real_data: Path) -> None:
    records = json.loads((real_data / "slake_text" / "slake_train_20img_en_zh.json").read_text())
    for number, name in enumerate(sorted({record["img_name"] for record in records})):
        image_file(tmp_path / "raw" / "imgs" / name, number)
    document(tmp_path / "raw" / "train.json", records)
    summary = convert("slake", tmp_path / "raw", tmp_path / "out", split={"train": 0.7, "test": 0.3})
    answered = [record for record in records if record["answer"]]
    assert (
        summary["notes"]["questions with an empty answer, as published"] == len(records) - len(answered) == 1
    )
    assert summary["left_out"] == {"bad": 0, "leaks": 0}
    languages = Counter(one.language for one in everything(tmp_path / "out"))
    assert languages == Counter(record["q_lang"] for record in answered)
    parts = groups(tmp_path / "out")
    assert len(parts["train"] | parts["test"]) == 20 and not parts["train"] & parts["test"]
    for one in everything(tmp_path / "out"):
        assert one.target and judge(one.messages[-1].text, one.target).score == 1


@pytest.mark.real_data
def test_the_real_vqa_rad_sample(tmp_path: Path, real_data: Path) -> None:
    convert("vqa-rad", real_data / "vqa_rad", tmp_path / "out")
    assert len(everything(tmp_path / "out")) == 501
    parts = groups(tmp_path / "out")
    assert sum(map(len, parts.values())) == 48
    question_types = Counter(one.target.question_type for one in everything(tmp_path / "out") if one.target)
    assert question_types == {"closed": 298, "open": 203}


def test_pmc_vqa_letters_and_options(tmp_path: Path) -> None:
    def row(number: int, **more: Any) -> dict[str, Any]:
        image_file(tmp_path / "figures" / f"PMC{number}_F1.jpg", number)
        options = {
            "Choice A": " A:Axial ",
            "Choice B": " B:Coronal ",
            "Choice C": " C:Oblique ",
            "Choice D": "",
        }
        return {
            "index": number,
            "Figure_path": f"PMC{number}_F1.jpg",
            "Question": "Which plane?",
            **options,
        } | more

    table(tmp_path / "train_2.csv", [row(1, Answer="B")])
    table(tmp_path / "test_2.csv", [row(2, Answer="A"), row(1, Answer="A")])
    summary = convert("pmc-vqa", tmp_path, tmp_path / "out")
    assert summary["left_out"]["leaks"] == 1, "the training question about the test figure"
    (first, _) = samples(tmp_path / "out")["test"]
    assert first.messages[0].text == "Which plane?\nA. Axial\nB. Coronal\nC. Oblique"
    assert first.target and first.target.choices == ("A", "B", "C")
    assert [judge(said, first.target).score for said in ("A", "axial", "B", "A or B", "")] == [1, 1, 0, 0, 0]
    table(tmp_path / "train_2.csv", [row(1, Answer="D")])
    with pytest.raises(UserError, match="'D' is none of the letters of its 3 options"):
        convert("pmc-vqa", tmp_path, tmp_path / "again")


def test_vqa_med_reads_the_files_of_all_three_years(tmp_path: Path) -> None:
    for number in range(6):
        image_file(tmp_path / f"{'Val' if number % 2 else 'Train'}_images" / f"synpic{number}.jpg", number)
    text(
        tmp_path / "a" / "All_QA_Pairs_train.txt", "synpic0|what is the modality?|ct\nsynpic1|is it mr?|no\n"
    )
    text(tmp_path / "a" / "QAPairsByCategory" / "C1_Modality_train.txt", "synpic0|what is the modality?|ct\n")
    text(tmp_path / "a" / "train_ImageIDs.txt", "synpic0\n")
    text(tmp_path / "b" / "VQAnswering_2020_Val_QA_Pairs.txt", "synpic2|what is abnormal?|brain abscess\n")
    text(
        tmp_path / "c" / "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
        "synpic3|plane|which plane?|axial#axial plane\n",
    )
    text(tmp_path / "c" / "Task1-VQA-2021-TestSet-Questions.txt", "synpic4|what is abnormal?\n")
    text(tmp_path / "c" / "Task1-VQA-2021-TestSet-ReferenceAnswers.txt", "synpic4|fracture|bone fracture\n")
    convert("vqa-med-2021", tmp_path, tmp_path / "out")
    parts = samples(tmp_path / "out")
    assert {split: len(part) for split, part in parts.items()} == {"train": 2, "validation": 1, "test": 2}
    answers = {one.target.answers for one in parts["test"] if one.target}
    assert answers == {("axial", "axial plane"), ("fracture", "bone fracture")}
    text(tmp_path / "c" / "Task1-VQA-2021-TestSet-Questions.txt", "synpic5|what is abnormal?\n")
    with pytest.raises(UserError, match=r"line 1: expected image\|question\|answer"):
        convert("vqa-med-2021", tmp_path, tmp_path / "again")


def test_omnimedvqa_is_test_only(tmp_path: Path) -> None:
    image_file(tmp_path / "Images" / "ACRIMA" / "Im1.png")
    record = {
        "dataset": "ACRIMA", "question_id": "ACRIMA_0000", "question_type": "Disease Diagnosis",
        "question": "What is seen?", "gt_answer": "Glaucoma", "image_path": "Images/ACRIMA/Im1.png",
        "option_A": "Cataract", "option_B": "Glaucoma", "modality_type": "Fundus Photography",
    }  # fmt: skip
    document(tmp_path / "QA_information" / "Open-access" / "ACRIMA.json", [record])
    convert("omnimedvqa", tmp_path, tmp_path / "out")
    assert list(samples(tmp_path / "out")) == ["test"]
    assert targets(tmp_path / "out") == {("disease_diagnosis", ("B", "Glaucoma"), ("A", "B"))}


def test_text_only_parts_of_the_mixture(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"Q{n}?", "answer": "Aspirin", "options": {"A": "x"}}) for n in range(2)]
    for part in ("train", "dev", "test"):
        text(
            tmp_path / "medqa" / "questions" / "US" / f"{part}.jsonl", "\n".join(f"{x}" for x in lines) + "\n"
        )
        records = {f"{part}-1": {"QUESTION": "Does it?", "final_decision": "maybe"}}
        document(tmp_path / "pubmedqa" / f"{part}_set.json", records)
    for name, expected in (("medqa", 2), ("pubmedqa", 1)):
        convert(name, tmp_path / name, tmp_path / f"{name}-out")
        parts: dict[str, list[Sample]] = samples(tmp_path / f"{name}-out")
        assert {split: len(part) for split, part in parts.items()} == dict.fromkeys(parts, expected)
        assert len(parts) == 3 and not any(one.visuals for one in everything(tmp_path / f"{name}-out"))


def test_vqa_rad_in_two_tables(tmp_path: Path) -> None:
    """The layout that most public code has: the table says what is test, answers may be numbers."""
    raw = vqa_rad(tmp_path / "raw")
    (raw / "VQA_RAD Image Folder").rename(raw / "images")
    records = json.loads((raw / "VQA_RAD Dataset Public.json").read_text())
    (raw / "VQA_RAD Dataset Public.json").unlink()
    halves: dict[str, list[Any]] = {"trainset.json": [], "testset.json": []}
    for record in records:
        test = record.pop("phrase_type").startswith("test")
        halves["testset.json" if test else "trainset.json"].append(record | {"phrase_type": "freeform"})
    halves["testset.json"][1]["answer"] = 4
    for name, rows in halves.items():
        document(raw / name, rows)
    convert("vqa-rad", raw, tmp_path / "published", split="published")
    found = samples(tmp_path / "published")
    assert {one.id for one in found["test"]} == {
        f"vqa_rad-{15 + n:05d}" for n in range(len(halves["testset.json"]))
    }
    assert "4" in {one.messages[-1].text for one in found["test"]}
    shown = {name: {one.image_group for one in part} for name, part in found.items()}
    assert not shown["train"] & shown["test"]
    convert("vqa-rad", raw, tmp_path / "new")
    assert sum(map(len, samples(tmp_path / "new").values())) == len(records)
    (raw / "testset.json").unlink()
    with pytest.raises(UserError, match="belong together"):
        convert("vqa-rad", raw, tmp_path / "half")


def test_half_a_character_names_the_table(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw")
    table = raw / "VQA_RAD Dataset Public.json"
    table.write_text(table.read_text().replace("Left lung", "\\ud83d", 1))
    with pytest.raises(UserError, match=r"Dataset Public\.json.*half a character"):
        convert("vqa-rad", raw, tmp_path / "out")
