"""What encoders and connectors share: strict configurations, chosen by their `type` from a visible table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from torch import nn

from medmvl.errors import RecipeError
from medmvl.messages import did_you_mean
from medmvl.plugins import Plugin, find_plugin, installed, known_names
from medmvl.schema.strict import StrictModel

PLUGIN_GROUPS = {
    "image encoder": "medmvl.image_encoders",
    "volume encoder": "medmvl.volume_encoders",
    "connector": "medmvl.connectors",
}
"""Where other packages offer parts of each role."""

PartSettings = dict[str, Any]
"""Settings of a part as plain JSON values: its `type`, and keys that its `PartConfig` checks."""


class PartConfig(StrictModel):
    """The settings of one part: immutable, without weights or files; an unknown key is an error."""

    type: str

    def to_dict(self) -> dict[str, Any]:
        """All settings, defaults filled in, as plain JSON values."""
        return self.model_dump(mode="json")


C = TypeVar("C", bound=PartConfig)
P = TypeVar("P", bound=nn.Module)


def parse_part(config: Mapping[str, Any], table: Mapping[str, type[C]], role: str) -> C:
    """The typed configuration of a part.

    Args:
        config: a plain dict with a `type` that is a key of `table`, or the name of a plug-in for this role.
        table: configuration classes by type.
        role: what the part is, for messages: `"image encoder"`.

    Raises:
        RecipeError: an unknown type or key, or a value that does not fit; the message lists what is known.
    """
    name = str(config.get("type"))
    plugin = find_plugin(PLUGIN_GROUPS[role], name, table)
    config_class = cast("type[C]", load_part(plugin, role).Config) if plugin else table.get(name)
    if config_class is None:
        raise _unknown(name, table, role)
    try:
        return config_class.model_validate(dict(config))
    except ValidationError as error:
        problems = "; ".join(_problem(detail, config_class) for detail in error.errors())
        raise RecipeError(f"{role} {name!r}: {problems}") from error


def part_class(name: str, table: Mapping[str, type[P]], role: str) -> type[P]:
    """The class of a part, built in or of a plug-in.

    Raises:
        RecipeError: no part has that name.
    """
    plugin = find_plugin(PLUGIN_GROUPS[role], name, table)
    if plugin is None and name not in table:
        raise _unknown(name, table, role)
    return cast("type[P]", load_part(plugin, role)) if plugin else table[name]


def _unknown(name: str, table: Mapping[str, Any], role: str) -> RecipeError:
    known = known_names(PLUGIN_GROUPS[role], table)
    names = [*table, *installed(PLUGIN_GROUPS[role])]
    return RecipeError(
        f"{role}: unknown type {name!r}{did_you_mean(name, names) or '.'} Known: {known}. A part of another package is known "
        "once that package is installed."
    )


def load_part(plugin: Plugin, role: str) -> Any:
    """The class that a plug-in offers.

    Raises:
        RecipeError: it is no part: a module whose `Config` has the plug-in's name as the default of `type`.
    """
    offered = plugin.load()
    config = getattr(offered, "Config", None)
    is_part = isinstance(offered, type) and issubclass(offered, nn.Module)
    if not (is_part and isinstance(config, type) and issubclass(config, PartConfig)):
        raise RecipeError(
            f"{role} {plugin.name!r} of {plugin.source} is no part: an nn.Module with a `Config` that derives from "
            "PartConfig is expected."
        )
    if config.model_fields["type"].default != plugin.name:
        raise RecipeError(
            f"{role} {plugin.name!r} of {plugin.source}: its Config says type = "
            f"{config.model_fields['type'].default!r}; both names must be equal."
        )
    return offered


def reset_weights(module: nn.Module) -> None:
    """Give the parameters that `module` itself holds their starting values (PyTorch's own, or the part's)."""
    if isinstance(module, nn.MultiheadAttention):
        module._reset_parameters()
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()


def _problem(detail: ErrorDetails, config_class: type[PartConfig]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    known = config_class.model_fields
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}{did_you_mean(key, known) or '.'} Known: {', '.join(known)}."
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
