"""Converters of other layouts to JSON Lines of `Sample`: one public data set a file, one entry in `CONVERTERS`."""

from __future__ import annotations

from medmvl.data.convert.collection import ConvertOptions
from medmvl.data.convert.datasets import CONVERTERS
from medmvl.data.convert.public import PublicDataset
from medmvl.errors import UserError

__all__ = ["CONVERTERS", "ConvertOptions", "PublicDataset", "get_converter"]


def get_converter(name: str) -> PublicDataset:
    """Return a converter by its exact name.

    Raises:
        UserError: listing the known names.
    """
    if name not in CONVERTERS:
        raise UserError(f"no converter '{name}'; known converters: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]
