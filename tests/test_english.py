"""Docstrings, field texts, option help and pages keep clear of the patterns that readers stumble over."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

COUNTED = "voxels|blocks|photons|tokens|samples|bytes|rows|lines|files|parameters|steps|images|processes"
UNIT = (
    "sample|line|row|epoch|process|scan|study|patient|stage|part|pass|pixel|token|slice|"
    "step|volume|request|parameter|channel"
)
SMALL = "run|label|token|voxel|finding|question|core|group|second|variant|cell|query|latent|patch"
HELD = "layer|entry|stream|channel|score|format|member|object"
HOLDER = "block|stream|slice|axis|patch|stage|tile|window|line|prediction|format|split|verb|layer|sample|pixel|group"
ONE = "one token|map|line|logit|loss|more texts|one text"
PATTERNS = {
    "a sentence begins with 'Of'": r"(?:\A|[.!?:|]\s+|\n\n[ ]*|^[-*] )Of\s",
    "an argument begins with 'of the': say its noun": r"^\s+\w+: of the ",
    "'a' before a vowel": r"\b[Aa] (?:encoder|image|answer|error|epoch|optimizer|option|adapter|interval|array|index)\b",
    "'an' before a consonant": r"\b[Aa]n (?:model|volume|scan|sample|patient|study|report|question|connector|recipe|token)\b",
    "say fix": r"\bmend(?:s|ed|ing)?\b",
    "say per, in tables": r"\b(?:one|a) (?:row|folder|report|entry) an? (?:kind|group|question|study|patient|part)\b",
    "say per": rf"\b(?:{COUNTED}) an? (?:{UNIT})\b",
    "say per, of one": rf"\b(?:one|{ONE}) an? (?:known |logged )?(?:{UNIT}|{SMALL})\b",
    "say per, of rates": r"\b(?:operations|seconds|numbers|slices|nats) an? (?:second|step|voxel|layer|token)\b",
    "say once per": r"\b(?:once|source) an? (?:sample|epoch|file|row|process|pass)\b",
    "say per, of parts": rf"\b(?:one|{HELD}) an? (?:{HOLDER})\b",
    "say one per line": r"\b(?:a line|an answer|a row) each\b",
    "say known, reported or warned of": r"(?<!`)\b[Tt]old\b(?! apart|`)",
    "say predict, again, more expensive": r"\b(?:foret(?:ell|old)\w*|anew|dearer|unsaid)\b",
    "say number of": r"\ASo many\b",
    "say after": r"(?<!look-)(?<!left )(?<!nothing )\b[Bb]ehind\b(?! (?:an? |the heart|Starlette|in ))",
    "say next to, or than": r"(?<!\")\bbeside\b",
    "say is, or exists": r"\b(?:stands?|stood)\b(?!-in| (?:for|in for|alone|out)\b)",
    "say image": r"(?<!`)\b[Pp]ictures?\b(?!`)",
    "say fix or correct": r"\b[Pp]ut(?:s|ting)? right\b",
}
FIELD = {
    "a field begins with its noun": r"\A(?:What|Whether|Where|Who|Whose|When|How many"
    r"|Such as|Written|Also|Only|As|By|For|From|To|In|On|At|With|Without|After|Before|If)\b"
}


def fields(path: Path) -> Iterator[tuple[int, str]]:
    """The texts below the fields of a module's classes with the line they begin in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            for before, after in pairwise(node.body):
                match before, after:
                    case (ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str(text)))):
                        yield after.lineno, text


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a file with the line they begin in: a whole page; a module's docstrings, help of options, and errors."""
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
            case ast.Raise(exc=ast.Call(args=arguments)):
                yield (
                    node.lineno,
                    "\n".join(
                        part.value
                        for argument in arguments
                        for part in ast.walk(argument)
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    ),
                )


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a module with their lines."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.lstrip("# ")


def faults(path: Path) -> list[str]:
    """One line per fault: place, pattern, words."""
    looked = [(line, text, PATTERNS) for line, text in texts(path)]
    if path.suffix == ".py":
        looked += [(line, text, PATTERNS) for line, text in comments(path)]
        looked += [(line, text, FIELD) for line, text in fields(path)]
    return [
        f"{path.name}:{line + text.count(chr(10), 0, found.start())}: {rule}: {found.group().strip()!r}"
        for line, text, patterns in looked
        for rule, pattern in patterns.items()
        for found in re.finditer(pattern, text, re.MULTILINE)
    ]


def test_no_text_has_a_pattern_that_readers_stumble_over() -> None:
    found = [fault for path in [*MODULES, *PAGES] for fault in faults(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "Of the split.", "Seed.\n\nOf the split.", "Size. Of one file.", "What a encoder gives.", "It mends that.",
        "24 bytes a sample.", "One logit a label.", "Three operations a second.", "Problems, a line each.", "It begins anew.",
        "So many requests.", "An volume.", "What comes behind it.", "The file beside it.", "It stands there.",
        "One layer a slice.", "It is told.", "Behind it.", "Where it stood.", "A small picture.",
        "Sum.\n\n    Args:\n        seed: of the run.",
    ],
)  # fmt: skip
def test_each_pattern_is_found(text: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(f'"""{text}"""')
    assert len(faults(module)) == 1


def test_an_image_is_called_an_image() -> None:
    """Names in code as well: a picture and an image would be two things."""
    others = [
        file for folder in ("tests", "benchmarks", "examples") for file in (ROOT / folder).rglob("*.py")
    ]
    found = [file.name for file in [*MODULES, *others] if "picture" in file.read_text("utf-8").lower()]
    assert sorted(found) == ["test_english.py"]


def test_a_field_begins_with_its_noun(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'class A:\n    a: bool\n    """Whether it is."""\n    b: int\n    """Number of them."""\n'
        '    c: str\n    """Such as `x`."""\n'
    )
    assert len(faults(module)) == 2
