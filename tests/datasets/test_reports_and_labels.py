"""Reports of chest X-rays, categories of MedMNIST, boxes of SA-Med2D, captions of MedPix."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.data.sources import open_data
from medmvl.datasets.gathering.chest_xray import View, choose_views
from medmvl.datasets.gathering.regions import half_open, unimed_text
from medmvl.datasets.gathering.reports import findings_and_impression, joined, sections_of
from medmvl.datasets.public.medmnist import SETS, ask
from medmvl.errors import UserError
from medmvl.imaging import read
from medmvl.tasks.metrics.grounding import parse_box
from tests.factories.public_datasets import (
    convert,
    document,
    everything,
    image_file,
    mimic_cxr,
    pixels,
    samples,
    table,
    text,
)


def test_sections_start_at_capital_headers() -> None:
    report = (
        "FINAL REPORT\n EXAMINATION: CHEST\n\nFINDINGS:  No\n effusion. Note: small.\nIMPRESSION:\nNormal."
    )
    assert sections_of(report)["EXAMINATION"] == "CHEST"
    assert findings_and_impression(report) == ("No effusion. Note: small.", "Normal.")
    assert findings_and_impression("No sections at all.") == ("", "")
    assert joined("A.", "") == "Findings: A." and joined("", "B.") == "Impression: B."


def test_the_best_frontal_view_comes_first_then_a_lateral_one() -> None:
    views = [View(Path(name), position) for name, position in (("l", "LATERAL"), ("a", "AP"), ("p", "PA"))]
    assert [view.path.name for view in choose_views(views)] == ["p", "l"]
    assert [view.path.name for view in choose_views(views[:2])] == ["a", "l"]
    assert [view.path.name for view in choose_views([View(Path("x"), ""), View(Path("y"), "")])] == ["x"]


def test_mimic_cxr(tmp_path: Path) -> None:
    summary = convert("mimic-cxr", mimic_cxr(tmp_path / "raw"), tmp_path / "out")
    parts = samples(tmp_path / "out")
    assert {split: len(part) for split, part in parts.items()} == {"train": 1, "validation": 1, "test": 1}
    assert summary["notes"] == {"reports with neither findings nor an impression": 1}
    (one,) = parts["train"]
    assert one.messages[-1].text == "Findings: No effusion. Heart size 0 is normal. Impression: Clear lungs."
    assert [Path(block.path).stem[-1] for block in one.visuals] == ["0", "1"], "PA, then the lateral view"
    assert one.labels == {"Edema": 0, "No Finding": 1, "view/PA": 1, "view/LATERAL": 1}, (
        "uncertain is no label"
    )
    said = " ".join(f"{x.id} {x.patient} {x.study}" for x in everything(tmp_path / "out"))
    assert "10000032" not in said and "50414267" not in said
    assert (tmp_path / "out.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "raw/files/p10/p10000898/s50771383.txt").unlink()
    with pytest.raises(UserError, match=r"study s50771383: its report s50771383\.txt is missing"):
        convert("mimic-cxr", tmp_path / "raw", tmp_path / "again")


def test_iu_xray_in_three_layouts(tmp_path: Path) -> None:
    for number in range(4):
        image_file(tmp_path / "tables" / "images" / "images_normalized" / f"{number}.png", number)
    table(tmp_path / "tables" / "indiana_projections.csv", [
        {"uid": 1, "filename": "1.png", "projection": "Lateral"},
        {"uid": 1, "filename": "0.png", "projection": "Frontal"},
        {"uid": 2, "filename": "2.png", "projection": "Frontal"},
        {"uid": 3, "filename": "3.png", "projection": "Frontal"},
        {"uid": 4, "filename": "3.png", "projection": "Frontal"},
    ])  # fmt: skip
    table(tmp_path / "tables" / "indiana_reports.csv", [
        {"uid": uid, "findings": f"Heart {uid}." if uid < 4 else "", "impression": "Normal." if uid < 4 else ""}
        for uid in range(1, 5)
    ])  # fmt: skip
    convert("iu-xray", tmp_path / "tables", tmp_path / "a", split={"train": 0.5, "test": 0.5})
    by_id = {one.id: one for one in everything(tmp_path / "a")}
    assert len(by_id) == 3, "a report without text is only counted"
    first = by_id["iu_xray-1"]
    assert [Path(block.path).name for block in first.visuals] == ["0.png", "1.png"]
    assert (
        first.messages[-1].text == "Findings: Heart 1. Impression: Normal."
        and first.patient == "iu-xray:CXR1"
    )

    for name in ("CXR1_1_IM-0001", "CXR2_IM-0652"):
        image_file(tmp_path / "r2gen" / "images" / name / "0.png", len(name))
    document(tmp_path / "r2gen" / "annotation.json", {
        "train": [{"id": "CXR1_1_IM-0001", "report": "Clear .", "image_path": ["CXR1_1_IM-0001/0.png"]}],
        "val": [], "test": [{"id": "CXR2_IM-0652", "report": "Big .", "image_path": ["CXR2_IM-0652/0.png"]}],
    })  # fmt: skip
    convert("iu-xray", tmp_path / "r2gen", tmp_path / "b")
    assert {split: [x.patient for x in part] for split, part in samples(tmp_path / "b").items()} == {
        "train": ["iu-xray:CXR1"], "test": ["iu-xray:CXR2"],
    }  # fmt: skip

    for number in (1, 2):
        image_file(tmp_path / "openi" / "NLMCXR_png" / f"CXR{number}_IM-1.png", number)
        text(tmp_path / "openi" / "NLMCXR_reports" / "ecgen-radiology" / f"{number}.xml", (
            f'<eCitation><AbstractText Label="FINDINGS">Heart {number}.</AbstractText>'
            f'<AbstractText Label="IMPRESSION"/><parentImage id="CXR{number}_IM-1"/></eCitation>'
        ))  # fmt: skip
    convert("iu-xray", tmp_path / "openi", tmp_path / "c", split={"train": 0.5, "test": 0.5})
    assert {one.messages[-1].text for one in everything(tmp_path / "c")} == {
        "Findings: Heart 1.", "Findings: Heart 2.",
    }  # fmt: skip


def medmnist(path: Path, categories: int, colour: bool, counts: tuple[int, int, int] = (6, 3, 3)) -> None:
    arrays = {}
    for seed, (part, count) in enumerate(zip(("train", "val", "test"), counts, strict=True)):
        shape = (count, 28, 28, 3) if colour else (count, 28, 28)
        arrays[f"{part}_images"] = pixels(seed, shape)
        arrays[f"{part}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % categories
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def test_medmnist_images_categories_and_leaks(tmp_path: Path) -> None:
    medmnist(tmp_path / "raw" / "dermamnist.npz", 7, colour=True, counts=(1, 1, 1))
    medmnist(tmp_path / "raw" / "dermamnist_64.npz", 7, colour=True)
    medmnist(tmp_path / "raw" / "organsmnist_224.npz", 11, colour=False)
    with np.load(tmp_path / "raw" / "organsmnist_224.npz") as archive:
        arrays = dict(archive)
    arrays["train_images"][0] = arrays["test_images"][0]
    np.savez(tmp_path / "raw" / "organsmnist_224.npz", **arrays)
    summary = convert("medmnist", tmp_path / "raw", tmp_path / "out")
    assert summary["splits"]["train"]["question_types"] == {"class_dermamnist": 6, "class_organsmnist": 5}
    assert summary["left_out"]["leaks"] == 1
    organs = [
        x
        for x in samples(tmp_path / "out")["test"]
        if x.target and x.target.question_type == "class_organsmnist"
    ]
    assert [x.messages[-1].text for x in organs] == ["bladder", "left femur", "right femur"]
    source = open_data(tmp_path / "out" / "test.jsonl")
    seen = {source.load(sample.visuals[0]).array.shape for sample in source.samples}
    assert seen == {(28, 28, 3), (28, 28)}
    with_wrong = {**arrays, "val_labels": np.full((3, 1), 11)}
    np.savez(tmp_path / "raw" / "organsmnist_224.npz", **with_wrong)
    with pytest.raises(UserError, match=r"organsmnist, val 0: the label .* none of 11 categories"):
        convert("medmnist", tmp_path / "raw", tmp_path / "again")


def test_medmnist_asks_in_the_words_of_uni_med() -> None:
    assert ask("organsmnist") == (
        "Which category does this CT image belong to: bladder, left femur, right femur, heart, left kidney, right "
        "kidney, liver, left lung, right lung, pancreas, or spleen?"
    )
    assert ask("pneumoniamnist").endswith("belong to: normal or pneumonia?")
    assert all(len(set(one.categories)) == len(one.categories) for one in SETS.values())


@pytest.mark.real_data
def test_real_pneumoniamnist(tmp_path: Path, real_data: Path) -> None:
    with np.load(real_data / "xray_png" / "pneumoniamnist.npz") as archive:
        few = {name: archive[name][:40] for name in archive.files}
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "pneumoniamnist.npz", **few)
    summary = convert("medmnist", tmp_path / "raw", tmp_path / "out")
    assert sum(part["samples"] for part in summary["splits"].values()) + summary["left_out"]["leaks"] == 120
    labels = few["test_labels"].ravel().tolist()
    said = [one.messages[-1].text for one in samples(tmp_path / "out")["test"]]
    assert said == [("normal", "pneumonia")[label] for label in labels]


def test_sa_med2d_cases_stay_together(tmp_path: Path) -> None:
    for split, case, cut in (
        ("train", "0001", 1),
        ("train", "0002", 1),
        ("test", "0001", 2),
        ("test", "0003", 1),
    ):
        name = f"ct_00--AbdomenCT1K--{case}--x_{cut:04d}"
        image_file(tmp_path / "images" / "ct" / f"{name}.png", int(case) * 10 + cut)
        document(tmp_path / split / "ct" / f"{name}.json", [{"liver": [1, 2, 3, 4]}])
    summary = convert("sa-med2d", tmp_path, tmp_path / "out")
    assert summary["left_out"]["leaks"] == 2, "refer and identify of the other slice of case 0001"
    assert summary["splits"]["test"]["patients"] == 2 and summary["splits"]["train"]["patients"] == 1
    assert {one.boxes[0].coordinates for one in everything(tmp_path / "out")} == {(2, 1, 6, 4)}


def test_medpix_takes_captions_only(tmp_path: Path) -> None:
    image_file(tmp_path / "images" / "a.png", 1)
    image_file(tmp_path / "images" / "b.png", 2)
    rows = [{"name": "a.png", "context": "CT of a mass.", "type": "caption"}]
    table(
        tmp_path / "MedPix_single_train.csv", [*rows, {"name": "a.png", "context": "What?", "type": "plane"}]
    )
    table(tmp_path / "MedPix_single_test.csv", [{"name": "b.png", "context": "MR.", "type": "caption"}])
    convert("medpix", tmp_path, tmp_path / "out")
    assert [one.messages[-1].text for one in everything(tmp_path / "out")] == ["CT of a mass.", "MR."]


def test_rocov2_keeps_its_published_split_and_no_training_twin(tmp_path: Path) -> None:
    for part, seeds in (("train", (1, 2)), ("valid", (3,)), ("test", (4, 1))):
        names = [f"ROCOv2_2023_{part}_{number:06d}" for number, _ in enumerate(seeds)]
        for name, seed in zip(names, seeds, strict=True):
            image_file(tmp_path / part / f"{name}.jpg", seed)
        table(
            tmp_path / f"{part}_captions.csv",
            [{"ID": name, "Caption": f"Caption of {name}."} for name in names],
        )
    summary = convert("rocov2", tmp_path, tmp_path / "out")
    assert summary["left_out"] == {"bad": 0, "leaks": 1}, "image 1 is in the test part, too"
    found = samples(tmp_path / "out")
    assert {split: len(part) for split, part in found.items()} == {"train": 1, "validation": 1, "test": 2}
    assert {one.messages[-1].text for one in everything(tmp_path / "out")} == {
        f"Caption of {one.id}." for one in everything(tmp_path / "out")
    }
    (tmp_path / "valid" / "ROCOv2_2023_valid_000000.jpg").unlink()
    with pytest.raises(UserError, match=r"valid_captions.csv, row 1.*ROCOv2_2023_valid_000000"):
        convert("rocov2", tmp_path, tmp_path / "again")


SIDES = st.integers(1, 400)


@given(SIDES, SIDES, st.data())
def test_boxes_lie_in_the_image_and_cover_what_they_were(
    height: int, width: int, data: st.DataObject
) -> None:
    x = data.draw(st.floats(0, width - 0.5))
    y = data.draw(st.floats(0, height - 0.5))
    across, down = data.draw(st.floats(0.5, 500)), data.draw(st.floats(0.5, 500))
    y0, x0, y1, x1 = half_open([x, y, across, down], (height, width))
    assert 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width
    assert y0 <= y and x0 <= x and y1 >= min(y + down, height) and x1 >= min(x + across, width)
    read = parse_box(unimed_text((y0, x0, y1, x1), (height, width)), "uni-med")
    assert read is not None, "the truth as text is a box to those who score answers"
    exact = (y0 / height, x0 / width, y1 / height, x1 / width)
    assert all(abs(one - other) <= 0.01 + 1e-9 for one, other in zip(read, exact, strict=True))


@pytest.mark.parametrize("box", [None, [1, 2, 3], [30, 0, 5, 5], [0, 0, 0, 5], "abcd"])
def test_what_is_no_box_is_refused(box: object) -> None:
    with pytest.raises(UserError, match=r"box"):
        half_open(box, (20, 24))


def test_medmnist_volumes(tmp_path: Path) -> None:
    arrays = {}
    for seed, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = pixels(seed, (2, 5, 6, 7))
        arrays[f"{part}_labels"] = np.array([[0], [1]])
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "nodulemnist3d.npz", **arrays)
    convert("medmnist", tmp_path / "raw", tmp_path / "out")
    source = open_data(tmp_path / "out" / "test.jsonl")
    assert [one.messages[-1].text for one in source.samples] == ["benign", "malignant"]
    volume = source.load(source.samples[1].visuals[0])
    assert np.array_equal(volume.array, arrays["test_images"][1])
    assert (volume.kind, volume.modality, volume.units, volume.affine) == ("volume", "CT", "arbitrary", None)
    with pytest.raises(UserError, match="data convert medmnist"):
        read(tmp_path / "raw" / "nodulemnist3d.npz")
