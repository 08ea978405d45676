"""What every labeler offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Labeler(Protocol):
    """Turns reports into labels."""

    @property
    def names(self) -> tuple[str, ...]:
        """The labels it decides about."""

    def label(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text and each of `names`: 1 present, 0 absent or not mentioned."""
