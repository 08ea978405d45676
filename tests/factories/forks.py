"""The command line in a fork of the test's own process, so that it costs what the command does and no imports."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path


def fork_medmvl(
    arguments: Sequence[str],
    log: Path,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> int:
    """Run `medmvl ARGUMENTS` in a fork; returns its process id.

    Args:
        arguments: of the command.
        log: gets what it prints.
        before: called in the fork before the command.
        after: called in the fork after the command, if it came to an end.
    """
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        _print_to(log)
        before()
        code = _run(arguments)
        after()
    finally:
        traceback.print_exc() if sys.exc_info()[0] else None
        with suppress(OSError):  # the disk may be full by intent; the fork must end here all the same
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _print_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))


def _run(arguments: Sequence[str]) -> int:
    from medmvl.cli.main import main

    try:
        main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
