"""Uploaded studies: read once at the door, kept without identity, each its owner's alone, deleted when their time is over."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.json_types import JsonObject
from medmvl.serving.settings import Limits, key_of
from medmvl.serving.stored_image import StoredImage, load_image, store_image

PREFIX = "file-"
FOLDER_PREFIX = "medmvl-serve-"


class NotFoundError(UserError):
    """There is no such upload, or it is another's: the same words for both."""


class QuotaError(UserError):
    """This key holds as much as it may."""


@dataclass(frozen=True)
class Study:
    """One uploaded image or volume."""

    id: str
    owner: str
    created: float
    num_bytes: int
    about: JsonObject
    """`kind`, `shape`, `spacing_mm`, `modality`, `units`, `warnings`; no identity."""
    plane: str = "axial"
    """Which plane a 2D image shows, as far as it is known."""
    oriented: bool = False
    """True where it is known where its axes grow."""


class StudyStore:
    """Studies in a private folder of its own, which is deleted with it."""

    def __init__(self, limits: Limits, folder: Path | None = None) -> None:
        self.limits = limits
        remove_abandoned(Path(folder or tempfile.gettempdir()))
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=folder))  # mode 0700
        self._held = _hold(self.folder)
        self._studies: dict[str, Study] = {}
        self._used: dict[str, float] = {}
        self._lock = RLock()

    def incoming(self) -> Path:
        """A new private folder to receive an upload into; who asks for it discards it."""
        return Path(tempfile.mkdtemp(prefix="incoming-", dir=self.folder))

    @staticmethod
    def discard(folder: Path) -> None:
        """Delete a folder of `incoming`."""
        shutil.rmtree(folder, ignore_errors=True)

    def check_quota(self, owner: str) -> None:
        """Raise QuotaError where the owner may hold nothing more."""
        held = self.list(owner)
        if len(held) >= self.limits.files_per_key:
            raise QuotaError(f"{len(held)} files are held already; delete some first")
        if self._bytes_of_key(owner) >= self.limits.bytes_per_key:
            raise QuotaError("the files held already take all the space of this key; delete some first")

    def adopt(self, owner: str, stored: StoredImage) -> Study:
        """Keep what was read of an upload; its file moves into the store.

        Raises:
            QuotaError: the owner may hold nothing more.
        """
        self.check_quota(owner)
        name = PREFIX + secrets.token_urlsafe(18)
        stored.path.rename(self._path(name))
        return self._listed(owner, name, stored)

    def declare(self, owner: str, name: str, declared: Declared) -> Study:
        """Replace a study by one with what is declared about it, under a new name: what is cached under the old one differs.

        Raises:
            UserError: the file says otherwise.
        """
        image = apply_declared(self.load(owner, name), declared)
        self.delete(owner, name)
        return self._keep(owner, image)

    def put(self, owner: str, image: MedicalImage) -> Study:
        """Keep an image that was not uploaded."""
        self.check_quota(owner)
        return self._keep(owner, image)

    def _bytes_of_key(self, owner: str) -> int:
        key = key_of(owner)
        with self._lock:
            return sum(study.num_bytes for study in self._studies.values() if key_of(study.owner) == key)

    def _keep(self, owner: str, image: MedicalImage) -> Study:
        name = PREFIX + secrets.token_urlsafe(18)
        return self._listed(owner, name, store_image(image, self._path(name)))

    def _listed(self, owner: str, name: str, stored: StoredImage) -> Study:
        study = Study(name, owner, time.time(), stored.num_bytes, stored.about, stored.plane, stored.oriented)
        with self._lock:
            self._studies[name] = study
            self._used[name] = study.created
        return study

    def get(self, owner: str, name: str) -> Study:
        """Raises NotFoundError where there is none of this owner."""
        self.expire()
        with self._lock:
            study = self._studies.get(name)
            if study is None or study.owner != owner:
                raise NotFoundError("there is no such file")
            self._used[name] = time.time()
        return study

    def list(self, owner: str) -> list[Study]:
        """An owner's studies, oldest first."""
        self.expire()
        with self._lock:
            return [study for study in self._studies.values() if study.owner == owner]

    def load(self, owner: str, name: str) -> MedicalImage:
        """The pixels of an owner's study."""
        study = self.get(owner, name)
        try:
            return load_image(self._path(study.id))
        except FileNotFoundError:
            raise NotFoundError("there is no such file") from None

    def delete(self, owner: str, name: str) -> None:
        """Forget a study and delete its pixels."""
        self._drop(self.get(owner, name))

    def expire(self) -> None:
        """Delete what was not used for so long."""
        oldest = time.time() - self.limits.file_seconds
        with self._lock:
            old = [study for study in self._studies.values() if self._used[study.id] < oldest]
        for study in old:
            self._drop(study)

    def close(self) -> None:
        """Delete everything."""
        with self._lock:
            self._studies.clear()
            self._used.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _drop(self, study: Study) -> None:
        with self._lock:
            self._studies.pop(study.id, None)
            self._used.pop(study.id, None)
        self._path(study.id).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def remove_abandoned(parent: Path) -> int:
    """Delete the folders of servers that were killed; a living server holds a lock on its own.

    Returns:
        How many were deleted.
    """
    removed = 0
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        try:
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            held = _hold(folder)
        except OSError:
            continue  # deleted meanwhile, or not to be opened
        if held is None:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
        removed += 1
    return removed


def _hold(folder: Path) -> int | None:
    """Lock a folder until the process ends; the open descriptor, or None where another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
