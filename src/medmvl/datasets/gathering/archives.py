"""Files inside the zip archives that public data sets come in; they are written out, since readers need files."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from medmvl.datasets.gathering.collection import Collection
from medmvl.errors import ReadError


@contextmanager
def open_zip(path: Path) -> Iterator[ZipFile]:
    """Context for reading an archive.

    Raises:
        ReadError: where it is damaged, or holds something that cannot be unpacked.
    """
    try:
        with ZipFile(path) as archive:
            yield archive
    except (BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ReadError(f"{path.name} is not a readable zip archive ({error})") from None


def write_volumes(found: Collection, path: Path, folder: str, suffix: str) -> dict[str, str]:
    """Write the volumes of one folder inside an archive below `volumes/`; return file name to what samples call it.

    Args:
        found: where they are written.
        path: the archive.
        folder: inside the archive, such as `study/img`.
        suffix: how their names end.
    """
    written: dict[str, str] = {}
    with open_zip(path) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename)
            if member.is_dir() or name.parent != PurePosixPath(folder) or not name.name.endswith(suffix):
                continue
            reference = f"volumes/{path.stem}/{name.name}"
            target = found.folder / reference
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            written[name.name] = found.written(reference)
    return written
