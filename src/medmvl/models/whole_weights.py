"""Pretrained weights are all there: transformers would give what a checkpoint lacks random values and go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medmvl.errors import RecipeError
from medmvl.messages import first_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_whole(
    model_class: Any, path: Any, what: str, *, wanted: Iterable[str] | None = None, **options: Any
) -> PreTrainedModel:
    """Load a model by its class's `from_pretrained`.

    Args:
        model_class: a model of transformers, or one of its Auto classes.
        path: a folder or hub id.
        what: names the part in the error.
        wanted: names of the weights that will be used, without those of a tower around them; None: all.
        options: for `from_pretrained`.

    Raises:
        RecipeError: the checkpoint lacks some of these weights.
    """
    model: PreTrainedModel
    model, found = model_class.from_pretrained(path, output_loading_info=True, **options)
    check_whole(model, found["missing_keys"], f"{what}: the checkpoint at {str(path)!r}", wanted)
    return model


def check_whole(
    model: PreTrainedModel, missing: Iterable[str], what: str, wanted: Iterable[str] | None = None
) -> None:
    """Raise RecipeError where weights are missing that are used and tied to no other."""
    lacking = set(missing) - set(getattr(model, "all_tied_weights_keys", None) or {})
    if wanted is not None:
        lacking = {name.removeprefix("vision_model.") for name in lacking} & set(wanted)
    if lacking:
        raise RecipeError(
            f"{what} lacks {len(lacking)} of the weights: {first_of(sorted(lacking), separator=', ')}. They would begin as "
            "random numbers; is it a checkpoint of another model, an adapter alone, or a copy that was cut off?"
        )
