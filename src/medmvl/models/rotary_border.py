"""LLMs that turn positions by other angles once they read more than a border: LongRoPE (arXiv 2402.13753; Phi-4-mini).

transformers chooses the angles of a whole pass by its longest row, and keys in a cache keep those they were made with. So the
rows of a pass, and what its cache holds, belong on one side of the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def border_of(config: PreTrainedConfig) -> int | None:
    """Most tokens that are read with the angles of short texts; None where angles do not depend on the length."""
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    by_layer = [values for values in rope.values() if isinstance(values, dict)]
    borders = [
        int(found["original_max_position_embeddings"])
        for found in (rope, *by_layer)
        if found.get("rope_type") == "longrope"
    ]
    return min(borders, default=None)


def is_within(length: int, border: int | None) -> bool:
    """Whether so many tokens are read with the angles of short texts."""
    return border is None or length <= border


def sides(lengths: Sequence[int], border: int | None) -> list[list[int]]:
    """Places of the lengths on either side of a border, those within it first; sides without any are left out."""
    within = [place for place, length in enumerate(lengths) if is_within(length, border)]
    beyond = [place for place, length in enumerate(lengths) if not is_within(length, border)]
    return [side for side in (within, beyond) if side]
