"""Words of radiology as claims: a phrase gives a facet and a value, and a value may imply others (a segment its lobe)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from medmvl.tasks.judge.lexicon.anatomy import ANATOMY, COMPOSED
from medmvl.tasks.judge.lexicon.directions import DIRECTIONS
from medmvl.tasks.judge.lexicon.findings import FINDINGS
from medmvl.tasks.judge.lexicon.head_and_abdomen import HEAD_AND_ABDOMEN
from medmvl.tasks.judge.lexicon.images import IMAGES
from medmvl.tasks.judge.lexicon.qualities import QUALITIES, UNCOUNTED
from medmvl.tasks.metrics.text import words

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All phrases, and what each claim implies."""

    phrases: Mapping[Phrase, tuple[str, ...]]
    """Claims by the words of a phrase, such as `("right", "hilum")` to `("side:right", "zone:hilar")`."""
    openers: Mapping[str, int]
    """Length of the longest phrase by its first word."""
    implied: Mapping[str, frozenset[str]]
    """All claims that a claim implies, itself included."""

    def match(self, tokens: Sequence[str], start: int) -> tuple[int, tuple[str, ...]]:
        """The longest phrase at a place: how many words it has (0: none) and its claims."""
        longest = self.openers.get(tokens[start], 0)
        for size in range(min(longest, len(tokens) - start), 0, -1):
            found = self.phrases.get(tuple(tokens[start : start + size]))
            if found is not None:
                return size, found
        return 0, ()


@cache
def lexicon() -> Lexicon:
    """The lexicon, read once."""
    phrases: dict[Phrase, tuple[str, ...]] = {}
    parents: dict[str, set[str]] = {}
    for claims, implied, spoken in _entries():
        parents.setdefault(claims[0], set()).update(implied if _is_own(claims[0], spoken) else ())
        for phrase in spoken:
            phrases.setdefault(
                tuple(words(phrase)), claims if _is_own(claims[0], spoken) else (claims[0], *implied)
            )
    openers: dict[str, int] = {}
    for known in phrases:
        openers[known[0]] = max(openers.get(known[0], 0), len(known))
    return Lexicon(phrases, openers, {claim: frozenset(_closure(claim, parents)) for claim in parents})


def _is_own(claim: str, spoken: Sequence[str]) -> bool:
    """Whether a line's implications belong to its claim, and not only to its phrases.

    Sides, levels and depths imply nothing: the phrase `rul` means right, upper and lobe, but right does not imply upper.
    """
    return claim.partition(":")[0] not in ("side", "level", "depth")


def _entries() -> Iterator[tuple[tuple[str, ...], tuple[str, ...], list[str]]]:
    """Claim, what it implies and its phrases, one claim per line; an indented line continues the one before it."""
    for line in (
        "\n".join((DIRECTIONS, ANATOMY, FINDINGS, HEAD_AND_ABDOMEN, IMAGES, QUALITIES))
        .replace("\n    ", " ")
        .splitlines()
    ):
        if line.strip():
            head, _, spoken = line.partition(": ")
            claim, _, implied = head.partition(" < ")
            implications = tuple(part.strip() for part in implied.split(",") if part.strip())
            yield (claim.strip(),), implications, [phrase.strip() for phrase in spoken.split(",")]


def _closure(claim: str, parents: Mapping[str, set[str]]) -> set[str]:
    found, open_ = set(), [claim]
    while open_:
        one = open_.pop()
        if one not in found:
            found.add(one)
            open_.extend(parents.get(one, ()))
    return found


__all__ = ["COMPOSED", "UNCOUNTED", "Lexicon", "lexicon"]
