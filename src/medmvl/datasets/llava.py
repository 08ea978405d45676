"""The LLaVA conversation format, as the predecessor and most public data sets write it, to `Sample` and back.

A record has `conversations` of `{"from", "value"}`, and files in `image` and `image3d` (a string or a list)
that `<image>` and `<image3d>` stand for in order. Text around a placeholder is kept as it is, to the last
space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from medmvl.errors import SampleError
from medmvl.schema import ImageBlock, Message, Sample, TextBlock, VolumeBlock
from medmvl.schema.jsonl import describe_validation_error

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
"""Who speaks, by `from`. The position of a turn says nothing."""
FILE_KEYS = {"<image>": "image", "<image3d>": "image3d"}
"""Placeholder in the text, and the key of a record that lists its files."""
SAMPLE_KEYS = (
    "patient", "study", "image_group", "days_before_current", "task", "language", "target", "labels", "boxes",
)  # fmt: skip
"""Keys of a record that mean what they mean in a Sample; others are a data set's own and are left out."""

_PLACEHOLDER = re.compile("(<image3d>|<image>)")
_WRITTEN_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


def is_llava(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a LLaVA record rather than a Sample."""
    return "conversations" in record


def from_llava(record: Mapping[str, Any], where: str, default_id: str) -> Sample:
    """Turn one LLaVA record into a Sample.

    Args:
        record: the JSON object.
        where: file and place, for error messages.
        default_id: the sample's id where the record has none.

    Raises:
        SampleError: naming the sample: an unknown `from`, or files and placeholders that do not match.
    """
    raw_id = record.get("id")
    sample_id = default_id if raw_id is None or raw_id == "" else str(raw_id)
    name = f"{where}, sample {sample_id!r}"
    turns = _turns(record, name)
    files = {placeholder: _files(record, key, name) for placeholder, key in FILE_KEYS.items()}
    _check_counts(turns, files, name)
    queues = {placeholder: iter(paths) for placeholder, paths in files.items()}
    messages = [{"role": role, "content": _blocks(text, queues)} for role, text in turns]
    extra = {key: record[key] for key in SAMPLE_KEYS if record.get(key) is not None}
    try:
        return Sample.model_validate({"id": sample_id, "messages": messages, **extra})
    except ValidationError as error:
        raise SampleError(f"{name}: {describe_validation_error(error)}") from None


def to_llava(sample: Sample) -> dict[str, Any]:
    """Write a Sample as a LLaVA record.

    Raises:
        SampleError: where text spells a placeholder or a block declares what the format cannot say.
    """
    record: dict[str, Any] = {"id": sample.id}
    for block in sample.visuals:
        if block.declared or block.days_before_current is not None:
            raise SampleError(
                f"sample {sample.id!r}: '{block.path}' declares units, spacing, modality or a date; the "
                "LLaVA format cannot hold them: keep it as JSON Lines of Sample"
            )
        record.setdefault("image" if isinstance(block, ImageBlock) else "image3d", []).append(block.path)
    record["conversations"] = [
        {"from": _WRITTEN_ROLES[message.role], "value": _write_value(message, sample.id)}
        for message in sample.messages
    ]
    known = sample.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {**record, **{key: known[key] for key in SAMPLE_KEYS if key in known}}


def _turns(record: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    conversations = record["conversations"]
    if not isinstance(conversations, list) or not conversations:
        raise SampleError(f"{name}: 'conversations' must be a list with at least one turn")
    turns = []
    for number, turn in enumerate(conversations, 1):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
            raise SampleError(f"{name}: turn {number} must have a text in 'value'")
        speaker = turn.get("from")
        if not isinstance(speaker, str) or speaker not in ROLES:
            known = ", ".join(ROLES)
            raise SampleError(f"{name}: turn {number} is from {speaker!r}; expected one of {known}")
        turns.append((ROLES[speaker], turn["value"]))
    return turns


def _files(record: Mapping[str, Any], key: str, name: str) -> list[str]:
    value = record.get(key)
    if value is None or value == "":
        return []
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise SampleError(f"{name}: '{key}' must be a path or a list of paths")
    return paths


def _check_counts(turns: list[tuple[str, str]], files: Mapping[str, list[str]], name: str) -> None:
    for placeholder, paths in files.items():
        count = sum(_PLACEHOLDER.findall(text).count(placeholder) for _, text in turns)
        if count == len(paths):
            continue
        found = f"{count} {placeholder} in the text, but {len(paths)} files in '{FILE_KEYS[placeholder]}'"
        problem = f"{name}: {found}"
        if count == 0:
            raise SampleError(f"{problem}; write {placeholder} where each is shown, or take the files out")
        raise SampleError(f"{problem}; every {placeholder} needs one file, in order")


def _blocks(text: str, queues: Mapping[str, Any]) -> list[dict[str, str]]:
    blocks = []
    for piece in _PLACEHOLDER.split(text):
        if piece == "<image>":
            blocks.append({"type": "image", "image": next(queues[piece])})
        elif piece == "<image3d>":
            blocks.append({"type": "volume", "volume": next(queues[piece])})
        elif piece:
            blocks.append({"type": "text", "text": piece})
    return blocks


def _write_value(message: Message, sample_id: str) -> str:
    pieces = []
    for block in message.content:
        if isinstance(block, TextBlock):
            pieces.append(block.text)
        else:
            pieces.append("<image3d>" if isinstance(block, VolumeBlock) else "<image>")
    value = "".join(pieces)
    if len(_PLACEHOLDER.findall(value)) != len(message.visuals):
        raise SampleError(
            f"sample {sample_id!r}: its text spells <image> or <image3d>, which LLaVA reads as a picture"
        )
    return value
