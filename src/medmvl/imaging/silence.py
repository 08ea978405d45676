"""Keeping libraries quiet while files are read: their warnings and log records may quote a header's value, a patient's name."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_TALKATIVE = (
    "pydicom",
    "highdicom",
    "openjpeg",
    "libjpeg",
    "pylibjpeg",
    "nibabel",
    "nibabel.global",
    "nrrd",
    "PIL",
    "tifffile",
)
_NOWHERE = logging.NullHandler()
_lock = threading.Lock()
_depth = 0
_filters: warnings.catch_warnings[None] | None = None
_handlers: dict[str, tuple[bool, list[logging.Handler]]] = {}


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Silence warnings, and log records of the libraries that read files; may be nested and threaded."""
    global _depth
    with _lock:
        if _depth == 0:
            _silence()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _speak()


def _silence() -> None:
    global _filters
    _filters = warnings.catch_warnings()
    _filters.__enter__()
    warnings.simplefilter("ignore")
    for (
        name
    ) in _TALKATIVE:  # handlers and not levels: a change of level walks over every logger of the process
        logger = logging.getLogger(name)
        _handlers[name] = logger.propagate, logger.handlers
        logger.propagate, logger.handlers = False, [_NOWHERE]


def _speak() -> None:
    assert _filters is not None
    _filters.__exit__(None, None, None)
    for name, (propagate, handlers) in _handlers.items():
        logger = logging.getLogger(name)
        logger.propagate, logger.handlers = propagate, handlers


@cache
def silence_libtiff() -> None:
    """Keep the libtiff that Pillow has loaded from printing about damaged images; where none is found nothing is done.

    Pillow turns what went wrong into an exception; libtiff also prints it to standard error, past every handler of Python.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    loaded = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "libtiff" in line}
    for library in loaded:
        with suppress(OSError, AttributeError):
            libtiff = ctypes.CDLL(library)
            for setter in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)
