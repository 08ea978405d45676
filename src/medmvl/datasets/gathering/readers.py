"""Tables as public data sets come: CSV (also gzipped), JSON arrays too large for memory, Parquet with images."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from medmvl.errors import MissingExtraError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema.jsonl import refuse_half_characters

_BLANK = " \t\r\n"
csv.field_size_limit(sys.maxsize)


def iter_csv(path: Path) -> Iterator[dict[str, str]]:
    """Yield rows as column to text; a name that ends in `.gz` is unpacked.

    Raises:
        UserError: where it is no such table.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            for row in csv.DictReader(text):
                yield {key: value or "" for key, value in row.items() if isinstance(key, str)}
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: not a readable table ({error})") from None


def iter_lines(path: Path) -> Iterator[str]:
    """Yield lines that are not blank, UTF-8 or Latin-1.

    Raises:
        OSError: where it cannot be read.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return (line for line in text.splitlines() if line.strip())


def load_records(path: Path) -> list[JsonObject]:
    """Load a JSON array of objects.

    Raises:
        UserError: where it is something else, naming the line of what is not valid.
    """
    return as_records(_load_json(path), path)


def load_object(path: Path) -> JsonObject:
    """Load one JSON object.

    Raises:
        UserError: where it is something else, naming the line of what is not valid.
    """
    value = _load_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def as_records(value: object, where: object) -> list[JsonObject]:
    """Check that a value is a list of objects, and return it.

    Raises:
        UserError: naming `where`.
    """
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        raise UserError(f"{where}: expected a list of records")
    return value


def _load_json(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text)
        refuse_half_characters(value, text, path)
        return value
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error.msg}, line {error.lineno})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start})") from None


def iter_json(path: Path) -> Iterator[JsonObject]:
    """Yield the objects of a JSON array, or of JSON Lines, one at a time.

    Raises:
        UserError: where it is neither.
    """
    text = path.read_text(encoding="utf-8-sig")
    decoder = json.JSONDecoder()
    at, end = _skip(text, 0), len(text)
    array = text[at : at + 1] == "["
    at = _skip(text, at + 1) if array else at
    while at < end and text[at] != "]":
        start = at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not valid JSON ({error.msg}, line {error.lineno})") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: expected objects, found {type(value).__name__}")
        refuse_half_characters(value, text[start:at], path)
        yield value
        at = _skip(text, at)
        if array and text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif array and text[at : at + 1] != "]":
            raise UserError(f"{path}: the JSON array is cut off after {at} characters")


def iter_parquet(path: Path) -> Iterator[JsonObject]:
    """Yield rows of a Parquet file; an image is `{"bytes": ..., "path": ...}`.

    Raises:
        MissingExtraError: without pyarrow.
        UserError: where it is no Parquet file.
    """
    try:
        import pyarrow.parquet as parquet
        from pyarrow.lib import ArrowInvalid
    except ImportError:
        raise MissingExtraError(
            f"{path} is a Parquet file; install the extra that reads it: pip install -e '.[parquet]' in the clone"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None


def number_field(record: JsonMapping, name: str) -> float:
    """Return a field as a number.

    Raises:
        UserError: where it is none.
    """
    try:
        return float(text_field(record, name))
    except ValueError as error:
        raise UserError(f"expected a number as '{name}' ({error})") from None


def text_field(record: JsonMapping, *names: str) -> str:
    """Return the first of the named fields that is there, as text without blanks around it.

    Raises:
        UserError: naming the fields that are there.
    """
    for name in names:
        value = record.get(name)
        if isinstance(value, list | dict):
            raise UserError(f"expected text as '{name}', found {type(value).__name__}")
        if value not in (None, ""):
            return str(value).strip()
    raise UserError(f"it has no '{names[0]}'; it has: {', '.join(map(str, record))}")


def below(folder: Path, name: str) -> Path:
    """The path of a file that a table names, which must lie in `folder`.

    Raises:
        UserError: where the name leads elsewhere.
    """
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts:
        raise UserError(f"'{name}' leads out of the data set's folder")
    return folder / name


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in tuple(_BLANK):
        at += 1
    return at
