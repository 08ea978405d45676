"""Parts from other packages: an installed package names them in its entry points, and they are used like built-in ones.

A group of entry points belongs to each table: `[project.entry-points."medmvl.connectors"]` with `gated = "package:Gated"`.
A plug-in is imported only when something names it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medmvl.errors import UserError

GROUPS = (
    "medmvl.image_encoders",
    "medmvl.volume_encoders",
    "medmvl.connectors",
    "medmvl.tasks",
    "medmvl.datasets",
    "medmvl.rewards",
)


@dataclass(frozen=True)
class Plugin:
    """What an installed package offers under a name; nothing of it is imported yet."""

    group: str
    name: str
    package: str
    version: str
    entry_point: EntryPoint

    @property
    def source(self) -> str:
        """Package and version: `medmvl-example 0.1.0`."""
        return f"{self.package} {self.version}"

    def load(self) -> Any:
        """Import it.

        Raises:
            UserError: the package does not hold what its entry point says.
        """
        try:
            return self.entry_point.load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.source} offers {self.name!r} ({self.group}) but it cannot be imported: {error}. "
                "Fix or uninstall the package."
            ) from error


@cache
def installed(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group by name.

    Raises:
        UserError: two packages offer the same name.
    """
    assert group in GROUPS, group
    found: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        assert entry.dist is not None
        plugin = Plugin(group, entry.name, entry.dist.name, entry.dist.version, entry)
        other = found.setdefault(entry.name, plugin)
        if other.package != plugin.package:
            raise UserError(
                f"{other.source} and {plugin.source} both offer {entry.name!r} ({group}); uninstall one."
            )
    return found


def find_plugin(group: str, name: str, built_in: Collection[str]) -> Plugin | None:
    """The plug-in of that name; None where a built-in part has it, or nothing.

    Raises:
        UserError: a package offers a name that is built in.
    """
    plugin = installed(group).get(name)
    if plugin is not None and name in built_in:
        raise UserError(
            f"{plugin.source} offers {name!r} ({group}), which is built in; uninstall it, or rename its entry point."
        )
    return plugin


def known_names(group: str, built_in: Collection[str]) -> str:
    """All names for a message: `linear, mlp; from plug-ins: gated (medmvl-example 0.1.0)`."""
    offered = ", ".join(f"{plugin.name} ({plugin.source})" for plugin in installed(group).values())
    return ", ".join(built_in) + (f"; from plug-ins: {offered}" if offered else "")
