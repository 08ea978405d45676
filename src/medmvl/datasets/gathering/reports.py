"""Reports as text: their sections, and how findings and impression are joined into what a model writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest

from medmvl.errors import UserError

FINDINGS = ("FINDINGS", "FINDING", "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION")
IMPRESSION = ("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS")
ASK = {"xray": "Write the report of this chest X-ray.", "ct": "Write the report of this chest CT."}
_HEADER = re.compile(r"^[ \t]*([A-Z][A-Z /,()-]{2,}):", re.MULTILINE)


def sections_of(text: str) -> dict[str, str]:
    """Split a plain report at its capital headers: `FINDINGS:` to the text up to the next one, blanks joined."""
    found: dict[str, str] = {}
    headers = list(_HEADER.finditer(text))
    for header, following in zip_longest(headers, headers[1:]):
        body = text[header.end() : following.start() if following else len(text)]
        found.setdefault(header[1].strip(), " ".join(body.split()))
    return found


def findings_and_impression(text: str) -> tuple[str, str]:
    """The two sections of a plain report; an absent one is empty."""
    sections = sections_of(text)
    return _first(sections, FINDINGS), _first(sections, IMPRESSION)


def joined(findings: str, impression: str) -> str:
    """Join the sections as one report: `Findings: ... Impression: ...`.

    Raises:
        UserError: where both are empty.
    """
    parts = list(_parts(" ".join(findings.split()), " ".join(impression.split())))
    if not parts:
        raise UserError("the report has neither findings nor an impression")
    return " ".join(parts)


def _parts(findings: str, impression: str) -> Iterator[str]:
    if findings:
        yield f"Findings: {findings}"
    if impression:
        yield f"Impression: {impression}"


def _first(sections: dict[str, str], names: tuple[str, ...]) -> str:
    return next((sections[name] for name in names if sections.get(name)), "")
