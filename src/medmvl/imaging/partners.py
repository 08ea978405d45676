"""The files that one path means: a header and the pixels that lie next to it, or everything in a folder.

Reading, the cache of prepared pixels and the engine's signature all ask here, so that none of them misses a changed file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from medmvl.digests import file_state
from medmvl.errors import ReadError
from medmvl.imaging import analyze, metaimage, nifti, nrrd
from medmvl.imaging.volume_files import file_inside, read_head

HEADERS: dict[str, tuple[str, ...]] = {
    ".img": (".hdr", ".HDR", ".hdr.gz"),
    ".raw": (".mhd", ".nhdr"),
    ".zraw": (".mhd",),
}
"""Suffix of pixels that cannot be recognised themselves, without `.gz`, and the suffixes of their header."""

PIXELS: tuple[tuple[Callable[[bytes, Path], bool], Callable[[Path], list[str]]], ...] = (
    (nifti.sniff, nifti.pixel_files),
    (analyze.sniff, lambda path: [nifti.pixels_beside(path).name]),
    (nrrd.sniff, nrrd.pixel_files),
    (metaimage.sniff, metaimage.pixel_files),
)
"""How a header in two-file formats is recognised, and the names of the pixel files that it speaks of."""


def header_of(path: Path) -> Path:
    """The header next to the pixels of a two-file format; any other path as it is."""
    stem = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    for suffix in HEADERS.get(stem.suffix.lower(), ()):
        header = stem.with_suffix(suffix)
        if header.is_file():
            return header
    return path


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file that reading a path opens, and the path itself; what is missing or damaged is left to reading.

    Returns:
        All files below a folder, sorted; for a file its header, then its pixels in the header's order.
    """
    if path.is_dir():
        return tuple(file for file in sorted(path.rglob("*")) if file.is_file())
    header = header_of(path)
    try:
        names = _names_in(header, *file_state(header))
    except OSError:
        names = ()
    pixels = (file_inside(header, name) for name in names)  # each time: pixels may come after their header
    return tuple(dict.fromkeys((header, *filter(None, pixels), path)))


@lru_cache(maxsize=4096)
def _names_in(header: Path, *state: int) -> tuple[str, ...]:
    """Names of the pixel files that a header speaks of, read once per state of the header."""
    try:
        head = read_head(header)
        return tuple(next((named(header) for sniff, named in PIXELS if sniff(head, header)), ()))
    except ReadError:
        return ()
