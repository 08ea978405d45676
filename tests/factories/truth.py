"""Scans whose every voxel and place is known, in every way that a reader must tell apart.

The truth is one small volume in canonical order (Superior, Posterior, Left) with an affine that may be oblique. `stored`
turns it into any file order; what comes back must be the truth, whatever the order, unit, type or encoding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPE = (3, 4, 5)
SPACING_MM = (5.0, 0.8, 0.7)
TOWARDS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
UNITS = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1000.0, "inch": 25.4}
INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4")


class Stored(NamedTuple):
    """A volume as a file holds it."""

    array: NDArray[Any]
    """In file order (i, j, k), fastest first."""
    affine: NDArray[np.float64]
    """From (i, j, k) to RAS+ millimetres."""
    codes: str
    """The directions in which i, j and k grow."""


def voxels(dtype: str) -> NDArray[Any]:
    """The truth in canonical order: every voxel another value, negative ones where the type has them."""
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) * 2
    if np.dtype(dtype).kind != "u":
        values = values - 50
    return (values * (0.5 if np.dtype(dtype).kind == "f" else 1)).astype(dtype)


def affine(angle_degrees: float = 0.0) -> NDArray[np.float64]:
    """From a canonical index (d, h, w) to RAS+ millimetres, turned about the body's long axis."""
    made = np.eye(4)
    made[:3, :3] = np.array([(0, 0, -1), (0, -1, 0), (1, 0, 0)]) * SPACING_MM
    turn = np.radians(angle_degrees)
    rotation = np.array(
        [(np.cos(turn), -np.sin(turn), 0), (np.sin(turn), np.cos(turn), 0), (0, 0, 1)], dtype=np.float64
    )
    made[:3, :3] = rotation @ made[:3, :3]
    made[:3, 3] = (11.0, -7.0, 30.0)
    return made


def orders() -> list[str]:
    """All 48 ways in which three axes can lie in a body."""
    sides = (("R", "L"), ("A", "P"), ("S", "I"))
    return ["".join(codes) for axes in itertools.permutations(sides) for codes in itertools.product(*axes)]


def stored(codes: str, dtype: str = "i2", angle_degrees: float = 0.0) -> Stored:
    """The truth with its axes i, j, k growing to `codes`; written out without the package's own geometry."""
    canonical = "SPL"
    index = np.eye(4)
    index[:3, :3] = 0
    take, flips = [], []
    for axis, code in enumerate(codes):
        home = next(n for n, own in enumerate(canonical) if TOWARDS[own][0] == TOWARDS[code][0])
        flipped = canonical[home] != code
        take.append(home)
        flips.append(slice(None, None, -1 if flipped else 1))
        index[home, axis] = -1 if flipped else 1
        index[home, 3] = SHAPE[home] - 1 if flipped else 0
    array = voxels(dtype).transpose(take)[tuple(flips)]
    return Stored(np.ascontiguousarray(array), affine(angle_degrees) @ index, codes)


def cycled(*choices: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Endless combinations in which each list goes round at its own pace, so that all pairs come up."""
    steps = [0] * len(choices)
    for number in itertools.count():
        yield tuple(options[steps[n] % len(options)] for n, options in enumerate(choices))
        steps = [number + 1 + (number // len(options) if n else 0) for n, options in enumerate(choices)]
