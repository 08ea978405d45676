"""Loading and saving without the bars that transformers draws for it; those of downloads stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils.logging import (
    EmptyTqdm,
    get_verbosity,
    set_tqdm_hook,
    set_verbosity,
    set_verbosity_error,
)

_SILENT = ("Loading weights", "Writing model shards")


@contextmanager
def without_weight_bars() -> Iterator[None]:
    """Draw no bar for the weights of a model inside; what a user of the library set before holds again afterwards."""

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        chosen = EmptyTqdm if kwargs.get("desc") in _SILENT else factory
        return before(chosen, args, kwargs) if before is not None else chosen(*args, **kwargs)

    before = set_tqdm_hook(hook)
    try:
        yield
    finally:
        set_tqdm_hook(before)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Errors of transformers only, such as while it looks at a configuration that is not its own."""
    before = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(before)
