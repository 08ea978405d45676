"""The LLaVA conversation format, as the predecessor and most public data sets write it, to `Sample`.

A record has `conversations` (or `messages` next to its files, as LLaMA-Factory writes) of `{"from", "value"}` (or
`{"role", "content"}`), and files in `image` or `images` and `image3d` (a string or a list) that `<image>` and `<image3d>`
stand for in order; `system` is the first turn. Text around a placeholder is kept as it is, to the last space. A key that
is not known is an error: it may name an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError

from medmvl.errors import SampleError
from medmvl.json_types import JsonMapping
from medmvl.schema import Sample
from medmvl.schema.blocks import foreign_block
from medmvl.schema.jsonl import describe_validation_error

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
"""Role by the value of `from`; the position of a turn does not matter."""
FILE_KEYS = {"<image>": ("image", "images"), "<image3d>": ("image3d",)}
"""Placeholder in the text, and the keys of a record that list its files."""
SAMPLE_KEYS = (
    "patient", "study", "image_group", "days_before_current", "task", "language", "target", "labels", "boxes",
)  # fmt: skip
"""Keys of a record that mean what they mean in a Sample."""
BOOKKEEPING = (
    "answer_type", "content_type", "data_source", "dataset", "domain", "license", "location", "pair_id", "phrase_type",
    "qid", "question_id", "question_type", "source", "split", "url",
)  # fmt: skip
"""Keys of public data sets about where a record comes from, which change nothing of what is asked or shown."""
TURN_KEYS = (("from", "value"), ("role", "content"))
TURNS_KEYS = ("conversations", "conversatons", "messages")
"""Keys of a record that hold its turns; the second is how LLaVA-Med's files write it, the third LLaMA-Factory's."""

_OTHER_PLACEHOLDER = re.compile(
    r"<(?:video|audio|Image|IMAGE|image[ _-]?\d+|image_placeholder|image-placeholder|ImageHere|image_token|image_soft_token"
    r"|im_patch|volume|ct|image3D|start_of_image|begin_of_image|IMG_CONTEXT|IMG|img)>"
    r"|<\s+image(?:3d)?\s*>|<image(?:3d)?\s+>|<\|(?:image|img|video|audio|begin_of_image|vision_start)[_-]?(?:pad|\d+)?\|>"
    r"|<img>[^<]*</img>|\[(?:IMG|IMAGE|image|img|Image)(?:_\w+)?\]|\{image\}"
)
"""Stands for a file in the data of other libraries."""
_PLACEHOLDER = re.compile("(<image3d>|<image>)")


def is_llava(record: JsonMapping) -> bool:
    """Whether a JSON object is a LLaVA record rather than a Sample."""
    if "messages" in record:  # a Sample, unless its files lie next to the messages
        return any(key in record for keys in FILE_KEYS.values() for key in keys)
    return any(key in record for key in TURNS_KEYS)


def from_llava(record: JsonMapping, where: str, default_id: str) -> Sample:
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
    _refuse_unknown(record, name)
    turns = [*_system(record, name), *_turns(record, name)]
    files = {placeholder: _files(record, keys, name) for placeholder, keys in FILE_KEYS.items()}
    _refuse_other_placeholders(turns, name)
    _check_counts(turns, files, name)
    queues = {placeholder: iter(paths) for placeholder, paths in files.items()}
    messages = [{"role": role, "content": _blocks(text, queues)} for role, text in turns]
    extra = {key: record[key] for key in SAMPLE_KEYS if record.get(key) is not None}
    try:
        return Sample.model_validate({"id": sample_id, "messages": messages, **extra})
    except ValidationError as error:
        raise SampleError(f"{name}: {describe_validation_error(error)}") from None


def _turns(record: JsonMapping, name: str) -> list[tuple[str, str]]:
    key = next(key for key in TURNS_KEYS if key in record)
    conversations = record[key]
    if not isinstance(conversations, list) or not conversations:
        raise SampleError(f"{name}: '{key}' must be a list with at least one turn")
    return [_turn(turn, f"{name}: turn {number}") for number, turn in enumerate(conversations, 1)]


def _turn(turn: object, where: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise SampleError(f"{where} must have a speaker in 'from' and a text in 'value'")
    speaking, saying = next((keys for keys in TURN_KEYS if keys[1] in turn), TURN_KEYS[0])
    said = _written_out(turn.get(saying), where)
    if not isinstance(said, str):
        raise SampleError(f"{where} must have a text in '{saying}'")
    speaker = turn.get(speaking)
    if not isinstance(speaker, str) or speaker not in ROLES:
        raise SampleError(f"{where} is from {speaker!r}; expected one of {', '.join(ROLES)} in '{speaking}'")
    unknown = [str(key) for key in turn if key not in (speaking, saying)]
    if unknown:
        raise SampleError(
            f"{where} has the keys {', '.join(unknown)}, which are not read; expected '{speaking}' and '{saying}' only: "
            "files belong to the record, under 'image' or 'image3d'"
        )
    return ROLES[speaker], said


def _written_out(content: object, where: str) -> object:
    """Content as a list of texts and of images without a path, as TRL writes it, in one text with `<image>`."""
    if not isinstance(content, list):
        return content
    pieces = []
    for number, given in enumerate(content, 1):
        part = given
        if isinstance(given, Mapping):  # tables of blocks fill what a block does not have with null
            part = {key: value for key, value in given.items() if value is not None}
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
            pieces.append(part["text"])
        elif isinstance(part, Mapping) and dict(part) == {"type": "image"}:
            pieces.append("<image>")
        else:
            known = (
                foreign_block(part)
                or "expected a text, or an image without a path, whose file is in 'images'"
            )
            raise SampleError(
                f"{where}, block {number}: {known}; paths belong in the blocks or in 'images', not in both"
            )
    return "".join(pieces)


def _system(record: JsonMapping, name: str) -> list[tuple[str, str]]:
    said = record.get("system")
    if said in (None, ""):
        return []
    if not isinstance(said, str):
        raise SampleError(f"{name}: 'system' must be a text")
    return [("system", said)]


def _refuse_unknown(record: JsonMapping, name: str) -> None:
    """Raise SampleError for keys that are not known and hold something: what they mean would be lost in silence."""
    listed = (key for keys in FILE_KEYS.values() for key in keys)
    known = {"id", *TURNS_KEYS, "system", *listed, *SAMPLE_KEYS, *BOOKKEEPING}
    unknown = [
        str(key) for key, value in record.items() if key not in known and value not in (None, "", [], {})
    ]
    if unknown:
        raise SampleError(
            f"{name}: the keys {', '.join(unknown)} are not read, and would be lost; expected 'conversations', with files "
            "under 'image' (images) or 'image3d' (volumes): rename them, or take them out"
        )


def _files(record: JsonMapping, keys: tuple[str, ...], name: str) -> list[str]:
    given = [key for key in keys if record.get(key) not in (None, "", [])]
    if len(given) > 1:
        raise SampleError(f"{name}: files are listed under both '{given[0]}' and '{given[1]}'; expected one")
    if not given:
        return []
    value = record[given[0]]
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise SampleError(f"{name}: '{given[0]}' must be a path or a list of paths")
    return paths


def _refuse_other_placeholders(turns: list[tuple[str, str]], name: str) -> None:
    """Raise SampleError where a question names a file in another library's way: it would train on the words alone."""
    for number, (role, text) in enumerate(turns, 1):
        found = _OTHER_PLACEHOLDER.search(text) if role == "user" else None
        if found:
            raise SampleError(
                f"{name}: turn {number} has {found[0][:40]!r}, which stands for no file here; write <image> or <image3d> where "
                "a file of 'image' or 'image3d' is shown"
            )


def _check_counts(turns: list[tuple[str, str]], files: Mapping[str, list[str]], name: str) -> None:
    for placeholder, paths in files.items():
        count = sum(_PLACEHOLDER.findall(text).count(placeholder) for _, text in turns)
        if count == len(paths):
            continue
        keys = " or ".join(f"'{key}'" for key in FILE_KEYS[placeholder])
        found = f"{count} {placeholder} in the text, but {len(paths)} files in {keys}"
        problem = f"{name}: {found}"
        if count == 0:
            raise SampleError(f"{problem}; write {placeholder} where each is shown, or take the files out")
        raise SampleError(f"{problem}; every {placeholder} needs one file, in order")


def _blocks(text: str, queues: JsonMapping) -> list[dict[str, str]]:
    blocks = []
    for piece in _PLACEHOLDER.split(text):
        if piece == "<image>":
            blocks.append({"type": "image", "image": next(queues[piece])})
        elif piece == "<image3d>":
            blocks.append({"type": "volume", "volume": next(queues[piece])})
        elif piece:
            blocks.append({"type": "text", "text": piece})
    return blocks
