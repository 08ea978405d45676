"""IU-Xray (Demner-Fushman et al. 2016): 7,470 chest X-rays of 3,955 reports, Indiana University, by Open-i.

Layouts: Open-i's `ecgen-radiology/*.xml` with `NLMCXR_png/*.png` (openi.nlm.nih.gov); the tables
`indiana_reports.csv` and `indiana_projections.csv` with `images/images_normalized/*.png`, which know the
views (kaggle.com/datasets/raddar/chest-xrays-indiana-university); and `annotation.json` with `images/`, whose
split R2Gen and most papers use (github.com/zhjohnchan/R2Gen). A report is a patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from medmvl.datasets.gathering.chest_xray import View, take_report
from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.readers import as_records, below, iter_csv, load_object, text_field
from medmvl.datasets.gathering.reports import joined
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "val": "validation", "test": "test"}

EMPTY = "reports with neither findings nor an impression"


def gather(found: Collection) -> None:
    """Take every report of whichever layout is there."""
    raw = found.raw
    if (raw / "indiana_reports.csv").is_file():
        _gather_tables(found)
    elif (raw / "annotation.json").is_file():
        _gather_r2gen(found)
    elif any(raw.rglob("ecgen-radiology/*.xml")):
        _gather_open_i(found)
    else:
        raise UserError(
            f"{raw}: expected indiana_reports.csv, annotation.json, or ecgen-radiology/*.xml with NLMCXR_png"
        )


def _gather_tables(found: Collection) -> None:
    folders = ("images/images_normalized", "images", "")
    views: dict[str, list[View]] = {}
    for row in iter_csv(found.table(found.raw / "indiana_projections.csv")):
        name = text_field(row, "filename")
        places = [below(found.raw / folder, name) for folder in folders]
        path = next((place for place in places if place.is_file()), places[0])
        views.setdefault(text_field(row, "uid"), []).append(View(path, row.get("projection", "")))
    for row in iter_csv(found.table(found.raw / "indiana_reports.csv")):
        uid = text_field(row, "uid")
        with found.record(f"indiana_reports.csv, uid {uid}"):
            if not (row.get("findings") or row.get("impression")):
                found.note(EMPTY)
                continue
            report = joined(row.get("findings", ""), row.get("impression", ""))
            take_report(found, f"iu_xray-{uid}", views.get(uid, []), report, None, **_identity(f"CXR{uid}"))


def _gather_r2gen(found: Collection) -> None:
    path = found.raw / "annotation.json"
    for split, records in load_object(found.table(path)).items():
        if split not in SPLITS:
            raise UserError(f"{path}: expected {', '.join(SPLITS)}, found {split!r}")
        for record in as_records(records, f"{path}, {split}"):
            with found.record(f"annotation.json, {record.get('id')}"):
                name = text_field(record, "id")
                names = record.get("image_path")
                if not isinstance(names, list):
                    raise UserError("expected a list of images as 'image_path'")
                views = [View(below(found.raw / "images", str(image)), "") for image in names]
                report = " ".join(text_field(record, "report").split())
                take_report(
                    found, f"iu_xray-{name}", views, report, SPLITS[split], **_identity(name.split("_")[0])
                )


def _gather_open_i(found: Collection) -> None:
    images = {path.stem: path for path in sorted(found.raw.rglob("*.png"))}
    for path in sorted(found.raw.rglob("ecgen-radiology/*.xml")):
        with found.record(path.name):
            findings, impression, names = _parse_xml(found.table(path))
            if not findings and not impression:
                found.note(EMPTY)
                continue
            views = [View(images.get(name, path.with_name(f"{name}.png")), "") for name in names]
            report = joined(findings, impression)
            take_report(found, f"iu_xray-{path.stem}", views, report, None, **_identity(f"CXR{path.stem}"))


def _parse_xml(path: Path) -> tuple[str, str, list[str]]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"not valid XML ({error})") from None
    texts = {node.get("Label"): (node.text or "").strip() for node in root.iter("AbstractText")}
    return texts.get("FINDINGS", ""), texts.get("IMPRESSION", ""), list(_image_names(root))


def _image_names(root: ElementTree.Element) -> Iterator[str]:
    for node in root.iter("parentImage"):
        if node.get("id"):
            yield str(node.get("id"))


def _identity(report: str) -> JsonObject:
    return {"patient": f"iu-xray:{report}", "study": f"iu-xray:{report}", "task": "iu_xray"}


IU_XRAY_REPORT = Benchmark(
    name="iu-xray-report", title="IU-Xray, findings and impression", data="iu-xray", question_types=("report",),
    protocol="medevalkit",
)  # fmt: skip

DATASET = PublicDataset(
    name="iu-xray",
    title="IU-Xray (Indiana University chest X-rays)",
    licence="CC BY-NC-ND 4.0: non-commercial, no derivatives",
    url="https://openi.nlm.nih.gov",
    layout="indiana_reports.csv and indiana_projections.csv with images/, or annotation.json with images/, "
    "or ecgen-radiology/*.xml with NLMCXR_png/",
    size="7,470 images, 3,955 reports",
    split="of annotation.json (R2Gen) where it is there, else a new one by report",
    gather=gather,
    tasks=(IU_XRAY_REPORT,),
)
