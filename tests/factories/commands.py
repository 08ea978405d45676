"""Commands of `medmvl` within the tests' own process."""

from __future__ import annotations

from medmvl.cli.main import main


def run(*arguments: object) -> int:
    """The exit code of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
