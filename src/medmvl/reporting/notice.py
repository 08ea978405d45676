"""What every report says of itself, and text that standards take: the same words in FHIR, in SR and in the tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

STATUS = "unverified machine output"
NOTICES = {
    "en": "Unverified machine output of research software. Preliminary; not a diagnosis.",
    "zh": "研究软件的机器输出，未经核实。仅为初步结果，不作诊断。",
}
WARNINGS = {"en": "Warning about this report", "zh": "关于本报告的警告"}
"""Introduction to warnings about a scan that is incomplete or was read with doubts; the warnings are in English."""
PROMPTS = {"en": "Write a report of this study.", "zh": "请为该检查写一份报告。"}


def notices(language: str, warnings: Sequence[str]) -> list[str]:
    """The notice, and one line per warning, in order."""
    return [NOTICES[language], *(f"{WARNINGS[language]}: {plain(warning)}" for warning in warnings)]


def plain(text: str) -> str:
    """The report without control characters, which neither XHTML nor DICOM takes; line breaks stay."""
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc").strip()
