"""What goes wrong in a process that reads the training data, reported as where the training process reads itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import gettempdir

from medmvl.errors import UserError

_CAUGHT = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n")
"""How torch begins the message of an error that it raises again: a whole traceback follows (`ExceptionWrapper`)."""
_DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: ([^.]+)|exited unexpectedly)"
)

LONGEST_TEMPORARY_FOLDER = 75
"""Bytes of the temporary folder's path: sockets of processes that read lie in it (`pymp-XXXXXXXX/listener-XXXXXXXX`), and the
path of a socket has at most 107 (unix(7)). Beyond that such a process hands nothing over, and training waits for ever."""


def check_temporary_folder(workers: int) -> None:
    """Refuse a temporary folder whose path is too long for the sockets of processes that read.

    Raises:
        UserError: it is, and there are such processes.
    """
    length = len(os.fsencode(gettempdir()))
    if workers and length > LONGEST_TEMPORARY_FOLDER:
        raise UserError(
            f"the temporary folder {gettempdir()} has a path of {length} bytes; processes that read the data need sockets in "
            f"it, which allow {LONGEST_TEMPORARY_FOLDER}: set TMPDIR to a shorter path, or num_workers to 0"
        )


@contextmanager
def plain_loader_errors() -> Iterator[None]:
    """Turn errors of a data loader's processes into what was said there.

    Raises:
        UserError: such a process was killed; or whatever it raised, with its own message.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        said = _said(error)
        if said is None:
            raise
        error_class = type(error) if isinstance(error, UserError) else UserError
        raise error_class(said) from error
    except RuntimeError as error:
        if not _DIED.match(str(error)):
            raise
        by = _DIED.match(str(error.__cause__ or error))
        raise UserError(
            f"a process that reads the training data was lost ({(by and by[1]) or 'it ended by itself'}), often for memory "
            "(see dmesg) or shared memory (df /dev/shm); set a smaller stages.NAME.num_workers. The same command goes on "
            "from the last checkpoint"
        ) from error


def _said(error: Exception) -> str | None:
    """The message of the last exception of a traceback within a message; None where there is no traceback in it."""
    text, error_class = str(error), type(error)
    if not _CAUGHT.match(text):
        return None
    name = (
        error_class.__qualname__
        if error_class.__module__ == "builtins"
        else f"{error_class.__module__}.{error_class.__qualname__}"
    )
    return text.rpartition(f"\n{name}: ")[2].strip()
