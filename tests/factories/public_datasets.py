"""Small folders in the layouts public data sets are published in, with the field names of the real ones."""

import csv
import gzip
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmvl.datasets.public import ConvertOptions, find_dataset
from medmvl.schema import Sample, iter_samples

SPLITS = ("train", "validation", "test")


def convert(name: str, raw: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Convert and return the summary."""
    return find_dataset(name).convert(raw, out, ConvertOptions(**options))


def samples(out: Path) -> dict[str, list[Sample]]:
    """The samples of every split that was written."""
    files = {split: out / f"{split}.jsonl" for split in SPLITS}
    return {split: list(iter_samples(path)) for split, path in files.items() if path.is_file()}


def everything(out: Path) -> list[Sample]:
    """The samples of all splits."""
    return [sample for part in samples(out).values() for sample in part]


def pixels(seed: int, shape: Sequence[int] = (20, 24)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """8-bit noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(seed: int, shape: Sequence[int] = (20, 24)) -> bytes:
    """An encoded image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, shape)).save(buffer, "PNG")
    return buffer.getvalue()


def image_file(path: Path, seed: int = 0, shape: Sequence[int] = (20, 24)) -> Path:
    """An image file of any suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, shape)).save(path)
    return path


def table(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> Path:
    """A CSV file, gzipped where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def document(path: Path, value: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A Parquet file; the test skips without pyarrow."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def lines(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """A JSON Lines file."""
    return text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def text(path: Path, content: str) -> Path:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def scan(path: Path, seed: int = 0, slope: float | None = None, inter: float | None = None) -> Path:
    """A small NIfTI volume of stored values from 0 to 2000, as scanners store CT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.random.default_rng(seed).integers(0, 2000, (12, 10, 6), dtype=np.int16)
    image = nib.Nifti1Image(stored, np.diag([-0.75, -0.75, 1.5, 1.0]))
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def vqa_rad(folder: Path, **changes: Any) -> Path:
    """Two questions about each of ten images; the last three images are test, one of them in train, too."""
    records = []
    for number in range(20):
        image_file(folder / "VQA_RAD Image Folder" / f"synpic{number // 2}.jpg", number // 2)
        closed = number % 2 == 0
        test = number >= 14 and number != 15
        record = {
            "qid": number, "image_name": f"synpic{number // 2}.jpg", "question": " Is it large? ",
            "answer": "No" if closed else "Left lung", "answer_type": "CLOSED " if closed else "OPEN",
            "phrase_type": "test_freeform" if test else "freeform", "image_organ": "CHEST",
        }  # fmt: skip
        records.append(record | changes)
    document(folder / "VQA_RAD Dataset Public.json", records)
    return folder


def slake(folder: Path) -> Path:
    """Six images; English and Chinese disagree about the split of half of them, as in the real one."""
    english = {0: "train", 1: "train", 2: "train", 3: "train", 4: "validate", 5: "test"}
    chinese = {0: "train", 1: "test", 2: "train", 3: "validate", 4: "train", 5: "train"}
    files: dict[str, list[dict[str, Any]]] = {"train": [], "validate": [], "test": []}
    for number in range(6):
        name = f"xmlab{number}"
        image_file(folder / "imgs" / name / "source.jpg", number)
        boxes = [{"Liver": [2.0, 3.0, 10, 8]}, {"Lung": [0, 0, 4, 5]}, {"Lung": [12, 0, 6.5, 5]}]
        document(folder / "imgs" / name / "detection.json", boxes)
        for language, home, asked, answer, form in (
            ("en", english, "Is there a liver?", "Yes", "CLOSED"),
            ("en", english, "Which organ is this?", "Liver", "OPEN"),
            ("zh", chinese, "图中有肝脏吗？", "是", "CLOSED"),
            ("zh", chinese, "这是什么器官？", "肝脏", "OPEN"),
        ):
            part = files[home[number]]
            part.append({
                "img_id": number, "img_name": f"{name}/source.jpg", "question": asked, "answer": answer,
                "q_lang": language, "location": "Abdomen", "modality": "CT", "answer_type": form,
                "base_type": "vqa", "content_type": "Organ", "qid": 100 * number + len(part),
            })  # fmt: skip
    for split, records in files.items():
        document(folder / f"{split}.json", records)
    return folder


def mimic_cxr(folder: Path) -> Path:
    """Three patients, one of each split; the first has two studies, one of them without a usable report."""
    studies = {
        ("10000032", "50414267"): ("train", ("PA", "LATERAL", "AP")),
        ("10000032", "53189527"): ("train", ("AP",)),
        ("10000764", "57375967"): ("validate", ("LATERAL",)),
        ("10000898", "50771383"): ("test", ("AP",)),
    }
    splits, metadata, chexpert = [], [], []
    for number, ((subject, study), (split, views)) in enumerate(studies.items()):
        home = folder / "files" / f"p{subject[:2]}" / f"p{subject}"
        report = "                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n"
        if study != "53189527":
            report += f" FINDINGS:\n \n No effusion.  Heart\n size {number} is normal.\n\n IMPRESSION:\n Clear lungs.\n"
        text(home / f"s{study}.txt", report)
        chexpert.append({
            "subject_id": subject, "study_id": study, "Edema": "0.0", "Pneumonia": "-1.0",
            "Cardiomegaly": "", "No Finding": "1.0",
        })  # fmt: skip
        for view, position in enumerate(views):
            name = f"dicom-{study}-{view}"
            image_file(home / f"s{study}" / f"{name}.jpg", 10 * number + view)
            splits.append({"dicom_id": name, "study_id": study, "subject_id": subject, "split": split})
            metadata.append(
                {"dicom_id": name, "subject_id": subject, "study_id": study, "ViewPosition": position}
            )
    table(folder / "mimic-cxr-2.0.0-split.csv.gz", splits)
    table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", metadata)
    table(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", chexpert)
    return folder


CT_RATE_LABELS = ("Medical material", "Lung nodule", "Pleural effusion", "Interlobular septal thickening")


def ct_rate(folder: Path, *, fixed: bool = True) -> Path:
    """Two training patients, one with two studies and two reconstructions, and one validation patient."""
    volumes = {
        "train": ("train_1_a_1", "train_1_a_2", "train_1_b_1", "train_2_a_1"),
        "valid": ("valid_1_a_1", "valid_1_a_2"),
    }
    dates = {
        "train_1_a": "20190105",
        "train_1_b": "20190415",
        "train_2_a": "20200101",
        "valid_1_a": "20210427",
    }
    root = folder / "dataset"
    for part, names in volumes.items():
        long = "validation" if part == "valid" else part
        reports, labels, metadata = [], [], []
        for name in names:
            study = name.rsplit("_", 1)[0]
            home = root / (f"{part}_fixed" if fixed else part) / study.rsplit("_", 1)[0] / study
            slope = (1.0, -1024.0) if fixed else (None, None)
            scan(home / f"{name}.nii.gz", zlib.crc32(name.encode()), *slope)
            file = f"{name}.nii.gz"
            reports.append({
                "VolumeName": file, "ClinicalInformation_EN": "Not given.", "Technique_EN": "CT chest",
                "Findings_EN": f"Nodule in {study}.", "Impressions_EN": "Lung nodule.",
            })  # fmt: skip
            labels.append({"VolumeName": file, **dict.fromkeys(CT_RATE_LABELS, 0), "Lung nodule": 1})
            metadata.append({
                "VolumeName": file, "RescaleIntercept": -1024, "RescaleSlope": 1,
                "XYSpacing": "[0.75, 0.75]", "ZSpacing": 1.5, "StudyDate": dates[study],
            })  # fmt: skip
        table(root / "radiology_text_reports" / f"{long}_reports.csv", reports)
        table(root / "multi_abnormality_labels" / f"{part}_predicted_labels.csv", labels)
        table(root / "metadata" / f"{long}_metadata.csv", metadata)
        document(
            root / "vqa" / f"{part}_vqa.json",
            [_ct_rate_entry(kind, f"{names[0]}.nii.gz") for kind in range(3)],
        )
    return folder


def _ct_rate_entry(kind: int, volume: str) -> dict[str, Any]:
    def turns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [
            turn
            for asked, answered in pairs
            for turn in ({"from": "human", "value": asked}, {"from": "gpt", "value": answered})
        ]

    if kind == 0:
        return {"id": "report_generation_0", "image": volume, "conversations": turns(
            ("<image>\nGive the report.<report_generation>", "There is a nodule."))}  # fmt: skip
    if kind == 1:
        return {"id": "mixed_1", "image": volume, "conversations": turns(
            ("<image>\nWhat is seen in the lungs?<long_answer>", "A nodule is seen in the left lung."),
            ("Is there a nodule?<short_answer>", "Yes"),
            ("What is seen? (a) Nodule (b) Effusion (c) None of the above<multiple_choice>", "(a) Nodule"))}  # fmt: skip
    return {"id": "conversation_2", "image": volume, "conversations": turns(
        ("<image>\nIs there an abnormality?", "Yes, a nodule."), ("Where is it?", "In the left lung."))}  # fmt: skip


def m3d(folder: Path) -> Path:
    """Three cases; the first has two volumes, of which the published lists wrongly put one into the test."""

    def case(number: int, name: str) -> dict[str, str]:
        home = f"M3D_Cap_npy/ct_quizze/{number:06d}"
        path = folder / home / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(number + len(name)).random((1, 8, 16, 16), dtype=np.float32))
        text(folder / home / "text.txt", f"Case {number}\nshows a mass.")
        return {"image": f"{home}/{name}.npy", "text": f"{home}/text.txt"}

    shared, moved = case(1, "Axial_portal"), case(1, "Coronal_portal")
    parts = {
        "train": [shared, case(2, "Axial")],
        "validation": [case(3, "Axial")],
        "test1k": [moved],
        "test100": [moved],
    }
    document(folder / "M3D_Cap_npy" / "M3D_Cap.json", parts)
    for name, record in (("train", case(2, "Axial")), ("val", case(3, "Axial")), ("test", case(4, "Axial"))):
        table(folder / "M3D-VQA" / f"M3D_VQA_{name}.csv", [{
            "Image Path": record["image"].replace("M3D_Cap_npy", "M3D_Cap"), "Question Type": "1",
            "Question": "In which plane is it?", "Choice A": "axial", "Choice B": "coronal",
            "Choice C": "sagittal", "Choice D": "oblique", "Answer": "axial", "Answer Choice": "A",
        }])  # fmt: skip
    return folder


def rad_3d(folder: Path) -> Path:
    """A patient with four studies, asked about the last; and a test patient with one."""
    for letter in "abcd":
        path = folder / "Images" / "train" / f"train_3_{letter}_1.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(ord(letter)).random((1, 8, 16, 16), dtype=np.float32))
    (folder / "Images" / "test").mkdir(parents=True)
    np.save(folder / "Images" / "test" / "test_7_a_1.npy", np.ones((1, 8, 16, 16), np.float32))
    closed = {
        "QuestionType": "Close", "AnswerChoice": "B", "Choice A": "New Lesion", "Choice B": "Resolved Lesion",
        "Choice C": "No Abnormality", "Choice D": "-",
    }  # fmt: skip
    opened = {"QuestionType": "Open", "AnswerChoice": "-", **{f"Choice {letter}": "-" for letter in "ABCD"}}
    tasks = folder / "3DRAD"
    table(tasks / "train" / "Task6_Longitudinal_Temporal_Diagnosis" / "d.csv", [
        {"Task": 6, "Subtask": 3, "VolumeName": "train_3_d_1.nii.gz", "Question": "How has it changed?",
         "Answer": "Resolved Lesion", **closed}])  # fmt: skip
    table(tasks / "test" / "Task3_Medical_Computation" / "Size.csv", [
        {"Task": 3, "Subtask": 2, "VolumeName": "test_7_a_1.nii.gz", "Question": "How large is it?",
         "Answer": "30 mm", **opened}])  # fmt: skip
    dates = {"a": "20180101", "b": "20180201", "c": "20180301", "d": "20180331"}
    table(folder / "dataset" / "metadata" / "train_metadata.csv", [
        {"VolumeName": f"train_3_{letter}_1.nii.gz", "StudyDate": day} for letter, day in dates.items()
    ])  # fmt: skip
    return folder


def ct_spatialvqa(folder: Path) -> Path:
    """Questions about two scans, one in CT-RATE's folders, one beside the table's others."""
    scan(folder / "valid_fixed" / "valid_1" / "valid_1_a" / "valid_1_a_1.nii.gz", 1, 1.0, -1024.0)
    scan(folder / "valid_fixed" / "valid_2_b_2.nii.gz", 2, 1.0, -1024.0)
    root = "3D_VLM_Spatial/dataset/data_volumes/dataset/valid_fixed"
    lines(folder / "spatial_qa_filtered_full_nifti.jsonl", [
        {"case_id": f"{case}.nii.gz", "image_path": f"{root}/{case}.nii.gz", "question": asked, "answer": answer}
        for case, asked, answer in (
            ("valid_1_a_1", "Where are the nodules?", "In both lungs."),
            ("valid_1_a_1", "Is there pleural effusion?", "No pleural effusion was detected."),
            ("valid_2_b_2", "Which lobe is affected?", "The middle lobe of the right lung."),
        )
    ])  # fmt: skip
    return folder


def deeptumorvqa(folder: Path) -> Path:
    """Two scans of the benchmark, asked about in every stage, and a slice to train on."""
    rows = (
        ("BDMAP_00000001", "recognition", "liver lesion existence", "Is there a liver lesion?", "Yes",
         "A: No B: Yes", "B"),
        ("BDMAP_00000001", "measurement", "organ volume measurement", "What is the volume of the spleen?", "181.5",
         "A: 95.2 B: 181.5 C: 300.1 D: 402.7", "B"),
        ("BDMAP_00000002", "visual reasoning", "lesion counting", "How many cysts are in segment B: 4?", "2",
         "A: 1, B: 2, C: 3", "B"),
        ("BDMAP_00000002", "medical reasoning", "splenomegaly grading", "Classify the splenic enlargement.",
         "Normal (no splenomegaly)", "A: Normal (no splenomegaly) B: Moderate C: Severe D: Mild", "A"),
    )  # fmt: skip
    records = [
        {
            "qid": f"bench_{number:05d}", "image_id": case, "spacing": "[0.8 0.8 5.0]", "shape": "(12, 10, 6)", "sex": None,
            "age": None, "question": asked, "answer": answer, "mc_question": f"{asked} {options}", "correct_option": letter,
            "organ": "liver", "lesion": False, "question_type": stage, "question_subtype": subtype, "requires_tools": [],
        }
        for number, (case, stage, subtype, asked, answer, options, letter) in enumerate(rows)
    ]  # fmt: skip
    for case in ("BDMAP_00000001", "BDMAP_00000002"):
        scan(folder / "benchmark" / "ct" / case / "ct.nii.gz", zlib.crc32(case.encode()), 1.0, -1024.0)
    lines(folder / "benchmark" / "test_qa.jsonl", records)
    image_file(folder / "train" / "images_2d" / "whole" / "BDMAP_00000003.png", 3)
    table(folder / "train" / "train_qa.csv", [records[0] | {"image_id": "BDMAP_00000003"}])
    return folder


def medxpertqa(folder: Path, zipped: bool = True) -> Path:
    """A question about two images, one that lists its own options, and one to develop with; images in one archive."""
    options = {letter: f"Option {letter}" for letter in "ABCDE"}
    shared = {"options": options, "medical_task": "Diagnosis", "body_system": "Skeletal"}
    asked = [
        {"id": "MM-0", "question": "What is shown?", "label": "C", "images": ["MM-0-a.jpeg", "MM-0-b.jpeg"],
         "question_type": "Reasoning"},
        {"id": "MM-1", "question": "Which ligament?\nAnswer Choices: (A) Option A (B) Option B", "label": "A",
         "images": ["MM-1-a.jpeg"], "question_type": "Understanding"},
        {"id": "MM-2", "question": "Which bone?", "label": "E", "images": ["MM-2-a.jpeg"],
         "question_type": "Reasoning"},
    ]  # fmt: skip
    lines(folder / "MM" / "test.jsonl", [one | shared for one in asked[:2]])
    lines(folder / "MM" / "dev.jsonl", [asked[2] | shared])
    names = [str(name) for one in asked for name in one["images"]]
    if not zipped:
        for number, name in enumerate(names):
            image_file(folder / "images" / name, number)
        return folder
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(f"images/{name}", png(number))
    return folder


def rexvqa(folder: Path) -> Path:
    """A study in train and one in test, each with a frontal and a lateral view, under published identifiers."""
    for number, (part, patient) in enumerate(
        (("train", "GRDN00A"), ("valid", "GRDN00B"), ("test", "GRDN00C"))
    ):
        study = f"1.2.840.{number}"
        names = [f"../deid_png/{patient}/studies/{study}/{view}.png" for view in (0, 1)]
        for view, name in enumerate(names):
            image_file(folder / name.removeprefix("../"), 10 * number + view)
        shared = {
            "StudyInstanceUid": study, "study_id": f"{patient}_{study}", "PatientID": patient, "ImagePath": names,
            "ImageViewPosition": ["PA", "LATERAL"], "category": "Pleura", "correct_answer_explanation": "Because.",
        }  # fmt: skip
        document(folder / "metadata" / f"{part}_vqa_data.json", {
            f"{study}_0": shared | {
                "task_name": "presence_assessment", "question": "Which finding is present?", "correct_answer": "B",
                "options": ["A. None", "B. Effusion", "C. Nodule", "D. Fracture"],
            },
            f"{study}_1": shared | {
                "task_name": "Negation Detection", "question": "Which is absent?", "correct_answer": "A",
                "options": ["A. Effusion", "B. Nodule"],
            },
        })  # fmt: skip
    return folder


def medthinkvqa(folder: Path) -> Path:
    """A case with three images from two times in test, and one with one image in train."""
    for split, case, count in (("train", 11, 1), ("test", 19254, 3)):
        names = [f"images/case{case}/img{number}.jpg" for number in range(count)]
        for number, name in enumerate(names):
            image_file(folder / name, case + number)
        record = {
            "title": f"Case number {case}", "CLINICAL_HISTORY": "A man with pain.", "IMAGING_FINDINGS": "Oedema of muscle.",
            "options": {letter: f"Disease {letter}" for letter in "ABCDE"}, "correct_answer": "B",
            "correct_answer_text": "Disease B",
            "ICD Chapter": "Chapter XIII", "is_longitudinal": count > 1, "timepoint_count": min(count, 2),
            "image_count": count,
        }  # fmt: skip
        for number, name in enumerate(names, start=1):
            record |= {f"image_{number:02d}_path": name, f"image_{number:02d}_caption": f"Image {number}."}
        record |= {f"image_{number:02d}_path": "" for number in range(count + 1, 50)}
        lines(folder / f"{split}.jsonl", [record])
    return folder


def amos_mm(folder: Path) -> Path:
    """A scan to train on that shows two regions, and one of validation; a table of reports, one of questions."""
    reports: dict[str, Any] = {"name": "AMOS-MM"}
    questions: dict[str, Any] = {"name": "AMOS-MM"}
    for part, home, case in (("training", "imagesTr", "amos_0001"), ("validation", "imagesVa", "amos_7008")):
        scan(folder / home / f"{case}.nii.gz", zlib.crc32(case.encode()), 1.0, -1024.0)
        entry = {"image": f"./{home}/{case}.nii.gz", "meta": {"spacing": [0.75, 0.75, 1.5]}}
        findings = {"chest": "", "abdomen": f"Cyst in the liver\nof {case}.", "pelvis": "No mass."}
        reports[part] = [
            entry | {"labels": {"report": {"findings": findings, "impression": {"abdomen": ["Cyst."]}}}}
        ]
        asked = {
            "question": "What lies in the liver?", "options": dict(zip("ABCD", ("Cyst", "Stone", "Gas", "Fat"), strict=True)),
            "answer": "A", "reasoning": "It is dark.",
        }  # fmt: skip
        questions[part] = [entry | {"labels": {"qa": [asked, asked | {"question": "Is it benign?"}]}}]
    document(folder / "report_generation_train_val.json", reports)
    document(folder / "vqa_train_val.json", questions)
    return folder


MR_RATE_LABELS = tuple(f"Pathology {number}" for number in range(37))


def reportqa(folder: Path) -> Path:
    """An English report on CT-RATE, one on MIMIC-CXR, and a Chinese one; CT-RATE's table names folders of elsewhere."""
    scan(folder / "ct-rate" / "valid_fixed" / "valid_1" / "valid_1_a" / "valid_1_a_1.nii.gz", 1, 1.0, -1024.0)
    scan(folder / "ctrg-brain-zh" / "abnormal" / "7.nii.gz", 2)
    image_file(folder / "mimic-cxr" / "files" / "p10" / "p10000032" / "s50414267" / "a.jpg", 3)

    def asked(
        report: str, entity: str, attribute: str, kind: str, options: list[str], answer: int
    ) -> dict[str, Any]:
        return {
            "report_id": report, "clinical_entity_type": "finding", "clinical_entity": entity, "clinical_entity_idx": 0,
            "attribute": attribute, "question_idx": 0, "question_type": kind, "question": f"{entity}: {attribute}?",
            "options": options, "answer": answer, "evidence": "",
        }  # fmt: skip

    chest, cxr = "/data/ct/valid_1_a_1.nii.gz", "/data/files/p10/p10000032/s50414267/a.jpg"
    yes_no = ["Yes", "No"]
    lines(folder / "ct-rate" / "full" / "qas_filtered_wrong.jsonl", [
        asked(chest, "Nodule", "presence", "base", ["No", "Yes"], 1),
        asked(chest, "Nodule", "margin", "base", ["Smooth", "Spiculated", "Lobulated", "Irregular"], 1),
        asked(chest, "Effusion", "presence", "negative", yes_no, 1),
        asked(chest, "Opacity", "presence", "hierarchical", yes_no, 0),
    ])  # fmt: skip
    lines(
        folder / "mimic-cxr" / "qas_filtered_wrong.jsonl",
        [asked(cxr, "Edema", "presence", "base", yes_no, 0)],
    )
    lines(folder / "ctrg-brain-zh" / "full" / "qas_filtered_wrong.jsonl", [
        asked("/data/abnormal/7.nii.gz", "出血", "presence", "base", ["是", "否"], 0),
        asked("/data/abnormal/7.nii.gz", "出血", "severity", "base", ["轻度", "重度"], 0),
    ])  # fmt: skip
    return folder


def mr_rate(folder: Path) -> Path:
    """A patient with two studies, one zipped and one unpacked, and a test patient with one, zipped."""
    studies = {
        "S1": ("P1", "train", "2020-01-01", ("t2w-raw-axi", "t1w-raw-sag")),
        "S2": ("P1", "train", "2020-03-01", ("t1w-raw-axi",)),
        "S3": ("P2", "test", "2021-01-01", ("flair-raw-axi", "t1w-raw-axi", "t1w-raw-axi-2")),
    }
    metadata, reports, labels, splits = [], [], [], []
    for name, (patient, split, day, series) in studies.items():
        splits.append({"batch_id": "batch00", "patient_uid": patient, "study_uid": name, "split": split})
        reports.append({
            "study_uid": name, "report": "Whole.", "clinical_information": "", "technique": "MR",
            "findings": f"White matter of {name}.", "impression": "\u2014 Normal.",
        })  # fmt: skip
        labels.append({"study_uid": name, **dict.fromkeys(MR_RATE_LABELS, 0), "Pathology 3": 1})
        home = folder / "mri" / "batch00" / name
        for number, one in enumerate(series):
            metadata.append({
                "patient_uid": patient, "study_uid": name, "series_id": one, "SeriesNumber": len(series) - number,
                "anon_study_date": day,
            })  # fmt: skip
            scan(home / "img" / f"{name}_{one}.nii.gz", zlib.crc32(f"{name}{one}".encode()))
            scan(home / "seg" / f"{name}_{one}_brain-mask.nii.gz", 0)
        if name != "S2":
            with zipfile.ZipFile(home.with_suffix(".zip"), "w") as archive:
                for path in sorted(home.rglob("*.nii.gz")):
                    archive.write(path, f"{name}/{path.relative_to(home).as_posix()}")
            shutil.rmtree(home)
    table(folder / "splits.csv", splits)
    table(folder / "reports" / "batch00_reports.csv", reports)
    table(folder / "metadata" / "batch00_metadata.csv", metadata)
    table(folder / "pathology_labels" / "mrrate_labels.csv", labels)
    return folder
