"""Samples in and out of JSON Lines: one sample per line, UTF-8, written atomically, errors that name file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from medmvl.atomic_files import atomic_write
from medmvl.errors import SampleError
from medmvl.messages import RENAMED
from medmvl.schema.sample import Sample

_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def parse_sample(text: str, where: str) -> Sample:
    """Validate one JSON document as a Sample.

    Raises:
        SampleError: naming `where` and every wrong field.
    """
    try:
        return Sample.model_validate_json(text)
    except ValidationError as error:
        raise SampleError(f"{where}: {describe_validation_error(error)}") from None


def describe_validation_error(error: ValidationError) -> str:
    """Say in one line which fields are wrong and why, without echoing values."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in item["loc"]) or "sample"
        problems.append(f"{place}: {what_is_wrong(item)}")
    return "; ".join(problems)


def what_is_wrong(item: ErrorDetails) -> str:
    """One error of pydantic in words."""
    if item["type"] == "tuple_type":
        return "expected a list"
    if item["type"] != "extra_forbidden":
        return item["msg"].removeprefix("Value error, ")
    name = RENAMED.get(str(item["loc"][-1]))
    return "unknown key" if name is None else f"this key is called {name!r} now; rename it"


def iter_samples(path: Path) -> Iterator[Sample]:
    """Read a `.jsonl` file of samples, skipping blank lines.

    Raises:
        SampleError: at the first invalid line, naming file and line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield parse_sample(line, f"{path}, line {number}")


def dump_sample(sample: Sample) -> str:
    """Return one line of JSON: without what is unknown, Chinese as it is."""
    return sample.model_dump_json(exclude_none=True)


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples to `path` atomically and return how many there were."""
    count = 0
    with atomic_write(path) as file:
        for sample in samples:
            file.write((dump_sample(sample) + "\n").encode())
            count += 1
    return count


def refuse_half_characters(value: object, text: str, where: object) -> None:
    """Raise SampleError where an escape of JSON names half of a surrogate pair, which no file can hold.

    Args:
        value: what was parsed.
        text: what it was parsed from, looked through for such escapes first.
        where: file and place, for the message.
    """
    if _SURROGATE.search(text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise SampleError(
            f"{where}: a text holds half a character (an escape such as \\ud83d without its second half)"
        ) from None
