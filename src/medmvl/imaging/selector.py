"""Choosing one image where a path holds several: `folder#series=2`, `cine.dcm#frame=3`, `bold.nii.gz#time=1`.

Numbers start at 1, as the error of an ambiguous path lists them. Parts may follow one another:
`folder#series=2#frame=3`. A number counts the series that are there now; `folder#series=5f3a9c01d2ab`, a digest that the
same list shows, means one series whatever comes next to it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from medmvl.errors import ReadError

_PARTS = re.compile(r"(?:#[A-Za-z]+=[^#]*)+$")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
DIGEST_DIGITS = 12
"""Hexadecimal digits of a series' digest: more than a number has."""
_DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_DIGITS}}}")


@dataclass(frozen=True)
class Selector:
    """Which series, frame or time point of a source is meant, counted from 1; None where nothing was chosen."""

    series: int | str | None = None
    """A number, or the digest of a series."""
    frame: int | None = None
    time: int | None = None

    def refuse_others(self, *used: str) -> None:
        """Raise ReadError where a part was given that this source does not have.

        Args:
            used: names of the parts that the source understands.
        """
        for name in ("series", "frame", "time"):
            if getattr(self, name) is not None and name not in used:
                raise ReadError(
                    f"{name} {getattr(self, name)} was asked for, but there is no {name} to choose here"
                )

    def __str__(self) -> str:
        """Return the text that follows the path."""
        chosen = (("series", self.series), ("frame", self.frame), ("time", self.time))
        return "".join(f"#{name}={number}" for name, number in chosen if number is not None)


def split_selector(path: str | os.PathLike[str]) -> tuple[Path, Selector]:
    """Split `path#series=2` into the path and the selector; a path that exists as it is has no selector.

    Raises:
        ReadError: for an unknown part, or a number that is not a positive integer.
    """
    text = os.fspath(path)
    found = _PARTS.search(text)
    if found is None or Path(text).exists():
        return Path(text), Selector()
    return Path(text[: found.start()]), parse_selector(found.group()[1:])


def parse_selector(text: str) -> Selector:
    """Return what `series=2`, or `series=2#frame=3`, chooses.

    Raises:
        ReadError: for an unknown part, or what is neither a positive integer nor, of a series, a digest.
    """
    chosen: dict[str, str] = {}
    for part in text.split("#"):
        name, _, value = part.partition("=")
        is_digest = name == "series" and _DIGEST.fullmatch(value) is not None
        if name not in ("series", "frame", "time") or not (is_digest or _NUMBER.fullmatch(value)):
            raise ReadError(
                f"{text[:80]!r} chooses nothing: expected series=N, frame=N or time=N with N counted from 1, or several "
                "such as series=2#frame=3"
            )
        if name in chosen:
            raise ReadError(f"{name}= is given twice")
        chosen[name] = value
    series = chosen.pop("series", None)
    numbers = {name: int(value) for name, value in chosen.items()}
    return Selector(series=int(series) if series and _NUMBER.fullmatch(series) else series, **numbers)


def pick(number: int, count: int, name: str) -> int:
    """Return the 0-based index of part `number` (counted from 1) out of `count`.

    Raises:
        ReadError: where there are fewer.
    """
    if number > count:
        raise ReadError(
            f"{name} {number} was asked for, but there {'is' if count == 1 else 'are'} only {count}"
        )
    return number - 1
