"""The verbs and their options are what `verbs.txt` lists: a change is made on purpose, and shows in a review."""

from __future__ import annotations

from pathlib import Path

from medmvl.cli.main import VERBS, LazyVerb

LISTING = Path(__file__).with_name("verbs.txt")


def lines_of(name: str, command: object) -> list[str]:
    """A line per verb: arguments in their order, then options by name."""
    commands = getattr(command, "commands", None)
    if commands is not None:
        return [line for part in sorted(commands) for line in lines_of(f"{name} {part}", commands[part])]
    parameters = command.params  # type: ignore[attr-defined]
    arguments = [p.name.upper() for p in parameters if p.param_type_name == "argument"]
    options = sorted(max(p.opts, key=len) for p in parameters if p.param_type_name == "option")
    return [" ".join([name, *arguments, *(option for option in options if option != "--help")])]


def listing() -> str:
    lines = [line for name, verb in VERBS.items() for line in lines_of(name, LazyVerb(name, verb).load())]
    return "\n".join(lines) + "\n"


def test_verbs_and_options_are_those_of_the_listing() -> None:
    assert listing() == LISTING.read_text(), (
        f"after a change on purpose, write the new listing to {LISTING.name}"
    )


def test_the_model_comes_first_wherever_one_is_taken() -> None:
    for line in listing().splitlines():
        words = line.split()
        arguments = [word for word in words[1:] if word.isupper()]
        if "MODEL" in arguments:
            assert arguments[0] == "MODEL", line
