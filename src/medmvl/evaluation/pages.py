"""The pages of this room, filled in: every value is escaped, and one that is missing is an error."""

from __future__ import annotations

from typing import Any


def render(name: str, **values: Any) -> str:
    """The text of a template of `medmvl/evaluation/templates`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medmvl.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)
