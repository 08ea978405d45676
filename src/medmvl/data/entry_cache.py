"""A cache on disk of named tensors with plain facts: one file per entry, memory-mapped, checked, limited in size.

Pixels and features are both kept this way. It holds patient data: folders have mode 0700, files 0600, and names are digests.
An entry that is damaged, cut off, of another version or of another key is made again; a folder that cannot be written to is
read on. What was used longest ago goes first, but nothing that was used since this process began: data that do not fit
are kept in part, instead of being written and removed once per epoch.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from medmvl.atomic_files import PARTIAL, atomic_write, sweep
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping, JsonObject

logger = logging.getLogger(__name__)
DEFAULT_LIMIT = 50 << 30
"""Bytes per part of the cache."""
FOLDER_VARIABLE, LIMIT_VARIABLE = "MEDMVL_CACHE", "MEDMVL_CACHE_GIB"
ENTRY_VERSION = 1
"""Version of the files' layout."""
SUFFIX = ".safetensors"
COUNT_EVERY = 512
"""Writes after which all entries are counted again, as other processes write, too; each time would take longer than
the scans."""
MAPPED_BYTES = 1 << 20
"""From this size on a file is mapped; smaller ones are read, as a process has a limited number of mappings."""
_HEADER = 8
_BEGIN_NS = time.time_ns()


class FullCacheError(UserError):
    """A cache that must keep what it is given cannot."""


class Entry(NamedTuple):
    """What is kept under one key."""

    tensors: dict[str, Tensor]
    facts: JsonObject


def default_cache_dir() -> Path:
    """`$MEDMVL_CACHE`, or `~/.cache/medmvl`."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "medmvl"


def default_limit(folder: Path) -> int:
    """Limit per part of the cache in bytes: `$MEDMVL_CACHE_GIB`, or 50 GiB, or half of what a smaller disk has left.

    Raises:
        UserError: the variable holds no number of GiB.
    """
    named = os.environ.get(LIMIT_VARIABLE)
    if named:
        return _bytes_of(named)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with suppress(OSError):
        return min(DEFAULT_LIMIT, shutil.disk_usage(folder).free // 2)
    return DEFAULT_LIMIT


def _bytes_of(text: str) -> int:
    try:
        gibibytes = float(text)
    except ValueError:
        gibibytes = -1.0
    if not 0 <= gibibytes < float("inf"):
        raise UserError(
            f"{LIMIT_VARIABLE} is {text!r}; expected a number of GiB, such as 200, or 0 to keep nothing new"
        )
    return int(gibibytes * 2**30)


class EntryCache:
    """One part of the cache: entries in `folder`, at most `limit` bytes of them. Processes and threads may share it.

    Args:
        folder: folder for this part alone.
        limit: bytes; None: `default_limit`.
        what: names the entries in messages, such as `scans`.
        strict: raise FullCacheError for what cannot be kept, instead of warning once and reading on.
    """

    def __init__(
        self, folder: Path, limit: int | None = None, what: str = "scans", *, strict: bool = False
    ) -> None:
        self.folder = folder
        self.limit = default_limit(folder) if limit is None else limit
        self.what = what
        self.strict = strict
        self._total = 0
        self._writes = 0
        self._is_off = False
        self._told: set[str] = set()
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_mode & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            self._give_up(error)

    def read(self, key: str) -> Entry | None:
        """The entry, or None where there is none that can be used."""
        file = self._file(key)
        try:
            entry = _read(file, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            self._warn_once(
                "damaged", f"an entry in {self.folder} cannot be used ({_reason(error)}); it is made again"
            )
            return None
        with suppress(OSError):  # a cache that can only be read
            os.utime(file)
        return entry

    def write(self, key: str, tensors: Mapping[str, Tensor], facts: JsonMapping) -> None:
        """Keep an entry; a cache that cannot be written to, or has no room, gives one warning and is still read.

        Raises:
            FullCacheError: a strict cache cannot keep it.
        """
        if self._is_off:
            return
        if sum(tensor.nbytes for tensor in tensors.values()) > self.limit:
            self._tell_full()
            return
        try:
            if self._writes == 0:  # not when it is opened: readers need not wait for it
                for part in (self.folder, *self._parts()):
                    sweep(part)
            if self._writes % COUNT_EVERY == 0:
                self._total = self.num_bytes()
            self._writes += 1
            body = _body(key, tensors, facts)
            if self._total + len(body) > self.limit and not self._make_room(len(body)):
                self._is_off = True
                return
            file = self._file(key)
            file.parent.mkdir(0o700, exist_ok=True)
            with atomic_write(
                file, mode=0o600, durable=False
            ) as out:  # what a crash spoils does not pass its check
                out.write(body)
            self._total += len(body)
        except OSError as error:
            self._give_up(error)

    def entries(self) -> list[Path]:
        """The files of all entries, least recently used first."""
        return [file for _, file in self._dated()]

    def num_bytes(self) -> int:
        """Size of all entries."""
        return sum(_size(file) for _, file in self._dated())

    def clear(self) -> int:
        """Remove every entry, and what a killed process left half written; return how many there were."""
        files = [*self.entries(), *(file for part in self._parts() for file in part.glob(f".*{PARTIAL}"))]
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    def _parts(self) -> Iterator[Path]:
        """Folders by the first two characters of a key, so that none holds a million files."""
        return (part for part in self.folder.glob("??") if part.is_dir())

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def _dated(self) -> list[tuple[int, Path]]:
        found = []
        for part in self._parts():
            for file in part.glob(f"*{SUFFIX}"):
                with suppress(OSError):  # another process made room
                    found.append((file.stat().st_mtime_ns, file))
        return sorted(found)

    def _make_room(self, size: int) -> bool:
        """Remove what was used longest ago, before this process began, until `size` bytes fit."""
        dated = self._dated()
        self._total = sum(_size(file) for _, file in dated)
        for moment, file in dated:
            if self._total + size <= self.limit:
                break
            if moment >= _BEGIN_NS:
                self._tell_full()
                return False
            self._total -= _size(file)
            file.unlink(missing_ok=True)
        return self._total + size <= self.limit

    def _tell_full(self) -> None:
        full = f"the cache of {self.what} in {self.folder} is full at {self.limit / 2**30:.3g} GiB"
        if self.strict:
            raise FullCacheError(
                f"{full}; what was kept stays. Make room or set a larger {LIMIT_VARIABLE}, and run the same command again"
            )
        self._warn_once(
            "full", f"{full}: what does not fit is computed each time ({LIMIT_VARIABLE} sets another limit)"
        )

    def _give_up(self, error: OSError) -> None:
        if self.strict:
            raise FullCacheError(
                f"the cache of {self.what} in {self.folder} takes no more ({error.strerror or error}); what was kept stays. "
                "When there is room to write, run the same command again"
            ) from error
        self._is_off = True
        self._warn_once(
            "off",
            f"the cache of {self.what} in {self.folder} takes no more ({error.strerror or error}): what is missing is computed "
            "each time",
        )

    def _warn_once(self, about: str, message: str) -> None:
        """Warn once, and in one of several reading processes."""
        worker = torch.utils.data.get_worker_info()
        if about not in self._told and (worker is None or worker.id == 0):
            logger.warning("%s", message)
        self._told.add(about)


def _body(key: str, tensors: Mapping[str, Tensor], facts: JsonMapping) -> bytes:
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        plain[name] = (
            own.clone() if storage in storages else own
        )  # safetensors refuses memory that two names share
        storages.add(storage)
    text = json.dumps({**facts, "key": key, "version": ENTRY_VERSION})
    body: bytes = save(plain, {"facts": text, "crc32": str(_checksum(plain, text))})
    return body


def _read(file: Path, key: str) -> Entry:
    if file.stat().st_size < MAPPED_BYTES:
        body = file.read_bytes()
        tensors, metadata = load(body), _metadata(body)
    else:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    text = metadata["facts"]
    if str(_checksum(tensors, text)) != metadata["crc32"]:
        raise ValueError("its checksum differs")
    facts = json.loads(text)
    if facts["key"] != key or facts["version"] != ENTRY_VERSION:
        raise ValueError("it is of another key or version")
    return Entry(tensors, facts)


def _metadata(body: bytes) -> dict[str, str]:
    length = int.from_bytes(body[:_HEADER], "little")
    found: dict[str, str] = json.loads(body[_HEADER : _HEADER + length]).get("__metadata__", {})
    return found


def _checksum(tensors: Mapping[str, Tensor], text: str) -> int:
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        if tensor.numel():
            flat = tensor.as_strided(
                (tensor.numel(),), (1,)
            )  # contiguous, but a single value may have any stride
            total = zlib.crc32(flat.view(torch.uint8).numpy().data, total)
    return total


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return (
        str(error)
        if isinstance(error, ValueError) and "checksum" in str(error)
        else "damaged or of another version"
    )
