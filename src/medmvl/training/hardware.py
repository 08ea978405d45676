"""Accelerators that an estimate may be asked for: dense bfloat16 peak and memory, of the makers' data sheets."""

from __future__ import annotations

from typing import NamedTuple

from medmvl.errors import UserError


class Accelerator(NamedTuple):
    """One device."""

    teraflops: float
    """Dense bfloat16 (V100: float16) operations a second, in units of 1e12."""
    gib: float


ACCELERATORS: dict[str, Accelerator] = {
    "v100-32gb": Accelerator(125, 32),
    "rtx3090-24gb": Accelerator(71, 24),
    "rtx4090-24gb": Accelerator(165, 24),
    "l40s-48gb": Accelerator(362, 48),
    "a100-40gb": Accelerator(312, 40),
    "a100-80gb": Accelerator(312, 80),
    "h100-80gb": Accelerator(989, 80),
    "h200-141gb": Accelerator(989, 141),
}


def find_accelerator(name: str) -> Accelerator:
    """By name.

    Raises:
        UserError: listing the known names.
    """
    if name not in ACCELERATORS:
        raise UserError(f"no hardware {name!r}; known: {', '.join(ACCELERATORS)}.")
    return ACCELERATORS[name]
