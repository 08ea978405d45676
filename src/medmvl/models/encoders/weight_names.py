"""What the maps from other projects' weight names to ours share; each map lies next to its encoder."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from medmvl.errors import RecipeError


def layers_up_to(layer: int, num_layers: int, origin: str) -> int:
    """How many layers are built for an index of a list that starts with the output of the first layer.

    Raises:
        RecipeError: there is no such layer.
    """
    if not -num_layers <= layer < num_layers:
        raise RecipeError(f"{origin}: layer {layer} does not exist; the checkpoint has {num_layers} layers.")
    return layer % num_layers + 1


def tensors_under(state_dict: Mapping[str, Tensor], landmark: str, origin: str) -> dict[str, Tensor]:
    """The tensors that share the prefix of one whose name ends with `landmark`, without that prefix.

    Raises:
        RecipeError: there is none, or there are several.
    """
    ends = f".{landmark}"
    prefixes = [name[: -len(landmark)] for name in state_dict if name == landmark or name.endswith(ends)]
    if len(prefixes) != 1:
        found = ", ".join(f"{prefix}{landmark}" for prefix in prefixes) or "none"
        raise RecipeError(f"{origin}: one tensor named ...{landmark} was expected, found {found}.")
    prefix = prefixes[0]
    return {name[len(prefix) :]: tensor for name, tensor in state_dict.items() if name.startswith(prefix)}


def renamed(state_dict: Mapping[str, Tensor], names: Mapping[str, str], origin: str) -> dict[str, Tensor]:
    """The named tensors by their new names; others are left out.

    Raises:
        RecipeError: tensors are missing; the message lists them.
    """
    missing = [name for name in names if name not in state_dict]
    if missing:
        raise RecipeError(f"{origin}: missing {len(missing)} tensors: {', '.join(missing[:20])}.")
    return {ours: state_dict[theirs] for theirs, ours in names.items()}
