"""Libraries and weights that only some metrics need: imported when used, and missed in plain words.

Judging texts never imports torch; a metric with a neural network does so here, by name, when it is asked for.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from medmvl.errors import MissingExtraError, UserError


def load_library(module: str, install: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingExtraError: naming the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package '{module}', which could not be imported ({error}); {install}"
        ) from None


def local_weights(path: Path | None, purpose: str, source: str) -> Path:
    """A folder or file of weights that must be on this machine.

    Raises:
        UserError: none was given, or it is not there. Nothing is ever downloaded.
    """
    if path is None:
        raise UserError(
            f"{purpose} needs weights on this machine and none were given; get {source} and name the folder"
        )
    if not path.exists():
        raise UserError(f"{purpose}: there is nothing at {path}; expected {source}")
    return path
