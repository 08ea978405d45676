"""Folders that are there whole or not at all: written under another name, marked complete, then renamed.

A process killed at any moment, also while it saves, leaves complete folders and leftovers that are told apart by name
and mark; leftovers are removed at the next start.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMPLETE = "COMPLETE"
_PARTIAL = ".partial-"
_CHECKPOINT = "checkpoint-"


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` to write into; when the block ends well it becomes `folder`, complete."""
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    publish_now(partial, folder)


def partial_path(folder: Path) -> Path:
    """Where `folder` is written before it is complete."""
    return folder.parent / f"{_PARTIAL}{folder.name}"


def publish_now(partial: Path, folder: Path) -> None:
    """Bring what was written to the disk, mark it complete and give it its name; an old `folder` goes away."""
    (partial / COMPLETE).touch()
    for path in [*partial.rglob("*"), partial]:
        _sync(path)
    if folder.exists():
        remove(folder)
    partial.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_complete(folder: Path) -> bool:
    """Whether `folder` was published whole."""
    return (folder / COMPLETE).is_file()


def remove(folder: Path) -> None:
    """Remove a folder so that no half of it can be taken for the whole: it loses its name first."""
    doomed = folder.parent / f"{_PARTIAL}removed-{folder.name}"
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left unfinished in `folder`."""
    for path in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"{_CHECKPOINT}{step}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob(f"{_CHECKPOINT}*") if is_complete(path)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_CHECKPOINT)))


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest `count` checkpoints."""
    for path in checkpoints(folder)[:-count]:
        remove(path)
