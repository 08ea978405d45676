"""What tells the entries of a list apart, in words that show no identity: numbers, closed lists of terms, and counts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medmvl.imaging.dicom_image_spacing import image_spacing
from medmvl.imaging.dicom_marks import SCAN_MARKS, SUV_TYPES, TELLING_APART, TIME_MARKS
from medmvl.imaging.dicom_tags import ACQUISITION_DAY, IDENTITY

if TYPE_CHECKING:
    from medmvl.imaging.dicom_series import Series

KERNEL = re.compile(
    r"[A-Z]{1,2}[a-z]{0,2}\d{1,3}[a-z]{0,2}(\\\d)?|STANDARD|STND|STD|SOFT|LUNG|BONE|BONEPLUS|DETAIL|EDGE|CHEST|BRAIN|"
    r"SHARP|SMOOTH|[A-D]|EB|EC|[YFG]?[A-E]|UB|YA|YB|YC"
)
"""Names of reconstruction kernels as vendors write them; any other text is numbered instead of shown."""
RESCALED = ("HU", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")
"""Terms of Rescale Type (PS3.3 C.11.1.1.2)."""
CORRECTIONS = frozenset(
    ["DECY", "ATTN", "SCAT", "DTIM", "MOTN", "PMOT", "CLN", "RAN", "RADL", "DCAL", "NORM"]
)
"""Terms of Corrected Image (PS3.3 C.8.9.1.1.5)."""
LYING = ("FF", "FFS", "HFS", "HFP", "FFP", "HFDR", "HFDL", "FFDR", "FFDL")
_NUMBERS = {
    "series number": "series number {:g}", "thickness": "{:g} mm thick", "tube voltage": "{:g} kV",
    "flip angle": "flip angle {:g}", "time": "time {:g}", "echo time": "echo time {:g} ms", "b value": "b {:g}",
    "inversion time": "inversion time {:g} ms", "cardiac phase": "cardiac phase {:g} %",
    "respiratory phase": "respiratory phase {:g} %", "time offset": "at {:g} s", "trigger time": "trigger time {:g} ms",
    "acquisition": "acquisition {:g}", "energy window": "energy window {:g}", "detector": "detector {:g}",
    "repetition time": "repetition time {:g} ms", "field strength": "{:g} tesla", "pitch": "pitch {:g}",
    "field of view": "field of view {:g} mm", "tilt": "tilt {:g} degrees",
    "optical path": "optical path {:g}", "focal plane": "focal plane {:g}", "segment": "segment number {:g}",
}  # fmt: skip
_HIDDEN = (
    "acquisition clock", "content clock", "reference time", "whole image type", "dimension", ACQUISITION_DAY,
)  # fmt: skip
"""Times of day and free terms: never shown, only numbered."""


def tell_apart(series: Sequence[Series]) -> list[Series]:
    """Say of each series what tells it from others that would read the same; no two then read alike."""
    alike: dict[str, list[int]] = defaultdict(list)
    for at, one in enumerate(series):
        alike[one.plain].append(at)
    named = list(series)
    for places in alike.values():
        if len(places) > 1:
            words = _words([series[at] for at in places])
            for at, said in zip(places, words, strict=True):
                named[at] = replace(series[at], apart=said)
    return named


def _words(series: Sequence[Series]) -> list[str]:
    firsts = [one.frames[0] for one in series]
    said: list[list[str]] = [[] for _ in series]
    for name in dict.fromkeys((*SCAN_MARKS, *TIME_MARKS, *TELLING_APART)):
        if name not in _HIDDEN:
            _add_mark(said, name, [frame.mark(name) for frame in firsts])
    at = 0
    for name, keywords in IDENTITY.items():
        numbers = [frame.file.identity[at : at + len(keywords)] for frame in firsts]
        _add(said, [f"{name} no. {rank}" for rank in _ranks(numbers)])
        at += len(keywords)
    _add(said, [_pixel_size(one) for one in series])
    for describe in (_extent, _instances, lambda one: str(one.series_type)):
        if not _unique(said):
            _add(said, [describe(one) for one in series])
    _count(said)
    return [", ".join(words) for words in said]


def _unique(said: Sequence[Sequence[str]]) -> bool:
    return len({tuple(words) for words in said}) == len(said)


def _add_mark(said: list[list[str]], name: str, values: Sequence[float | str | None]) -> None:
    known = sorted(
        {value for value in values if value is not None}, key=lambda value: (isinstance(value, str), value)
    )
    _add(said, [_label(name, value, known.index(value) + 1 if value is not None else 0) for value in values])


def _ranks(values: Sequence[object]) -> list[int]:
    """Number values from 1 in the order in which they first appear."""
    different = list(dict.fromkeys(values))
    return [different.index(value) + 1 for value in values]


def _add(said: list[list[str]], words: Sequence[str]) -> None:
    """Add a word to each entry, where they differ."""
    if len(set(words)) > 1:
        for entry, word in zip(said, words, strict=True):
            entry.append(word)


def _count(said: list[list[str]]) -> None:
    """Number what still reads alike."""
    alike = Counter(tuple(words) for words in said)
    counts: Counter[tuple[str, ...]] = Counter()
    for words in said:
        key = tuple(words)
        counts[key] += 1
        if alike[key] > 1:
            words.append(f"no. {counts[key]} of these")


def _label(name: str, value: float | str | None, rank: int) -> str:
    if value is None:
        return f"no {name}"
    if isinstance(value, float) and name in _NUMBERS:
        return _NUMBERS[name].format(value)
    if name == "kernel" and KERNEL.fullmatch(str(value)):
        return f"kernel {value}"
    if name == "image type":
        return f"{value or 'magnitude or plain'}"
    if name == "rescale type" and str(value) in RESCALED:
        return f"rescaled to {value}"
    if name == "corrections" and set(str(value).split("\\")) <= CORRECTIONS:
        return f"corrected for {str(value).replace(chr(92), ', ')}"
    if name == "SUV type" and str(value) in SUV_TYPES:
        return f"SUV by {SUV_TYPES[str(value)]}"
    if name == "decay correction" and str(value) in ("NONE", "START", "ADMIN"):
        return f"decay correction {value}"
    if name == "patient position" and str(value) in LYING:
        return f"patient position {value}"
    return f"{name} no. {rank}"


def _pixel_size(series: Series) -> str:
    first = series.frames[0]
    spacing = first.spacing or image_spacing(first)[0]
    return "no pixel spacing" if spacing is None else f"pixels of {spacing[0]:.4g} x {spacing[1]:.4g} mm"


def _extent(series: Series) -> str:
    frames = [frame for frame in series.frames if frame.placed]
    if not frames:
        return ""
    along = [float(frame.position @ frames[0].normal) for frame in frames if frame.position is not None]
    across = (
        np.round(frames[0].position - frames[0].normal * along[0], 1)
        if frames[0].position is not None
        else ()
    )
    side = "" if not len(across) else " from corner " + ", ".join(f"{part + 0.0:g}" for part in across)
    return f"at {min(along):.1f} to {max(along):.1f} mm{side}"


def _instances(series: Series) -> str:
    numbers = [number for frame in series.frames if isinstance(number := frame.mark("instance"), float)]
    return f"instances {min(numbers):g} to {max(numbers):g}" if numbers else "no instance number"
