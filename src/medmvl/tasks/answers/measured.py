"""Choices that are numbers or measurements, compared by value: `3 cm` names `30 mm`, `three nodules` names `3`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medmvl.tasks.metrics.quantities import Quantity, read_quantities
from medmvl.tasks.metrics.text import words

_CHINESE_DIGITS = dict(
    zip("零〇一二两兩三四五六七八九十", (0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10), strict=True)
)
_COUNTED = re.compile(
    rf"([{''.join(_CHINESE_DIGITS)}])(?=\s*(?:个|個|枚|处|處|颗|顆|块|塊|条|條|只|隻|根|张|張|层|層|级|級|期|型|类|類"
    r"|毫米|厘米|公分|度|$))"
)
"""A Chinese digit that counts something, or is the whole text; within other words it counts nothing."""


def counted_in_digits(text: str) -> str:
    """A text with Chinese digits that count something as digits: `三个` as `3个`."""
    return _COUNTED.sub(lambda match: str(_CHINESE_DIGITS[match[1]]), text)


def same_value(text: str, options: Sequence[str]) -> int | None:
    """Index of the only option whose value is that of the only quantity in a text, units converted, or None.

    Args:
        text: with comparisons as signs.
        options: the same.
    """
    wanted = [_only(option, whole=True) for option in options]
    if any(quantity is None for quantity in wanted):
        return None
    said = _only(text, whole=False)
    places = [
        at for at, quantity in enumerate(wanted) if said is not None and quantity and _equal(said, quantity)
    ]
    return places[0] if len(places) == 1 else None


def _only(text: str, *, whole: bool) -> Quantity | None:
    """The quantity of a text that holds one; `whole`: and nothing else."""
    tokens = words(counted_in_digits(text))
    found, taken = read_quantities(tokens)
    rest = [token for at, token in enumerate(tokens) if at not in taken and token not in ("<", ">", "≤", "≥")]
    if len({str(one) for one in found}) != 1 or (whole and rest and not _is_count(found[0], rest)):
        return None
    return found[0]


def _is_count(quantity: Quantity, rest: Sequence[str]) -> bool:
    """Whether the words next to a number are the number itself, spelled out."""
    return len(rest) == 1 and not quantity.dimension and read_quantities(rest)[0] == (quantity,)


def _equal(one: Quantity, other: Quantity) -> bool:
    ends = ((one.low, other.low), (one.high, other.high))
    same = all(abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b)) for a, b in ends)
    return same and (one.dimension, one.sign) == (other.dimension, other.sign)
