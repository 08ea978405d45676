"""Pseudonyms of patients: keyed hashes, whose key never leaves the folder next to the data set."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from pathlib import Path

from medmvl.atomic_files import atomic_write, sweep
from medmvl.errors import UserError
from medmvl.output_lock import one_writer

KEY_BYTES = 32
SHOWN = 16
"""Hex digits of a pseudonym: 64 bits, so that a million patients do not meet by chance."""
KEY_FIELD = "pseudonym_key"
"""Field of `dataset.json` with the name of the key: patients of equal keys can be compared, others cannot."""


class Pseudonyms:
    """HMAC-SHA-256 with a key from a file of mode 0600, made at first use: the same key gives the same pseudonyms."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """Read the key, or make one.

        Raises:
            UserError: where the file holds something else.
            OSError: where it can be neither read nor made.
        """
        if not path.exists() or _lock_of(path).exists():  # a lock without its process is swept by the next
            _make_key(path)
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise UserError(f"{path}: expected a key of {2 * KEY_BYTES} hex digits; give another key file")
        return cls(key)

    @property
    def key_name(self) -> str:
        """A name of the key that does not give it away."""
        return self.of(KEY_FIELD)

    def of(self, *identity: str) -> str:
        """The pseudonym of a patient, or of a patient's study."""
        message = "\0".join(identity).encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:SHOWN]


def key_of(folder: Path) -> str | None:
    """Name of the key that made the pseudonyms of the data in a folder; None where `dataset.json` does not say it."""
    try:
        found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = found.get(KEY_FIELD) if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def keys_go_on(*folders: Path) -> dict[str, str]:
    """What `dataset.json` says of the key where data are made from those in folders; nothing where these have several."""
    names = {key_of(folder) for folder in folders} - {None}
    return {KEY_FIELD: name} if len(names) == 1 and (name := names.pop()) else {}


def _make_key(path: Path) -> None:
    """Write a key whole or not at all; of two processes, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_writer(_lock_of(path), path, wait=True):
        sweep(path.parent, path.name)
        if not path.exists():
            with atomic_write(path, mode=0o600) as file:
                file.write(f"{secrets.token_hex(KEY_BYTES)}\n".encode())


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
