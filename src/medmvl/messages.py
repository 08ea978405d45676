"""Phrases that errors and listings share: the first of many, and the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LISTED = 20
"""Cases that a message shows before it only counts."""

RENAMED = {"kind": "question_type", "kinds": "question_types"}
"""Keys of samples, results and recipes as they were called before to their names now."""


def first_of(
    items: Sequence[str],
    limit: int = LISTED,
    *,
    total: int | None = None,
    separator: str = "\n",
    hint: str = "",
) -> str:
    r"""The first items, and how many more there are.

    Args:
        items: what is listed.
        limit: items shown.
        total: number of items where `items` holds only some of them.
        separator: between two items, such as `"\n  "` or `", "`.
        hint: follows the number, such as `", see bad.csv"`.
    """
    shown = list(items[:limit])
    more = (len(items) if total is None else total) - len(shown)
    if more <= 0:
        return separator.join(shown)
    last = f"{more} more{hint}"
    return (
        f"{separator.join(shown)} and {last}"
        if separator.startswith(",")
        else separator.join([*shown, f"... and {last}"])
    )


def with_article(noun: str) -> str:
    """`an image`, `a volume`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def did_you_mean(word: str, known: Iterable[str], count: int = 1) -> str:
    """`; did you mean 'slake' or 'slake-en'?` for the nearest of the known names, or nothing.

    A key that was renamed means its new name.
    """
    known = list(known)
    if RENAMED.get(word) in known:
        return f"; it is called {RENAMED[word]!r} now."
    near = (
        get_close_matches(word, known, n=count)
        or [name for name in known if word and name.startswith(word)][:count]
    )
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
