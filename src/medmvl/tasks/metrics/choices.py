"""Closed answers: which of the choices a text names, with word boundaries, so that "nodule" is not "no"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medmvl.tasks.metrics.text import words

NEGATIONS = ("不", "没", "无", "未", "非")
"""A Chinese choice right behind one of these is denied, not named: 不是 does not say 是."""

_CAPITAL = re.compile(r"(?<![A-Za-z])(?:[B-HJ-Z]|[AI](?! [a-z]))(?![A-Za-z])")


def find_choice(answer: str, choices: Sequence[str]) -> str | None:
    """The one choice that the answer names, or None where it names none or several.

    Longer choices are looked for first and use up their words, so "left lower lobe" does not also name
    "left", and 没有 does not also name 有. An answer listing several choices is none. A choice that is
    a single letter must stand as a capital; "A" followed by a lower-case word is the English article.
    """
    given = words(answer)
    if len(given) == 1 and len(given[0]) == 1:
        return _only([choice for choice in choices if words(choice) == given])
    capitals = _capital_letters(answer)
    free = [True] * len(given)
    named: list[str] = []
    for choice in sorted(choices, key=lambda choice: -len(words(choice))):
        wanted = words(choice)
        if len(wanted) == 1 and len(wanted[0]) == 1 and wanted[0].isascii() and wanted[0].isalpha():
            found = wanted[0] in capitals
        else:
            found = _take(wanted, given, free)
        if found:
            named.append(choice)
    return _only(named)


def _only(named: list[str]) -> str | None:
    return named[0] if len(named) == 1 else None


def _take(wanted: list[str], given: list[str], free: list[bool]) -> bool:
    """Mark every place where `wanted` stands in the free words of `given`; whether some place affirms it."""
    found = False
    size = len(wanted)
    for start in range(len(given) - size + 1) if size else ():
        span = slice(start, start + size)
        if given[span] == wanted and all(free[span]):
            free[span] = [False] * size
            denied = start > 0 and given[start - 1] in NEGATIONS and not wanted[0].isascii()
            found = found or not denied
    return found


def _capital_letters(answer: str) -> set[str]:
    """Letters that stand alone as capitals, lower-cased; not "A" or "I" before a lower-case word."""
    return {match.group().lower() for match in _CAPITAL.finditer(answer)}
