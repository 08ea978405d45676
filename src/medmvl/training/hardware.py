"""Accelerators that an estimate may be asked for: dense bfloat16 peak, memory and links, of the makers' data sheets.

Links are one direction: NVLink or PCIe within a node; between nodes InfiniBand as in the makers'
own servers, or 10 Gbit Ethernet.
"""

from __future__ import annotations

from typing import NamedTuple

from medmvl.errors import UserError
from medmvl.messages import did_you_mean


class Accelerator(NamedTuple):
    """One device."""

    teraflops: float
    """Dense bfloat16 (V100: float16) operations per second, in units of 1e12."""
    gib: float
    link: float
    """Gigabytes per second to another device of the same node."""
    network: float
    """Gigabytes per second to another node."""


ACCELERATORS: dict[str, Accelerator] = {
    "v100-32gb": Accelerator(125, 32, 150, 12.5),
    "rtx3090-24gb": Accelerator(71, 24, 25, 1.25),
    "rtx4090-24gb": Accelerator(165, 24, 25, 1.25),
    "l40s-48gb": Accelerator(362, 48, 25, 12.5),
    "a100-40gb": Accelerator(312, 40, 300, 25),
    "a100-80gb": Accelerator(312, 80, 300, 25),
    "h100-80gb": Accelerator(989, 80, 450, 50),
    "h200-141gb": Accelerator(989, 141, 450, 50),
}


def find_accelerator(name: str) -> Accelerator:
    """The accelerator of this name.

    Raises:
        UserError: listing the known names.
    """
    if name not in ACCELERATORS:
        raise UserError(
            f"no hardware {name!r}{did_you_mean(name, ACCELERATORS) or '.'} Known: {', '.join(ACCELERATORS)}."
        )
    return ACCELERATORS[name]
