"""Converters of other layouts to JSON Lines of `Sample`: one public data set a file, one entry in `CONVERTERS`."""

from __future__ import annotations

from medmvl.data.convert.collection import ConvertOptions
from medmvl.data.convert.datasets import CONVERTERS
from medmvl.data.convert.public import PublicDataset
from medmvl.errors import UserError
from medmvl.plugins import find_plugin, known_names

__all__ = ["CONVERTERS", "ConvertOptions", "PublicDataset", "get_converter"]

GROUP = "medmvl.datasets"


def get_converter(name: str) -> PublicDataset:
    """Return a converter by its exact name, ours or a plug-in's (entry points `medmvl.datasets`).

    Raises:
        UserError: listing the known names; or where a plug-in offers something else, or a name that is ours.
    """
    plugin = find_plugin(GROUP, name, CONVERTERS)
    if name in CONVERTERS:
        return CONVERTERS[name]
    if plugin is None:
        raise UserError(f"no converter '{name}'; known converters: {known_names(GROUP, CONVERTERS)}")
    dataset = plugin.load()
    if not isinstance(dataset, PublicDataset):
        raise UserError(f"{plugin.source} offers {name!r} as a data set, but it is no PublicDataset")
    return dataset
