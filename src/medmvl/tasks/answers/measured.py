"""Measurements in one form, and choices that are numbers or measurements, compared by value: `3 cm` names `30 mm`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from medmvl.tasks.metrics.numerals import CARDINALS, in_digits, may_hold_numbers
from medmvl.tasks.metrics.quantities import SIGNS, Quantity, read_quantities
from medmvl.tasks.metrics.text import words
from medmvl.tasks.metrics.units import UNIT

_VALUE = rf"-?\d+(?:\.\d+)?(?:\s*{UNIT})?"
_COMPARED = tuple(
    (re.compile(pattern + r"\s*(?=-?\.?\d)", re.IGNORECASE), sign + " ")
    for pattern, sign in (
        (
            r"(?:\b(?:at least|(?:not|no) (?:less|smaller|fewer|lower) than|(?:greater|more|larger) than or equal to)"
            r"|大于(?:或)?等于|至少|不小于|不少于|不低于)",
            "≥",
        ),
        (
            r"(?:\b(?:at most|up to|(?:not|no) (?:more|larger|greater|bigger|higher) than|not exceeding"
            r"|(?:less|smaller) than or equal to)|小于(?:或)?等于|至多|不超过|不大于|不多于|不高于)",
            "≤",
        ),
        (r"(?:\b(?:less|smaller|fewer|lower) than|\b(?:below|under)|小于|少于|低于|不足|不到)", "<"),
        (
            r"(?:\b(?:more|larger|greater|higher|bigger) than|\b(?:above|over|exceed(?:s|ed|ing)?)|大于|多于|高于|超过)",
            ">",
        ),
    )
)
"""Comparisons in words, the longer ones first."""
_COMPARED_AFTER = tuple(
    (re.compile(rf"({_VALUE})\s*{after}", re.IGNORECASE), sign)
    for after, sign in (
        (
            r"(?:(?:or|and) (?:more|larger|greater|above|over|longer|higher|bigger|older)\b|(?:及|或)?(?:以上|之上))",
            r"≥ \1",
        ),
        (
            r"(?:(?:or|and) (?:less|smaller|fewer|below|under|shorter|lower|younger)\b|(?:及|或)?(?:以下|以内|之内))",
            r"≤ \1",
        ),
    )
)
_BETWEEN = re.compile(rf"\bbetween\s+({_VALUE})\s+and\s+(?=\d)", re.IGNORECASE)
_RANGE_UNIT = re.compile(rf"(\d)\s*({UNIT})\s+to\s+(\d+(?:\.\d+)?)\s*\2(?!\w)")
_COMPOUND: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"(?<![\w.])(\d+)\s*(?:cm|厘米)\s*([1-9])\s*(?:mm|毫米)(?!\s*x)", re.IGNORECASE),
        lambda match: f"{10 * int(match[1]) + int(match[2])} mm",
    ),
    (
        re.compile(
            r"(?<![\w.])(\d+)\s*(?:years?|岁|歲)\s*(?:and\s+)?(\d+)\s*(?:months?|个月|個月)", re.IGNORECASE
        ),
        lambda match: f"{12 * int(match[1]) + int(match[2])} months",
    ),
)
"""Values in two units: `1 cm 5 mm`, `1 year and 6 months`."""
_MINUS = re.compile(r"\bnegative\s+(?=\d+(?:\.\d+)?\s*(?:HU\b|hounsfield|°|degrees|亨氏))", re.IGNORECASE)
_VERTEBRAE = re.compile(
    rf"\b([CTLS])(\d{{1,2}})\s*(?:-|/|to)\s*(?:([CTLS])(?=\d)\s*)?(\d{{1,2}})\b(?!\s*{UNIT})", re.IGNORECASE
)
_ORDERED = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_ORDINALS = {word: number for number, word in enumerate(_ORDERED.split(), 1)}
_ORDINAL = rf"(?:(?P<word>{'|'.join(_ORDINALS)})|(?P<number>1?\d)(?:st|nd|rd|th))"
_RIB = re.compile(rf"\b{_ORDINAL}(?=\s(?:(?:left|right)\s)?ribs?\b)", re.IGNORECASE)
_VERTEBRA = re.compile(
    rf"\b{_ORDINAL}\s(?P<spine>[ctls])(?:ervical|horacic|umbar|acral)\s(?:vertebral\sbody|vertebra)\b",
    re.IGNORECASE,
)
_ONLY_ROMAN = re.compile(r"(\W*)(I{2,3}|IV|VI{0,3}|IX)(?=[abc]?\W*$)", re.IGNORECASE)
_ROMANS = {
    roman: str(at) for at, roman in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"), 1)
}
_GRADES = _ROMANS | {word: f"{CARDINALS[word]:g}" for word in ("one", "two", "three", "four", "five", "six")}
_GRADE = re.compile(
    r"\b(grade|stage|type|class|category|level)\s+"
    r"(?:((?:I{1,3}|IV|VI{0,3}|IX)(?=[abc]?(?![A-Za-z])))|(one|two|three|four|five|six)\b)",
    re.IGNORECASE,
)
"""A grade by a Roman numeral or a word."""
_SHARES = tuple(
    (re.compile(pattern, re.IGNORECASE), share)
    for pattern, share in (
        (r"\b(?:three|3)[ -](?:quarters|fourths)\b|\b3/4|四分之三", 75.0),
        (r"\b(?:two|2)[ -]thirds\b|\b2/3|三分之二", 200 / 3),
        (r"\bhalf\b|\b1/2|一半|二分之一", 50.0),
        (r"\bthird\b|\b1/3|三分之一", 100 / 3),
        (r"\bquarter\b|\bfourth\b|\b1/4|四分之一", 25.0),
        (r"\bfifth\b|\b1/5|五分之一", 20.0),
    )
)
"""Shares in words, in percent."""
_COUNTS = tuple(
    (re.compile(pattern, re.IGNORECASE), count)
    for pattern, count in (
        (
            r"^\W*(?:no|none|nil|without|absent)\b(?! (?:idea|answer|information|way|of (?:the|these)))"
            r"|没有|未见|无(?!法|关)",
            0.0,
        ),
        (r"\b(?:single|solitary|once)\b|单个|单发|孤立", 1.0),
        (r"\b(?:pair|couple|twice|both)\b", 2.0),
    )
)
"""Counts in words."""


def measured_in_one_form(text: str) -> str:
    """A text with numbers in digits, comparisons as signs, ranges and values in two units in one form.

    `less than five mm` becomes `< 5 mm`, `between 3 and 5` becomes `3 to 5`, `1 cm 5 mm` becomes `15 mm`, `grade II` becomes
    `grade 2`, `L4/5` becomes `L4-L5`.

    Args:
        text: as `text.spell` or `text.spell_with_case` gives it.
    """
    if not may_hold_numbers(text):
        return text
    text = _MINUS.sub("-", in_digits(text))
    for pattern, sign in (*_COMPARED, *_COMPARED_AFTER):
        text = pattern.sub(sign, text)
    text = _RANGE_UNIT.sub(r"\1 to \3 \2", _BETWEEN.sub(r"\1 to ", text))
    for pattern, joined in _COMPOUND:
        text = pattern.sub(joined, text)
    text = _VERTEBRAE.sub(lambda match: f"{match[1]}{match[2]}-{match[3] or match[1]}{match[4]}", text)
    text = _RIB.sub(lambda match: f"{_ordinal(match)}th", text)
    text = _VERTEBRA.sub(lambda match: f"{match['spine']}{_ordinal(match)}", text)
    text = _GRADE.sub(lambda match: f"{match[1]} {_GRADES[(match[2] or match[3]).lower()]}", text)
    alone = _ONLY_ROMAN.match(text)
    return f"{alone[1]}{_ROMANS[alone[2].lower()]}{text[alone.end() :]}" if alone else text


def _ordinal(match: re.Match[str]) -> int:
    return _ORDINALS[match["word"].lower()] if match["word"] else int(match["number"])


def same_value(text: str, options: Sequence[str]) -> int | None:
    """Index of the only option whose value, range or bound is met by the only quantity in a text, or None.

    Units are converted. An equal value comes first, then the range or bound that holds the value: `4 mm` is in `3-5 mm`.
    A number without a unit has that of the options.

    Args:
        text: as `measured_in_one_form` gives it.
        options: the same. Words that all of them have do not count, as in `grade 2`, `grade 3`.
    """
    common = frozenset.intersection(*(frozenset(words(option)) for option in options))
    wanted = [quantity for option in options if (quantity := _only(option, common)) is not None]
    if len(wanted) < len(options):
        return None
    said = _in_unit_of(wanted, _in_words(text, wanted) or _only(text))
    if said is None:
        return None
    for meets in (_equal, Quantity.holds):
        places = [at for at, quantity in enumerate(wanted) if meets(quantity, said)]
        if places:
            return places[0] if len(places) == 1 else None
    return None


def _only(text: str, common: frozenset[str] | None = None) -> Quantity | None:
    """The quantity of a text that holds one; with `common`: and else only these words."""
    tokens = words(text)
    found, taken = read_quantities(tokens)
    if len({str(one) for one in found}) != 1:
        return None
    rest = {token for at, token in enumerate(tokens) if at not in taken} - {*SIGNS} - (common or set())
    if common is None or not rest or (len(found) == 2 and not found[0].dimension):
        return found[0]
    spelled_out = len(rest) == 1 and not found[0].dimension and read_quantities([*rest])[0] == (found[0],)
    return found[0] if spelled_out else None


def _in_words(text: str, wanted: Sequence[Quantity]) -> Quantity | None:
    """A count or a share in words, where the options are counts (`a pair`, `none`) or percentages (`half`)."""
    if re.search(r"\d", text):
        return None
    if all(one.dimension == "%" for one in wanted):
        return share_in_words(text)
    if all(not one.dimension and one.low.is_integer() for one in wanted):
        found = {count for pattern, count in _COUNTS if pattern.search(text)}
        return Quantity(min(found), min(found), "") if len(found) == 1 else None
    return None


def share_in_words(text: str) -> Quantity | None:
    """A share in words as percent: `half` as 50 %."""
    found = next((share for pattern, share in _SHARES if pattern.search(text)), None)
    return None if found is None else Quantity(found, found, "%")


def _in_unit_of(options: Sequence[Quantity], said: Quantity | None) -> Quantity | None:
    """A quantity in the unit of the options, where one of both has no unit."""
    units = {(one.dimension, one.factor) for one in options}
    if said is None or len(units) > 1:
        return said
    (unit,) = units
    if said.dimension and not unit[0]:
        return said.written
    if not said.dimension and unit[0] == "%" and 0 < said.low <= said.high < 1:
        return Quantity(100 * said.low, 100 * said.high, "%", said.sign)
    return said.in_unit(*unit)


def _equal(one: Quantity, other: Quantity) -> bool:
    share = 0.015 if one.dimension == "%" and not (one.low.is_integer() and other.low.is_integer()) else 1e-9
    ends = ((one.low, other.low), (one.high, other.high))
    same = all(abs(a - b) <= share * max(1.0, abs(a), abs(b)) for a, b in ends)
    return same and (one.dimension, one.side) == (other.dimension, other.side)
