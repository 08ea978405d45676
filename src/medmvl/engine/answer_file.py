"""A file of answers that survives a kill at any byte: one JSON line per answer: `id`, `text`, `tokens`.

The reader's `warnings` are with it where there are any, `cut` where it ran out of tokens, and `reasoning`, which is no part of
`text`, where the model wrote some.

Next to `answers.jsonl` is `answers.jsonl.run.json`: the digest of what is being run, so that answers of
two models or two settings are never mixed in one file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmvl.atomic_files import atomic_write, write_json
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping, JsonObject

RECORD = ".run.json"
"""Suffix of the file that records the run: model, data and options."""
_DIGEST = re.compile(r"[0-9a-f]{32,}")
OWNER_ONLY = 0o600
"""Mode of a file of answers: they are about patients."""


@dataclass(frozen=True)
class StoredAnswer:
    """One line of the file."""

    id: str
    text: str
    tokens: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    """Warnings about the scans that were read."""
    cut: bool = False
    """True where the answer ended because it had no tokens left."""
    reasoning: str | None = None
    """Text that the model wrote before the answer."""

    @property
    def unfinished(self) -> bool:
        """Whether the answer is empty because the tokens ran out during the reasoning."""
        return self.cut and self.reasoning is not None and not self.text.strip()

    def to_line(self) -> bytes:
        """The line, Chinese as it is."""
        values: JsonObject = {"id": self.id, "text": self.text, "tokens": list(self.tokens)}
        values |= {"warnings": list(self.warnings)} if self.warnings else {}
        values |= {"cut": True} if self.cut else {}
        values |= {"reasoning": self.reasoning} if self.reasoning is not None else {}
        return (json.dumps(values, ensure_ascii=False) + "\n").encode()


class AnswerFile:
    """Answers on disk. Opening repairs a partial last line and refuses to continue another run."""

    def __init__(self, path: Path, run: JsonMapping) -> None:
        """Open or create.

        Args:
            path: the `.jsonl` file.
            run: what decides the answers: model, data, options. Must be the same when a run is continued.

        Raises:
            UserError: the file belongs to another run, or holds a line that is no answer.
        """
        self.path = path
        self.run = dict(run)
        self._check_run(self.run)
        self.answers = {answer.id: answer for answer in _repaired(path)}

    def _check_run(self, run: JsonObject) -> None:
        record = self.path.with_name(self.path.name + RECORD)
        is_begun = self.path.exists() and self.path.stat().st_size > 0
        if record.exists() and is_begun:
            before = json.loads(record.read_text(encoding="utf-8"))
            changed = _changes(before, run)
            if changed:
                raise UserError(
                    f"{self.path} was begun with other settings: {'; '.join(changed)}. Continue with the same "
                    "settings, or choose another --out."
                )
        elif is_begun:
            raise UserError(
                f"{self.path}: exists and was not written by this command. Choose another output file."
            )
        else:
            write_json(record, run)

    def append(self, answers: Iterable[StoredAnswer]) -> None:
        """Write answers at the end, in one piece, and remember them."""
        new = list(answers)
        with self.path.open("ab") as file:
            file.write(b"".join(answer.to_line() for answer in new))
            file.flush()
            os.fsync(file.fileno())
        self.answers.update((answer.id, answer) for answer in new)

    def rewrite(self, answers: Sequence[StoredAnswer]) -> None:
        """Replace the whole file atomically: the same answers in another order, or several files in one."""
        with atomic_write(self.path, OWNER_ONLY) as file:
            file.writelines(answer.to_line() for answer in answers)
        self.answers = {answer.id: answer for answer in answers}


def _changes(before: JsonMapping, now: JsonMapping) -> list[str]:
    """What differs between two records, each as `max_new_tokens 512, now 128`; a digest says only that it differs."""
    changed = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changed += _changes(old, new)
        elif any(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (old, new)):
            changed.append(f"another {key}")
        else:
            changed.append(f"{key} {_shown(old)}, now {_shown(new)}")
    return changed


def _shown(value: object) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)


def read_answers(path: Path) -> list[StoredAnswer]:
    """Read a complete file of answers.

    Raises:
        UserError: naming the first line that is no answer.
    """
    return [
        _parse(line, f"{path}, line {number}")
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.strip()
    ]


def _repaired(path: Path) -> list[StoredAnswer]:
    """The answers of a file whose last line a kill may have cut; the cut line is removed from the file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(OWNER_ONLY)
        return []
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if len(complete) < len(content):
        with atomic_write(path, OWNER_ONLY) as file:
            file.write(complete)
    return read_answers(path)


def _parse(line: bytes, where: str) -> StoredAnswer:
    try:
        values = json.loads(line)
        return StoredAnswer(
            values["id"],
            values["text"],
            tuple(values["tokens"]),
            tuple(values.get("warnings", ())),
            bool(values.get("cut")),
            values.get("reasoning"),
        )
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{where}: not an answer of the form {{id, text, tokens}}. Remove the line to have it answered again."
        ) from None
