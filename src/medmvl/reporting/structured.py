"""A report as a DICOM Basic Text SR that refers to the images it was made from, written with highdicom and read back.

The tree follows TID 2000, Basic Diagnostic Imaging Report (PS3.16): language, the device that observed, findings, images.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, generate_uid

from medmvl.atomic_files import atomic_write
from medmvl.errors import UserError
from medmvl.imaging.silence import silent_libraries
from medmvl.reporting.notice import notices

if TYPE_CHECKING:
    from highdicom.sr import (
        CodedConcept,
        ContainerContentItem,
        ContentItem,
        EnhancedSR,
        ImageContentItem,
        TextContentItem,
    )

SERIES_NUMBER = 9001
DEVICE = "MedM-VL"
_LANGUAGES = {"en": "English", "zh": "Chinese"}
_CODES = {
    "report": ("18748-4", "LN", "Diagnostic imaging study"),
    "language": ("121049", "DCM", "Language of Content Item and Descendants"),
    "observer": ("121005", "DCM", "Observer Type"),
    "device": ("121007", "DCM", "Device"),
    "device uid": ("121012", "DCM", "Device Observer UID"),
    "device name": ("121013", "DCM", "Device Observer Name"),
    "findings": ("121070", "DCM", "Findings"),
    "finding": ("121071", "DCM", "Finding"),
    "comment": ("121106", "DCM", "Comment"),
    "images": ("111028", "DCM", "Image Library"),
    "source": ("260753009", "SCT", "Source"),
}


def write_structured_report(
    path: Path,
    study: str,
    text: str,
    language: str,
    sources: Sequence[Dataset],
    version: str,
    warnings: Sequence[str] = (),
) -> None:
    """Write the document, then read it back.

    Args:
        path: the `.dcm` file; replaced atomically.
        study: the id of the study; with the text it makes the document's UIDs, so that writing again makes no second one.
        text: the report, not empty.
        language: `"en"` or `"zh"`.
        sources: from `source_instances`.
        version: of this software.
        warnings: what is doubtful about the scan or the report; each is a comment after the notice.

    Raises:
        UserError: what was written is not what was meant.
        ValueError: highdicom does not accept the sources.
    """
    buffer = BytesIO()
    with silent_libraries():  # their warnings quote the patient's tags
        document = _document(study, text, language, sources, version, warnings)
        pydicom.dcmwrite(buffer, document, enforce_file_format=True)
        check(buffer, text, sources)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def check(file: Path | BytesIO, text: str, sources: Sequence[Dataset]) -> None:
    """Read a document and compare: its class, its flags, the report, and the images it refers to.

    Raises:
        UserError: naming what differs.
    """
    from highdicom.sr import ContentSequence

    if isinstance(file, BytesIO):
        file.seek(0)
    read = pydicom.dcmread(file)
    ContentSequence.from_sequence(read.ContentSequence)  # raises where an item is malformed
    items = list(_items(read))
    texts = [item.TextValue for item in items if item.ValueType == "TEXT"]
    images = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items if item.ValueType == "IMAGE"
    }
    wanted = {
        "class": read.SOPClassUID == BasicTextSRStorage,
        "flags": (read.VerificationFlag, read.CompletionFlag, read.PreliminaryFlag)
        == ("UNVERIFIED", "PARTIAL", "PRELIMINARY"),
        "text": text.replace("\n", "\r\n") in texts,
        "images": images == {source.SOPInstanceUID for source in sources},
        "study": read.StudyInstanceUID == sources[0].StudyInstanceUID,
        "patient": (read.PatientID, str(read.PatientName))
        == (sources[0].PatientID, str(sources[0].PatientName)),
    }
    different = [name for name, holds in wanted.items() if not holds]
    if different:
        raise UserError(f"the DICOM SR does not read back as written: {', '.join(different)}")


def _document(
    study: str, text: str, language: str, sources: Sequence[Dataset], version: str, warnings: Sequence[str]
) -> EnhancedSR:
    from highdicom.sr import EnhancedSR

    document = EnhancedSR(
        evidence=list(sources),
        content=_content(text, language, sources, version, warnings),
        series_instance_uid=generate_uid(entropy_srcs=[study, "series"]),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=[study, text]),
        instance_number=1,
        manufacturer=DEVICE,
        manufacturer_model_name=DEVICE,
        software_versions=version,
        device_serial_number="none",
        series_description="Unverified machine report",
        is_complete=False,
        is_final=False,
        is_verified=False,
        specific_character_set="ISO_IR 192",
    )
    # highdicom has no class of its own for Basic Text SR, whose modules are those of Enhanced SR
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    return document


def _content(
    text: str, language: str, sources: Sequence[Dataset], version: str, warnings: Sequence[str]
) -> ContainerContentItem:
    from highdicom.sr import ContainerContentItem, ContentSequence

    root = ContainerContentItem(name=_code("report"), template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            *_context(language, version),
            _container("findings", [_text("finding", text, "CONTAINS")]),
            *(_text("comment", said, "CONTAINS") for said in notices(language, warnings)),
            _container("images", [_image(source) for source in sources]),
        ]
    )
    return root


def _context(language: str, version: str) -> list[ContentItem]:
    from highdicom.sr import CodeContentItem, CodedConcept, UIDRefContentItem

    observed = "HAS OBS CONTEXT"
    spoken = CodedConcept(value=language, scheme_designator="RFC5646", meaning=_LANGUAGES[language])
    uid = generate_uid(entropy_srcs=[DEVICE, version])
    return [
        CodeContentItem(name=_code("language"), value=spoken, relationship_type="HAS CONCEPT MOD"),
        CodeContentItem(name=_code("observer"), value=_code("device"), relationship_type=observed),
        UIDRefContentItem(name=_code("device uid"), value=uid, relationship_type=observed),
        _text("device name", f"{DEVICE} {version}", observed),
    ]


def _code(name: str) -> CodedConcept:
    from highdicom.sr import CodedConcept

    value, scheme, meaning = _CODES[name]
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _text(name: str, value: str, relation: str) -> TextContentItem:
    from highdicom.sr import TextContentItem

    return TextContentItem(name=_code(name), value=value.replace("\n", "\r\n"), relationship_type=relation)


def _image(source: Dataset) -> ImageContentItem:
    from highdicom.sr import ImageContentItem

    return ImageContentItem(
        name=_code("source"),
        referenced_sop_class_uid=source.SOPClassUID,
        referenced_sop_instance_uid=source.SOPInstanceUID,
        relationship_type="CONTAINS",
    )


def _container(name: str, items: Sequence[ContentItem]) -> ContainerContentItem:
    from highdicom.sr import ContainerContentItem, ContentSequence

    made = ContainerContentItem(name=_code(name), relationship_type="CONTAINS")
    made.ContentSequence = ContentSequence(items)
    return made


def _items(item: Dataset) -> list[Dataset]:
    """All items below one, in order."""
    children = list(item.get("ContentSequence") or ())
    return [below for child in children for below in (child, *_items(child))]
