"""Numbers with their units, comparisons and ranges, in one unit per dimension: lengths in mm, volumes in ml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_UNITS = """
mm 1: mm mms millimeter millimeters millimetre millimetres 毫米
mm 10: cm cms centimeter centimeters centimetre centimetres 厘米 公分
mm 1000: m
mm 0.001: μm 微米
ml 1: ml mls cc milliliter milliliters millilitre millilitres 毫升
ml 1000: l liter liters litre litres 升
hu 1: hu hounsfield
% 1: %
° 1: ° degree degrees 度
mg 1: mg
mg 1000: g
mg 0.001: μg
mg 1000000: kg
"""
SIGNS = {"<": "<", ">": ">", "≤": "<", "≥": ">"}
_MORE = "more than|greater than|larger than|at least|exceeding|over|above|大 于|超 过|至 少"
_LESS = "less than|smaller than|at most|up to|under|below|小 于|不 超 过|至 多|不 到"
_CARDINALS = "zero one two three four five six seven eight nine ten eleven twelve"
CARDINALS = {word: float(number) for number, word in enumerate(_CARDINALS.split())}
TOLERANCE = 0.1
"""Share by which two lengths may differ and still be called the same."""


def _units() -> Iterator[tuple[str, tuple[str, float]]]:
    for line in _UNITS.split("\n")[1:-1]:
        head, _, names = line.partition(": ")
        dimension, factor = head.split()
        for name in names.split():
            yield name, (dimension, float(factor))


UNITS: dict[str, tuple[str, float]] = dict(_units())
"""Unit to its dimension and its factor."""
BOUNDS = sorted(
    [
        (tuple(phrase.split()), sign)
        for words, sign in ((_MORE, ">"), (_LESS, "<"))
        for phrase in words.split("|")
    ],
    key=lambda bound: -len(bound[0]),
)
"""Words of a comparison and its sign, the longer ones first."""


@dataclass(frozen=True)
class Quantity:
    """A number: a value, or a range, or everything below or above a value."""

    low: float
    high: float
    dimension: str
    """`mm`, `ml`, `hu`, ... or an empty text for a bare number."""
    sign: str = ""
    """`<` or `>` where it is a bound."""

    def __str__(self) -> str:
        value = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"{self.sign}{value} {self.dimension}".strip()

    def agrees(self, other: Quantity) -> bool:
        """Whether both say the same: equal bounds, ranges that touch, values within a tenth of each other."""
        if self.dimension != other.dimension:
            return False
        if self.sign and other.sign:
            return self.sign == other.sign and _near(self.low, other.low)
        if self.sign or other.sign:
            bound, value = (self, other) if self.sign else (other, self)
            return value.high < bound.low if bound.sign == "<" else value.low > bound.low
        return _near(self.low, other.low) and _near(self.high, other.high)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other)) and one * other >= 0


def read_quantities(tokens: Sequence[str]) -> tuple[tuple[Quantity, ...], frozenset[int]]:
    """The quantities among the words of a text, and which words they took."""
    found: list[Quantity] = []
    taken: set[int] = set()
    index = 0
    while index < len(tokens):
        value = _value(tokens[index])
        if value is None:
            index += 1
            continue
        start, values, end = index, [value], index + 1
        while (
            end + 1 < len(tokens)
            and tokens[end] in ("to", "x")
            and (following := _value(tokens[end + 1])) is not None
        ):
            values.append(following)
            end += 2
        ranged = "to" in tokens[start:end]
        dimension, factor, used = _unit(tokens, end)
        sign = _sign(tokens, start)
        scaled = sorted(value * factor for value in values)
        groups = [(scaled[0], scaled[-1])] if ranged else [(value, value) for value in scaled]
        found += [Quantity(low, high, dimension, sign) for low, high in groups]
        if dimension or tokens[index] not in CARDINALS:
            taken.update(range(start, end + used))
        index = end + used
    return tuple(found), frozenset(taken)


def _value(token: str) -> float | None:
    if token in CARDINALS:
        return CARDINALS[token]
    try:
        return float(token.rstrip("+-"))
    except ValueError:
        return None


def _unit(tokens: Sequence[str], place: int) -> tuple[str, float, int]:
    """Dimension, factor and number of words of the unit at a place."""
    for size in (2, 1):
        name = "".join(tokens[place : place + size])
        if name in UNITS and len(tokens) >= place + size:
            return *UNITS[name], size
    return "", 1.0, 0


def _sign(tokens: Sequence[str], start: int) -> str:
    if start and tokens[start - 1] in SIGNS:
        return SIGNS[tokens[start - 1]]
    for phrase, sign in BOUNDS:
        if tuple(tokens[max(0, start - len(phrase)) : start]) == phrase:
            return sign
    return ""
