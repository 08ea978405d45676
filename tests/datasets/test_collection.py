"""What every conversion promises: nothing lost silently, no image on both sides, what came from where is written."""

import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.datasets.gathering.collection import WHOLE_BYTES, file_digest
from medmvl.datasets.public import DATASETS, find_dataset
from medmvl.datasets.public_dataset import keep_published
from medmvl.errors import UserError
from tests.factories.public_datasets import convert, document, everything, image_file, samples, table, vqa_rad

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def test_published_test_is_kept_and_leaking_training_samples_are_left_out(tmp_path: Path) -> None:
    summary = convert("vqa-rad", vqa_rad(tmp_path / "raw"), tmp_path / "out", split="published")
    parts = samples(tmp_path / "out")
    assert [len(parts[name]) for name in ("train", "test")] == [14, 5]
    assert summary["left_out"] == {"bad": 0, "leaks": 1}
    assert summary["split"] == {"by": "as published", "left_out": 1}


def test_equal_bytes_under_two_names_are_one_image(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw")
    folder = raw / "VQA_RAD Image Folder"
    (folder / "synpic9.jpg").write_bytes((folder / "synpic0.jpg").read_bytes())
    summary = convert("vqa-rad", raw, tmp_path / "out", split="published")
    assert summary["left_out"]["leaks"] == 3, "both questions about synpic0, and the one about synpic7"
    convert("vqa-rad", raw, tmp_path / "again", split="published", fast=True)
    assert len(everything(tmp_path / "again")) == 19, "without hashes only names tell images apart"


def test_missing_broken_and_duplicate_records_are_listed_and_left_out_only_when_told(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw")
    (raw / "VQA_RAD Image Folder" / "synpic1.jpg").unlink()
    (raw / "VQA_RAD Image Folder" / "synpic2.jpg").write_bytes(b"no image")
    (raw / "VQA_RAD Image Folder" / "synpic3.jpg").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"(?s)6 of 20 records.*--skip-bad.*question 3: .*synpic1\.jpg is missing"
    ):
        convert("vqa-rad", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*")), "nothing half made stays"
    summary = convert("vqa-rad", raw, tmp_path / "out", skip_bad=True)
    assert summary["left_out"]["bad"] == 6 and len(everything(tmp_path / "out")) == 14
    assert len((tmp_path / "out" / "left_out.txt").read_text().splitlines()) == 6


def test_inputs_licence_and_numbers_are_written_beside_the_data(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw")
    returned = convert("vqa-rad", raw, tmp_path / "out", split=SHARES)
    written = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert written == returned
    assert written["license"] == "CC0 1.0"
    digest = hashlib.sha256((raw / "VQA_RAD Dataset Public.json").read_bytes()).hexdigest()
    assert written["inputs"] == {"VQA_RAD Dataset Public.json": digest}
    counts = [part["samples"] for part in written["splits"].values()]
    assert sum(counts) == 20 and [part["files"] for part in written["splits"].values()] == [6, 2, 2]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".request.json", "train.jsonl", "validation.jsonl", "test.jsonl", "dataset.json",
    }  # fmt: skip


def test_copies_make_the_folder_complete(tmp_path: Path) -> None:
    convert("vqa-rad", vqa_rad(tmp_path / "raw"), tmp_path / "out", copy=True)
    (tmp_path / "raw").rename(tmp_path / "elsewhere")
    for sample in everything(tmp_path / "out"):
        assert (tmp_path / "out" / sample.visuals[0].path).is_file()


def test_the_seed_decides_the_new_split(tmp_path: Path) -> None:
    raw = vqa_rad(tmp_path / "raw")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        convert("vqa-rad", raw, tmp_path / name, split=SHARES, seed=seed)
    a, b, c = ({s.id for s in samples(tmp_path / name)["test"]} for name in "abc")
    assert a == b != c


def test_unknown_names_folders_and_layouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Known data sets: vqa-rad"):
        find_dataset("vqarad")
    for name in DATASETS:
        with pytest.raises(UserError, match=r"not a folder; expected"):
            convert(name, tmp_path / "nowhere", tmp_path / "out")
        empty = tmp_path / "empty"
        empty.mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r"expected|was found"):
            convert(name, empty, tmp_path / "out")
    with pytest.raises(UserError, match="name no published split"):
        convert("iu-xray", _iu_xray(tmp_path / "iu"), tmp_path / "out", split="published")


def _iu_xray(folder: Path) -> Path:
    image_file(folder / "images" / "1.png")
    table(folder / "indiana_projections.csv", [{"uid": 1, "filename": "1.png", "projection": "Frontal"}])
    table(folder / "indiana_reports.csv", [{"uid": 1, "findings": "Clear.", "impression": ""}])
    return folder


def test_an_out_folder_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        convert("vqa-rad", vqa_rad(tmp_path / "raw"), tmp_path / "out")


def test_a_table_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of the data set's folder"):
        convert("vqa-rad", vqa_rad(tmp_path / "raw", image_name="../../secret.png"), tmp_path / "out")


def test_large_files_are_told_apart_by_size_and_ends(tmp_path: Path) -> None:
    def large(name: str, end: bytes) -> str:
        with (tmp_path / name).open("wb") as file:
            file.seek(WHOLE_BYTES)
            file.write(end)
        return file_digest(tmp_path / name)

    assert large("a", b"1") == large("b", b"1") != large("c", b"2")


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["train", "validation", "test", None]))))
def test_no_group_stands_in_two_published_splits_and_the_test_loses_nothing(
    pairs: list[tuple[int, str | None]],
) -> None:
    parts, left_out = keep_published([group for group, _ in pairs], [split for _, split in pairs])
    groups = {name: {pairs[index][0] for index in part} for name, part in parts.items()}
    for name, mine in groups.items():
        assert not any(mine & others for other, others in groups.items() if other != name)
    assert len(parts.get("test", [])) == sum(split == "test" for _, split in pairs)
    assert sum(map(len, parts.values())) + left_out == len(pairs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
JSON_TABLES = {
    "vqa-rad": ("vqa.json", "images", ["image_name", "question", "answer", "answer_type"]),
    "slake": ("train.json", "imgs", ["img_name", "question", "answer", "answer_type", "q_lang", "qid"]),
    "omnimedvqa": ("QA_information/Open-access/a.json", "Images", ["image_path", "question", "gt_answer"]),
    "m3d": ("M3D_Cap_npy/M3D_Cap.json", "M3D_Cap_npy", ["image", "text"]),
    "iu-xray": ("annotation.json", "images", ["id", "report", "image_path"]),
    "ct-rate": ("dataset/vqa/train_vqa.json", "dataset/train", ["image", "conversations", "id"]),
    "pubmedqa": ("train_set.json", "x", ["QUESTION", "final_decision"]),
    "medxpertqa": (
        "MM/test.jsonl",
        "images",
        ["id", "question", "options", "label", "images", "question_type"],
    ),
    "rexvqa": (
        "metadata/test_vqa_data.json",
        "deid_png",
        ["task_name", "study_id", "ImagePath", "question", "options"],
    ),
    "medthinkvqa": (
        "test.jsonl",
        "images",
        ["image_count", "image_01_path", "title", "CLINICAL_HISTORY", "options"],
    ),
    "ct-spatialvqa": ("a.jsonl", "valid_fixed", ["case_id", "question", "answer", "category"]),
    "deeptumorvqa": (
        "benchmark/test_qa.json",
        "benchmark/ct",
        ["image_id", "question_type", "question_subtype"],
    ),
    "amos-mm": ("dataset.json", "imagesTr", ["image", "labels"]),
    "reportqa": ("amos-mm/full/qas_filtered_wrong.jsonl", "amos-mm", ["report_id", "options", "answer"]),
}


PARTS = ("train", "test", "training", "validation", "questions")


@pytest.mark.parametrize("name", JSON_TABLES)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_any_json_is_converted_or_refused_with_words(name: str, data: st.DataObject) -> None:
    table_name, folder, fields = JSON_TABLES[name]
    record = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON))
    value = data.draw(
        JSON
        | st.lists(record, max_size=3)
        | st.dictionaries(st.sampled_from(PARTS), st.lists(record, max_size=2) | record)
    )
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw"
        (raw / folder).mkdir(parents=True)
        document(raw / table_name, value)
        try:
            summary = convert(name, raw, Path(scratch) / "out", skip_bad=True, fast=True)
        except UserError as error:
            assert str(raw) in str(error)
        else:
            assert summary["splits"]
