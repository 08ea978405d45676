"""What encoders and connectors share: strict configurations, chosen by their `type` from a visible table."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from medmvl.errors import RecipeError


class PartConfig(BaseModel):
    """The settings of one part: immutable, without weights or files; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str

    def to_dict(self) -> dict[str, Any]:
        """All settings, defaults filled in, as plain JSON values."""
        return self.model_dump(mode="json")


C = TypeVar("C", bound=PartConfig)


def parse_part(config: Mapping[str, Any], table: Mapping[str, type[C]], role: str) -> C:
    """The typed configuration of a part.

    Args:
        config: a plain dict with a `type` that is a key of `table`.
        table: configuration classes by type.
        role: what the part is, for messages: `"image encoder"`.

    Raises:
        RecipeError: an unknown type or key, or a value that does not fit; the message lists what is known.
    """
    name = str(config.get("type"))
    if name not in table:
        raise RecipeError(f"{role}: unknown type {name!r}.{_meant(name, table)} Known: {', '.join(table)}.")
    config_class = table[name]
    try:
        return config_class.model_validate(dict(config))
    except ValidationError as error:
        problems = "; ".join(_problem(detail, config_class) for detail in error.errors())
        raise RecipeError(f"{role} {name!r}: {problems}") from error


def reset_weights(module: nn.Module) -> None:
    """Give the parameters that `module` itself holds their starting values (PyTorch's own, or the part's)."""
    if isinstance(module, nn.MultiheadAttention):
        module._reset_parameters()
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()


def _problem(detail: Any, config_class: type[PartConfig]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    known = config_class.model_fields
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{_meant(key, known)} Known: {', '.join(known)}."
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
