"""Folders that are there whole or not at all: written under another name, listed with digests, then renamed.

A process killed at any moment, also while it saves, leaves whole folders and leftovers, which differ by name and list;
leftovers are removed at the next start. A whole folder that was damaged later is set aside, by name.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medmvl.digests import SUMS, first_damage, sync, write_sums

logger = logging.getLogger(__name__)
DAMAGED = "damaged-"
COPIED_BYTES = 1 << 20
"""Files up to this size are copied where larger ones are linked: small ones are what people edit."""
_PARTIAL = ".partial-"
_CHECKPOINT = "checkpoint-"


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Give a new folder next to `folder` to write into; when the block ends well it becomes `folder`, complete."""
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    publish_now(partial, folder)


def partial_path(folder: Path) -> Path:
    """Where `folder` is written before it is complete."""
    return folder.parent / f"{_PARTIAL}{folder.name}"


def publish_now(partial: Path, folder: Path) -> None:
    """List what was written with its digests, bring it to the disk, give it its name; an old `folder` goes away."""
    write_sums(partial)
    _give_name(partial, folder)


def _give_name(partial: Path, folder: Path) -> None:
    """Rename a whole folder; what has the name goes away."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        remove(folder)
    partial.rename(folder)
    sync(folder.parent)


def is_complete(folder: Path) -> bool:
    """Whether `folder` was published whole; its files are not read."""
    return (folder / SUMS).is_file()


def is_intact(folder: Path) -> bool:
    """Whether every file of a complete folder is as it was written; one that is not is set aside, with a warning."""
    damage = first_damage(folder)
    if damage is None:
        return True
    aside = folder.with_name(f"{DAMAGED}{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    logger.warning("%s; it is set aside as %s", damage, aside.name)
    return False


def link_folder(source: Path, folder: Path, without: Sequence[str] = ()) -> None:
    """Make `folder` a complete folder with the files of a complete `source`: large ones by hard links, which cost nothing.

    Either may be moved or deleted without the other. Where a file system has no hard links, all are copied.

    Args:
        source: a complete folder.
        folder: the name of the new one.
        without: names of folders in `source`, at any depth, that are left out.

    Raises:
        OSError: the disk is full, or another process removes what is linked.
    """
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    left_out = shutil.ignore_patterns(*without, f"{_PARTIAL}*") if without else None
    shutil.copytree(source, partial, copy_function=_link_or_copy, ignore=left_out)
    _give_name(partial, folder)


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).stat().st_size > COPIED_BYTES:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # no hard links here, or too many
    shutil.copy2(source, target)


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
    """Path of the checkpoint of a step."""
    return folder / f"{_CHECKPOINT}{step}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob(f"{_CHECKPOINT}*") if is_complete(path)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_CHECKPOINT)))


def set_damaged_aside(folder: Path) -> None:
    """Look into the checkpoints in `folder`, newest first, until one is intact; those before it are left unread."""
    for path in reversed(checkpoints(folder)):
        if is_intact(path):
            return


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest `count` checkpoints."""
    for path in checkpoints(folder)[:-count]:
        remove(path)
