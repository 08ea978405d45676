"""Numbers with their units, comparisons and ranges, in one unit per dimension: lengths in mm, volumes in ml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from medmvl.tasks.metrics.numerals import CARDINALS
from medmvl.tasks.metrics.text import words
from medmvl.tasks.metrics.units import SETTINGS, UNITS

SIGNS = ("<", "≤", ">", "≥")
TOLERANCE = 0.1
"""Share by which two measured values may differ and still be called the same."""
_LONGEST = 4
"""Words of the longest name of a unit."""


@dataclass(frozen=True)
class Quantity:
    """A number: a value, or a range, or everything below or above a value."""

    low: float
    high: float
    dimension: str
    """`mm`, `ml`, `hu`, ... or an empty text for a bare number."""
    sign: str = ""
    """`<`, `≤`, `>` or `≥` where it is a bound."""
    factor: float = field(default=1.0, compare=False)
    """Factor of the unit it was written in."""

    def __str__(self) -> str:
        value = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"{self.sign}{value} {self.dimension}".strip()

    def agrees(self, other: Quantity) -> bool:
        """Whether both say the same: bounds in one direction and values within a tenth, a value within a bound.

        Whole numbers without a unit, ages and settings of a device (`SETTINGS`) have to be equal.
        """
        if self.dimension != other.dimension:
            return _is_share(self, other) or _is_share(other, self)
        if self.sign and other.sign:
            return self.side == other.side and self._near(self.low, other.low)
        if self.sign or other.sign:
            bound, value = (self, other) if self.sign else (other, self)
            return bound.holds(value)
        return self._near(self.low, other.low) and self._near(self.high, other.high)

    def holds(self, other: Quantity) -> bool:
        """Whether all values of another quantity, which is no bound, are within this bound or range."""
        if self.dimension != other.dimension or other.sign:
            return False
        if not self.sign:
            return self.low <= other.low and other.high <= self.high
        at_end = self.sign in ("≤", "≥")
        if self.side == "<":
            return other.high < self.low or (at_end and other.high == self.low)
        return other.low > self.high or (at_end and other.low == self.high)

    def in_unit(self, dimension: str, factor: float) -> Quantity:
        """A bare number in a unit; one that has a unit stays."""
        if self.dimension:
            return self
        return Quantity(self.low * factor, self.high * factor, dimension, self.sign, factor)

    @property
    def written(self) -> Quantity:
        """The number as it was written, without its unit."""
        low, high = (float(f"{end / self.factor:.9g}") for end in (self.low, self.high))
        return replace(self, low=low, high=high, dimension="", factor=1.0)

    @property
    def side(self) -> str:
        """`<` or `>`, whether the bound itself is part of it or not; empty for a value."""
        return self.sign.replace("≤", "<").replace("≥", ">")

    def _near(self, one: float, other: float) -> bool:
        counted = not self.dimension and one.is_integer() and other.is_integer()
        share = 0.0 if counted else 1e-3 if self.dimension in SETTINGS else TOLERANCE
        return abs(one - other) <= share * max(abs(one), abs(other)) and one * other >= 0


def _is_share(one: Quantity, other: Quantity) -> bool:
    """Whether one is a share of one (0.55) and the other the same in percent (55 %)."""
    if one.dimension or other.dimension != "%" or not 0 < one.low <= one.high < 1:
        return False
    return Quantity(100 * one.low, 100 * one.high, "%", one.sign).agrees(other)


@cache
def _named() -> Mapping[tuple[str, ...], tuple[str, float]]:
    """Units by the words of their names."""
    return {tuple(words(f"1 {name}")[1:]): unit for name, unit in UNITS.items()}


def read_quantities(tokens: Sequence[str]) -> tuple[tuple[Quantity, ...], frozenset[int]]:
    """The quantities among the words of a text (`measured_in_one_form`), and which words they took."""
    found: list[Quantity] = []
    taken: set[int] = set()
    index = 0
    while index < len(tokens):
        if _value(tokens[index]) is None:
            index += 1
            continue
        quantities, end = _read(tokens, index)
        found += quantities
        if quantities[0].dimension or tokens[index] not in CARDINALS:
            taken.update(range(index, end))
        index = end
    return tuple(found), frozenset(taken)


def _read(tokens: Sequence[str], start: int) -> tuple[list[Quantity], int]:
    """The number, range (`3 to 5 mm`) or size (`3 x 5 mm`) at a place, and where it ends."""
    values: list[float] = []
    units: list[tuple[str, float] | None] = []
    index, ranged = start, False
    while True:
        values.append(_value(tokens[index]) or 0.0)
        unit, used = _unit(tokens, index + 1)
        units.append(unit)
        index += 1 + used
        if index + 1 >= len(tokens) or tokens[index] not in ("to", "x") or _value(tokens[index + 1]) is None:
            break
        ranged = ranged or tokens[index] == "to"
        index += 1
    sign = tokens[start - 1] if start and tokens[start - 1] in SIGNS else ""
    ends = sorted(
        (value * factor, dimension, factor)
        for value, (dimension, factor) in zip(values, _filled(units), strict=True)
    )
    if ranged and len({dimension for _, dimension, _ in ends}) == 1:
        return [Quantity(ends[0][0], ends[-1][0], ends[0][1], sign, ends[0][2])], index
    if len({dimension for _, dimension, _ in ends}) == 1 and not ends[0][1]:
        return [Quantity(value, value, "", sign) for value in values], index
    return [Quantity(value, value, dimension, sign, factor) for value, dimension, factor in ends], index


def _filled(units: Sequence[tuple[str, float] | None]) -> list[tuple[str, float]]:
    """Every number's unit: its own, the next one after it, or the last one before it."""
    filled: list[tuple[str, float]] = []
    for place in range(len(units)):
        known = [unit for unit in (*units[place:], *reversed(units[:place])) if unit is not None]
        filled.append(known[0] if known else ("", 1.0))
    return filled


def _value(token: str) -> float | None:
    if token in CARDINALS:
        return CARDINALS[token]
    try:
        return float(token.rstrip("+-"))
    except ValueError:
        return None


def _unit(tokens: Sequence[str], place: int) -> tuple[tuple[str, float] | None, int]:
    """The unit at a place, if any, and its number of words; the longest name counts."""
    for size in range(min(_LONGEST, len(tokens) - place), 0, -1):
        unit = _named().get(tuple(tokens[place : place + size]))
        if unit is not None:
            return unit, size
    return None, 0
