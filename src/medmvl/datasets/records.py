"""A data file as a sequence of Samples that are parsed one by one when asked for.

What stays in memory is where each record starts and ends and its line: 24 bytes per sample, whatever its size.
The file is mapped, not read; worker processes open it for themselves. Content decides the format: JSON Lines
or one JSON array, of Samples or LLaVA records.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from medmvl.datasets.llava import from_llava, is_llava
from medmvl.errors import SampleError
from medmvl.messages import first_of
from medmvl.schema import Sample, parse_sample
from medmvl.schema.jsonl import refuse_half_characters

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


def refuse_folder(path: Path) -> None:
    """Say which files of a folder are meant where a data file is expected. Raises SampleError."""
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.jsonl"))
        hint = f"name one file of it: {first_of(inside, 5, separator=', ')}" if inside else "name a data file"
        raise SampleError(f"{path} is a folder; {hint}")


class SampleFile(Sequence[Sample]):
    """The samples of one file, in its order.

    Raises:
        SampleError: on construction where the file is neither JSON Lines nor a JSON array; on access where
            that sample is invalid, naming file, line or place, and sample.
        OSError: where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spans, self._unit = _find_records(path)
        self._mapped: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self._parse(number) for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self._parse(number)

    def place(self, index: int) -> str:
        """Where a sample is in the file, for messages: `data.jsonl, line 3`."""
        number = int(self._spans[index, 2]) if self._unit == "line" else index + 1
        return f"{self.path}, {self._unit} {number}"

    def digest(self) -> str:
        """SHA-256 of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _parse(self, index: int) -> Sample:
        start, end = int(self._spans[index, 0]), int(self._spans[index, 1])
        if self._mapped is None:
            with self.path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._mapped[start:end]
        if (sample := _valid_sample(data)) is not None:
            return sample
        return _parse_record(data, self.place(index), f"{self.path.stem}-{index + 1}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}


_BEYOND_JSON = "nested too deep, or with a number of thousands of digits: no sample is like that"


def _valid_sample(data: bytes) -> Sample | None:
    """The Sample, parsed once; None where the record is anything else, which is looked into next."""
    if b'"messages"' not in data:
        return None
    try:
        return Sample.model_validate_json(data)
    except ValidationError:
        return None


def _parse_record(data: bytes, where: str, default_id: str) -> Sample:
    try:
        text = data.decode("utf-8")
        record = json.loads(text)
    except UnicodeDecodeError as error:
        raise SampleError(
            f"{where}: not UTF-8 (byte {error.start} of the record); save it as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise SampleError(f"{where}: not valid JSON ({error.msg} at character {error.pos})") from None
    except (RecursionError, ValueError):
        raise SampleError(f"{where}: {_BEYOND_JSON}") from None
    refuse_half_characters(record, text, where)
    if not isinstance(record, dict):
        raise SampleError(f"{where}: expected a JSON object, found {type(record).__name__}")
    if is_llava(record):
        return from_llava(record, where, default_id)
    named = f"{where}, sample {record['id']!r}" if isinstance(record.get("id"), str) else where
    return parse_sample(text, named)


def _find_records(path: Path) -> tuple[NDArray[np.int64], str]:
    """Return `(records, 3)` start, end and line of every record, and what places count: lines or samples."""
    refuse_folder(path)
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(_BOM).lstrip(_BLANK)
    if head[:1] == b"[":
        return _find_in_array(path), "sample"
    if head[:1] not in (b"{", b""):
        table = path.suffix.lower() in {".csv", ".tsv", ".xlsx"}
        hint = "; medmvl data from-csv makes a data set of a table" if table else ""
        raise SampleError(
            f"{path}: neither JSON Lines nor a JSON array; expected '{{' or '[' at the start{hint}"
        )
    return _find_lines(path), "line"


def _find_lines(path: Path) -> NDArray[np.int64]:
    spans = array("q")
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.lstrip(_BLANK) if number > 1 else line.removeprefix(_BOM).lstrip(_BLANK)
            if content:
                end = position + len(line)
                spans.extend((end - len(content), end, number))
            position += len(line)
    if not spans:
        raise SampleError(f"{path}: no samples in it")
    return np.array(spans, dtype=np.int64).reshape(-1, 3)


def _find_in_array(path: Path) -> NDArray[np.int64]:
    """Find the elements of a JSON array. The text is in memory while it is searched, and not afterwards."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SampleError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    decoder = json.JSONDecoder()
    spans = array("q")
    at = _skip(text, text.index("[") + 1)
    bytes_before = len(text[:at].encode())
    while text[at : at + 1] != "]":
        try:
            _, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            place = f"sample {len(spans) // 3 + 1} (line {error.lineno}, column {error.colno})"
            raise SampleError(f"{path}, {place}: not valid JSON ({error.msg})") from None
        except (RecursionError, ValueError):
            raise SampleError(f"{path}, sample {len(spans) // 3 + 1}: {_BEYOND_JSON}") from None
        length = len(text[at:end].encode())
        spans.extend((bytes_before, bytes_before + length, 0))
        after = _next_element(text, end, path, len(spans) // 3)
        bytes_before += length + (after - end)  # only ASCII is between elements
        at = after
    if not spans:
        raise SampleError(f"{path}: no samples in it")
    return np.array(spans, dtype=np.int64).reshape(-1, 3)


def _next_element(text: str, end: int, path: Path, count: int) -> int:
    at = _skip(text, end)
    if text[at : at + 1] == "]":
        return at
    following = _skip(text, at + 1)
    if text[at : at + 1] != "," or text[following : following + 1] in ("]", ""):
        raise SampleError(f"{path}: after sample {count} expected ',' and a sample, or ']'; is it cut off?")
    return following


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at
