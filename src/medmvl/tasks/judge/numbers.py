"""How the numbers of an answer agree with those of a reference: values with units, counts, shares, scores and grades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from medmvl.tasks.answers.measured import share_in_words
from medmvl.tasks.judge.claims import Claims
from medmvl.tasks.judge.question import Question
from medmvl.tasks.metrics.quantities import Quantity

NOT_SAID = 0.3
"""Factor where the answer lacks what was asked for."""
AGREES_PARTLY = 0.5
"""Factor where only a unit or a letter is missing."""
_AGAINST = 0.05
_COUNTS = {"one": 1.0, "two": 2.0}


def compare_numbers(question: Question, reference: Claims, answer: Claims) -> tuple[float, str] | None:
    """Factor of the numbers and its reason; None where the reference has none that count.

    A bare number counts where the question asks how many, or where the reference claims nothing else: `BI-RADS 4`, `SUV 5.2`.
    """
    wanted, given = _compared(question, reference, answer)
    if not wanted:
        return None
    measured = any(one.dimension for one in wanted)
    if not given:
        return (NOT_SAID, "number: not said") if "number" in question.asked or not measured else None
    if measured:
        same = _values_agree(wanted, given)
    else:
        same = _in_order(wanted, given[:1] if question.counts and len(wanted) == 1 else given)
    if not same:
        return _AGAINST, f"number: {_listed(given)} against {_listed(wanted)}"
    if not given[0].dimension and wanted[0].dimension not in ("", "%"):
        return AGREES_PARTLY, "number: no unit"
    return _labels_agree(reference, answer)


def _compared(question: Question, reference: Claims, answer: Claims) -> tuple[list[Quantity], list[Quantity]]:
    """The quantities of both that are compared: bare ones where they count, shares in words where the other has percent."""
    bare = question.counts or not _claimed(question, reference)
    wanted = [one for one in _said(question, reference) if one.dimension or bare]
    given = _said(question, answer)
    if [one.dimension for one in wanted] == ["%"]:
        exact = [one for one in given if one.dimension or not one.low.is_integer()]
        return wanted, exact or _shares(answer) or given
    if any(one.dimension for one in wanted):
        return wanted, [one for one in given if one.dimension] or _without_unit(wanted, given)
    if "number" in question.asked and [one.dimension for one in given] == ["%"]:
        return _shares(reference) or wanted, given
    return wanted, given


def _claimed(question: Question, claims: Claims) -> frozenset[str]:
    """What a text claims next to its numbers."""
    return frozenset(claim for claim in claims.said - question.claims.said if not claim.startswith("count:"))


def _said(question: Question, claims: Claims) -> list[Quantity]:
    """The quantities of a text that the question does not say itself, bare ones in the question's unit."""
    known = set(question.claims.quantities)
    found = [
        one.in_unit(*question.unit) if question.unit else one for one in claims.quantities if one not in known
    ]
    if not found and question.counts:
        return [Quantity(count, count, "") for count in _counted(claims)]
    return found


def _counted(claims: Claims) -> Iterator[float]:
    """A count in other words: `a pair`, `solitary`, `no nodules`."""
    if claims.polarity is False and not claims.said:
        yield 0.0
    yield from (_COUNTS[value] for value in claims.values("count") if value in _COUNTS)


def _shares(claims: Claims) -> list[Quantity]:
    share = share_in_words(claims.text)
    return [] if share is None else [share]


def _without_unit(wanted: Sequence[Quantity], given: Sequence[Quantity]) -> list[Quantity]:
    """The only number of an answer without a unit, where the reference has one value with a unit."""
    return [one for one in given if len(given) == len(wanted) == 1 and one == wanted[0].written]


def _values_agree(wanted: Sequence[Quantity], given: Sequence[Quantity]) -> bool:
    written = [one.written if not any(other.dimension for other in given) else one for one in wanted]
    if wanted[0].dimension == "%":
        written = list(wanted)
    return len(given) <= len(wanted) + 1 and all(any(one.agrees(other) for other in given) for one in written)


def _in_order(wanted: Sequence[Quantity], given: Sequence[Quantity]) -> bool:
    """Whether bare numbers are the same in the same order; of two or more, one text may name further ones: `3+4=7`."""
    size = min(len(wanted), len(given))
    if len(wanted) != len(given) and size < 2:
        return False
    return all(one.agrees(other) for one, other in zip(wanted, given, strict=False))


def _labels_agree(reference: Claims, answer: Claims) -> tuple[float, str]:
    """Factor of letters next to numbers: `4A` is not `4B`."""
    wanted, given = _labels(reference), _labels(answer)
    if wanted and given and wanted != given:
        return _AGAINST, f"number: {', '.join(sorted(given))} against {', '.join(sorted(wanted))}"
    return (1.0, "number: agrees") if wanted == given or not wanted else (AGREES_PARTLY, "number: less exact")


def _labels(claims: Claims) -> frozenset[str]:
    return frozenset(
        one + other for one, other in pairwise(claims.words) if one.isdigit() and other in ("a", "b", "c")
    )


def _listed(quantities: Sequence[object]) -> str:
    return ", ".join(map(str, quantities))
