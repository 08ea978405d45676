"""Who a study is about, read again from its DICOM files: the one place that does, for FHIR and DICOM SR alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from medmvl.errors import ReadError
from medmvl.imaging.dicom_values import PARSER_ERRORS
from medmvl.imaging.silence import silent_libraries

PERSON = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
)  # fmt: skip
REFERENCE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MUST_STAND = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def study_uid(file: Path) -> str:
    """The Study Instance UID, empty where there is none; only to tell which images belong together."""
    try:
        return str(_header(file, ["StudyInstanceUID"]).get("StudyInstanceUID") or "")
    except ReadError:  # reading its pixels will say what is wrong
        return ""


def source_instances(files: Sequence[Path]) -> list[Dataset]:
    """What refers to the source images: UIDs of every one, patient and study next to those of the first, in UTF-8.

    Raises:
        ReadError: a UID is missing, or the files are not of one patient and study.
    """
    with silent_libraries():
        instances = [_instance(file) for file in files]
    if len({(one.StudyInstanceUID, one.PatientID) for one in instances}) > 1:
        raise ReadError("the images are not of one patient and one study")
    return instances


def _instance(file: Path) -> Dataset:
    header = _header(file, [*PERSON, *REFERENCE])
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword in REFERENCE:
        value = str(header.get(keyword) or "")
        if not value:
            raise ReadError(f"{file.name}: it has no {keyword}, which a reference to it needs")
        setattr(made, keyword, value)
    for keyword in PERSON:
        value = _text(header, keyword)
        if value or keyword in _MUST_STAND:
            setattr(made, keyword, value)
    return made


def _text(header: Dataset, keyword: str) -> str:
    try:
        value: Any = header.get(keyword)
    except PARSER_ERRORS:
        return ""
    return "" if value is None else str(value).strip()


def _header(file: Path, tags: list[str]) -> Dataset:
    try:
        with silent_libraries():
            return pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(tags))
    except PARSER_ERRORS as error:
        raise ReadError(f"{file.name}: its header cannot be read ({type(error).__name__})") from None
