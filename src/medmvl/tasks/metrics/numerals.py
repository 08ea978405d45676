"""Numbers in words as digits, in English and Chinese: `twenty-five mm` as `25 mm`, `一点五厘米` as `1.5厘米`."""

from __future__ import annotations

import re

from medmvl.tasks.metrics.units import UNIT

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TWENTY_AND_ON = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: number for number, word in enumerate(_BELOW_TWENTY.split())} | {
    word: 10 * number for number, word in enumerate(_TWENTY_AND_ON.split(), 2)
}
CARDINALS = {word: float(number) for word, number in _SMALL.items() if number < 13}
"""Numbers that are words in a text; larger ones and those before a unit are written in digits first."""

_ONE = "|".join(word for word, number in _SMALL.items() if 0 < number < 10)
_BELOW_20, _TEN = (names.replace(" ", "|") for names in (_BELOW_TWENTY, _TWENTY_AND_ON))
_BELOW_100 = rf"(?:(?:{_TEN})(?:[\s-](?:{_ONE}))?|(?:{_BELOW_20}))"
_WHOLE = rf"(?:(?:(?:{_BELOW_100}|a)\s(?:hundred|thousand|dozen)\b(?:\s(?:and\s)?(?={_BELOW_100}))?)*(?:\b{_BELOW_100})?)"
_NUMBER = re.compile(
    rf"\b(?P<sign>(?:minus|negative)\s)?(?=(?:{_BELOW_100}|a\s(?:hundred|thousand|dozen))\b)(?P<whole>{_WHOLE})\b"
    rf"(?P<point>(?:\spoint(?:\s(?:zero|{_ONE}))+\b)?)",
    re.IGNORECASE,
)
_HALF_A_DOZEN = re.compile(r"\bhalf (?:a )?dozen\b", re.IGNORECASE)
_PARTS = {"half": 0.5, "quarter": 0.25, "quarters": 0.75}
_AND_A_PART = re.compile(
    r"(?<![\w.])(\d+)\s(?:and\s)?(?:an?\s|one\s)?(half|quarter)\b(?!\s+of\b)", re.IGNORECASE
)
_WITH_A_PART = re.compile(r"\sand\s(?:an?\s|one\s)?(?:half|quarter|0?\.\d)", re.IGNORECASE)
_AND_A_FRACTION = re.compile(r"(?<![\w.])(\d+)\sand\s(0?\.\d+)(?!\d)")
_PART_OF_A_UNIT = re.compile(
    rf"\b(?P<number>(?:an?\s|one\s)?(?:half|quarter)|(?:3|three)[\s-]quarters)[\s-](?:of\s)?(?:an?\s)?(?={UNIT})",
    re.IGNORECASE,
)
_A_UNIT = re.compile(rf"(?<![\w.-])({'|'.join(CARDINALS)})(?=[\s-]{UNIT})", re.IGNORECASE)

_BY_A_NUMBER = re.compile(rf"(?<![\w.-])({'|'.join(CARDINALS)})\s(?:by|x)\s(?=\d)", re.IGNORECASE)
_HAN_DIGITS = dict(zip("零〇一二两兩三四五六七八九", (0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_HAN_TENS = {"十": 10, "百": 100, "千": 1000}
_HAN = rf"[{''.join((*_HAN_DIGITS, *_HAN_TENS))}]+(?:点[{''.join(_HAN_DIGITS)}]+)?"
_HAN_ABOUT = re.compile(
    rf"(?P<tens>十?)(?P<low>[{''.join(_HAN_DIGITS)}])(?P<high>[{''.join(_HAN_DIGITS)}])(?P<times>十?)"
)
"""Two digits in a row, which mean about: 七八 is seven or eight, 十七八 seventeen or eighteen, 二三十 twenty or thirty."""
_HAN_SHARE = re.compile(rf"百分之\s*({_HAN}|\d+(?:\.\d+)?)")
_COUNTED = re.compile(
    rf"(?<![第点{''.join((*_HAN_DIGITS, *_HAN_TENS))}])({_HAN})"
    rf"(?=\s*(?:[个個枚处處颗顆块塊条條只隻根张張层層级級期型类類]|{UNIT}|$))",
    re.IGNORECASE,
)
"""A Chinese number that counts something, or is the whole text; within other words it counts nothing."""


_ANY = re.compile(
    rf"\d|[{''.join((*_HAN_DIGITS, *_HAN_TENS))}半]|\b(?:{'|'.join(_SMALL)}|hundred|thousand|dozen|half|quarter|[ivx]+[abc]?)\b"
    r"|(?:th|first|second|third)\b",
    re.IGNORECASE,
)


def may_hold_numbers(text: str) -> bool:
    """Whether a digit, a word of a number or a Roman numeral is in a text."""
    return _ANY.search(text) is not None


def in_digits(text: str) -> str:
    """A text with its numbers in digits, where they count or measure something.

    Numbers up to twelve stay words unless a unit comes next: `one` has other meanings, and `CARDINALS` has their values.

    Args:
        text: as `text.spell` or `text.spell_with_case` gives it.
    """
    text = _HAN_SHARE.sub(lambda match: f"{_han(match[1])}%", text)
    text = _COUNTED.sub(lambda match: _han(match[1]), text)
    text = _NUMBER.sub(_english, _HALF_A_DOZEN.sub("6", text))
    text = _A_UNIT.sub(lambda match: f"{CARDINALS[match[1].lower()]:g}", text)
    text = _BY_A_NUMBER.sub(lambda match: f"{CARDINALS[match[1].lower()]:g} x ", text)
    text = _AND_A_FRACTION.sub(lambda match: f"{int(match[1]) + float(match[2]):g}", text)
    text = _AND_A_PART.sub(lambda match: f"{int(match[1]) + _PARTS[match[2].lower()]:g}", text)
    return _PART_OF_A_UNIT.sub(_part, text)


def _english(match: re.Match[str]) -> str:
    """A number in digits; one that stays a word is given back."""
    total, current = 0, 0
    for word in re.split(r"[\s-]+", match["whole"].strip().lower()):
        if word in ("hundred", "dozen"):
            current = max(current, 1) * (100 if word == "hundred" else 12)
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        else:
            current += _SMALL.get(word, 0)
    digits = re.sub(
        r"\w+\s?",
        lambda word: str(_SMALL[word.group().strip()]),
        match["point"].lower().replace(" point ", ""),
    )
    value = f"{total + current}.{digits}" if digits else str(total + current)
    composed = digits or match["sign"] or "dozen" in match["whole"].lower()
    if (
        not composed
        and value.isdigit()
        and int(value) < len(CARDINALS)
        and not _WITH_A_PART.match(match.string, match.end())
    ):
        return match.group()
    return f"-{value}" if match["sign"] else value


def _part(match: re.Match[str]) -> str:
    return f"{_PARTS[re.split(r'[^a-z]', match['number'].lower())[-1]]:g} "


def _han(number: str) -> str:
    """A Chinese number in digits; a row of digits, as in a year, is read one by one."""
    if number[0].isdigit():
        return number
    if about := _HAN_ABOUT.fullmatch(number):
        low, high = (_HAN_DIGITS[about[name]] for name in ("low", "high"))
        if high == low + 1:
            return " to ".join(
                str(10 * bool(about["tens"]) + end * (10 if about["times"] else 1)) for end in (low, high)
            )
    whole, _, decimals = number.partition("点")
    if not any(sign in _HAN_TENS for sign in whole):
        value = "".join(str(_HAN_DIGITS[sign]) for sign in whole)
    else:
        total, current = 0, 0
        for sign in whole:
            if sign in _HAN_TENS:
                total, current = total + (current or 1) * _HAN_TENS[sign], 0
            else:
                current = _HAN_DIGITS[sign]
        value = str(total + current)
    return value + ("." + "".join(str(_HAN_DIGITS[sign]) for sign in decimals) if decimals else "")
