"""Docstrings, field texts, option help and pages keep clear of the patterns that readers stumble over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

COUNTED = "tokens|samples|bytes|rows|lines|files|parameters|steps|images|processes"
UNIT = "sample|line|row|epoch|process|scan|study|patient|stage|part|pass|slice|step|volume|request|parameter|channel"
PATTERNS = {
    "a sentence begins with 'Of'": r"(?:\A|[.!?:|]\s+|\n\n[ ]*|^[-*] )Of\s",
    "an argument begins with 'of the': say its noun": r"^\s+\w+: of the ",
    "'a' before a vowel": r"\b[Aa] (?:encoder|image|answer|error|epoch|optimizer|option|adapter|interval|array|index)\b",
    "'an' before a consonant": r"\b[Aa]n (?:model|volume|scan|sample|patient|study|report|question|connector|recipe|token)\b",
    "say fix": r"\bmend(?:s|ed|ing)?\b",
    "say per, in tables": r"\b(?:one|a) (?:row|folder|report|entry) an? (?:kind|group|question|study|patient|part)\b",
    "say per": rf"\b(?:{COUNTED}) an? (?:{UNIT})\b",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a file with the line they begin in: a page whole, of a module its docstrings and the help of options."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, re.sub(r"```.*?```", lambda code: "\n" * code.group().count("\n"), source, flags=re.DOTALL)
        return
    for node in ast.walk(ast.parse(source)):
        match node:
            case (
                ast.Expr(value=ast.Constant(value=str(text)))
                | ast.keyword(arg="help", value=ast.Constant(value=str(text)))
            ):
                yield node.lineno, text


def faults(path: Path) -> list[str]:
    """One line per fault: place, pattern, words."""
    return [
        f"{path.name}:{line + text.count(chr(10), 0, found.start())}: {rule}: {found.group().strip()!r}"
        for line, text in texts(path)
        for rule, pattern in PATTERNS.items()
        for found in re.finditer(pattern, text, re.MULTILINE)
    ]


def test_no_text_has_a_pattern_that_readers_stumble_over() -> None:
    found = [fault for path in [*MODULES, *PAGES] for fault in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Of the split.", "Seed.\n\nOf the split.", "Size. Of one file.", "What a encoder gives.", "It mends that.",
        "24 bytes a sample.", "An volume.", "Sum.\n\n    Args:\n        seed: of the run.",
    ],
)  # fmt: skip
def test_each_pattern_is_found(text: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(f'"""{text}"""')
    assert len(faults(module)) == 1
