"""Converters of other layouts to JSON Lines of `Sample`: one public data set a file, one line in `CONVERTERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medmvl.data.convert.vqa_rad import convert_vqa_rad
from medmvl.errors import UserError

Converter = Callable[[Path, Path, Mapping[str, float], int], dict[str, Any]]

CONVERTERS: dict[str, Converter] = {
    "vqa-rad": convert_vqa_rad,
}
"""Name on the command line to `convert(raw, out, fractions, seed)`."""


def get_converter(name: str) -> Converter:
    """Return a converter by its exact name.

    Raises:
        UserError: listing the known names.
    """
    if name not in CONVERTERS:
        raise UserError(f"no converter '{name}'; known converters: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]
