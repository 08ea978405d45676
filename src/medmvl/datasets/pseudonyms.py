"""Names of patients that say nothing: keyed hashes, whose key never leaves the folder beside the data set."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from medmvl.errors import UserError

KEY_BYTES = 32
SHOWN = 16
"""Hex digits of a pseudonym: 64 bits, so that a million patients do not meet by chance."""


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
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
        try:
            key = bytes.fromhex(path.read_text().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise UserError(f"{path}: expected a key of {2 * KEY_BYTES} hex digits; give another key file")
        return cls(key)

    def of(self, *identity: str) -> str:
        """The pseudonym of a patient, or of a patient's study."""
        message = "\0".join(identity).encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:SHOWN]
