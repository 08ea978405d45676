"""A report as a FHIR R4 DiagnosticReport, validated by fhir.resources against R4B, whose DiagnosticReport is that of R4."""

from __future__ import annotations

import base64
import html
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from medmvl.json_types import JsonObject
from medmvl.reporting.notice import notices

_CATEGORY = ("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")
_CODE = ("http://loinc.org", "18748-4", "Diagnostic imaging study")
_SECURITY = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"


def diagnostic_report(
    study: str,
    text: str,
    language: str,
    sources: Sequence[Dataset],
    warnings: Sequence[str] = (),
) -> JsonObject:
    """Build and validate the resource.

    Args:
        study: the id of the study.
        text: the report, not empty.
        language: `"en"` or `"zh"`.
        sources: from `source_instances`; empty where the source was no DICOM: then the resource names no one.
        warnings: what is doubtful about the scan or the report; they follow the notice.

    Returns:
        The JSON of a resource of status `preliminary`, tagged as asserted by a device and of uncertain
        reliability.

    Raises:
        ValueError: fhir.resources does not accept it.
    """
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport

    written = "\n\n".join([*notices(language, warnings), text])
    resource: JsonObject = {
        "resourceType": "DiagnosticReport",
        "id": study,
        "meta": {"security": [{"system": _SECURITY, "code": code} for code in ("DEVAST", "UNCERTREL")]},
        "language": language,
        "text": {"status": "generated", "div": _div(written)},
        "identifier": [
            {"system": "urn:ietf:rfc3986", "value": uuid.uuid5(uuid.NAMESPACE_URL, study + text).urn}
        ],
        "status": "preliminary",
        "category": [_concept(_CATEGORY)],
        "code": _concept(_CODE),
        "issued": datetime.now(UTC).isoformat(timespec="seconds"),
        "conclusion": written,
        "presentedForm": [_attachment(written, language)],
        **(_identity(sources[0]) if sources else {}),
    }
    DiagnosticReport.model_validate(resource)
    return resource


def _identity(source: Dataset) -> JsonObject:
    subject: JsonObject = {}
    if source.PatientID:
        subject["identifier"] = {"value": str(source.PatientID)}
    if source.PatientName:
        subject["display"] = str(source.PatientName)
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{source.StudyInstanceUID}"}
    parts: JsonObject = {"imagingStudy": [{"type": "ImagingStudy", "identifier": uid}]}
    if subject:
        parts["subject"] = {"type": "Patient", **subject}
    if source.AccessionNumber:
        identifier_type = _concept(("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID"))
        number = {"type": identifier_type, "value": str(source.AccessionNumber)}
        parts["basedOn"] = [{"type": "ServiceRequest", "identifier": number}]
    if date := re.fullmatch(r"(\d{4})(\d{2})(\d{2})", str(source.StudyDate)):
        parts["effectiveDateTime"] = "-".join(date.groups())
    return parts


def _concept(code: tuple[str, str, str]) -> JsonObject:
    return {"coding": [{"system": code[0], "code": code[1], "display": code[2]}]}


def _attachment(text: str, language: str) -> JsonObject:
    data = base64.b64encode(text.encode()).decode()
    return {"contentType": "text/plain; charset=utf-8", "language": language, "data": data}


def _div(text: str) -> str:
    body = html.escape(text).replace("\n", "<br/>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'
