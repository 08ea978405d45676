"""Text made comparable: case, width, punctuation and spaces do not count, signs that carry meaning do.

`-40` is not `40`, `<5` is not `>5`, `ER+` is not `ER-`, `1.5` is not `15`, and micro is not milli. Chinese goes by character.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from medmvl.tasks.metrics.units import UNIT

HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
LATEX = {
    r"\leq": "≤", r"\le": "≤", r"\geq": "≥", r"\ge": "≥", r"\lt": "<", r"\gt": ">", r"\times": "x", r"\mu": "μ",
    r"\pm": "±", r"\%": "%", r"\approx": "≈",
}  # fmt: skip
"""Commands of formulas that carry meaning in a measurement."""

_HAN = re.compile(rf"[{HAN}]")
_LATEX = re.compile(r"\\(?:leq|le|geq|ge|lt|gt|times|mu|pm|approx)(?![a-z])|\\%")
_SUPERSCRIPT = re.compile(r"(?<=\d)[⁰¹²³⁴-⁹⁻]+")
Replacement = str | Callable[[re.Match[str]], str]
Spelling = tuple[tuple[re.Pattern[str], Replacement], ...]


def _spelling(*rules: tuple[str, Replacement]) -> Spelling:
    return tuple((re.compile(pattern), spelling) for pattern, spelling in rules)


_SIGNS = _spelling(
    (r"[‐‑−﹣]|–(?=\s?\.?\d)", "-"),
    (r"\$", " "),
    (r"\+\s?/\s?-", "±"),
    (r"[-=]+>", " "),  # an arrow compares nothing
    (r"<\s?=|=\s?<|[⩽≦]", "≤"),
    (r">\s?=|=\s?>|[⩾≧]", "≥"),
    (r"!=", "≠"),
)
_BETWEEN_WORDS = re.compile(
    r"(</?[A-Za-z][^<>]*>)|(?<=\w)(?!\s*</?[A-Za-z][^<>]*>)\s*([<>≤≥≠])\s*(?=[^\W\d_])"
)
"""A comparison of two words (`R>L`), distinguished from tags."""
_OF_A_UNIT = rf"(?=(?:\s*(?:[x~±至到-]|to)\s*\d+(?:[.,/]\d{{1,2}})?)*\s*{UNIT})"
"""Before a unit, which may come after the other numbers of a size or a range."""


def _decimal(match: re.Match[str]) -> str:
    """A fraction as a decimal number; one that is no part of a whole stays."""
    whole, part, parts = int(match[1] or 0), int(match[2]), int(match[3])
    return f"{whole + part / parts:.4g}" if part < parts else match.group()


_NUMBERS = _spelling(
    (r"(?<=\d)\s*(?:[x×*]|by)\s*(?=\d)", " x "),
    (r"(?<=\d)·(?=\d{1,2}(?![\d]|\s*\^))", "."),  # the decimal point of British journals
    (r"(?<![\d.,])(\d{1,3}),(\d{3})(?![\d,])", r"\1\2"),  # thousands
    (rf"(?<![\d,])(\d+),(\d{{1,2}}){_OF_A_UNIT}", r"\1.\2"),  # decimal comma
    (rf"(?<![\d./])(?:(\d+)\s+)?([1-7])/([2-58]){_OF_A_UNIT}", _decimal),  # 1 1/2 cm
    (r"(?<=\d)\s*(?:-|~|至|到)\s*(?=-?\.?\d)", " to "),  # a range, no sign
    (r"(?<=\d)\s?(mm|cm|HU|mL|ml|cc)\s*(?:-|~)\s*(?=\.?\d)", r" \1 to "),
    (r"(?:\b[Mm]inus\s+|负|負)(?=\.?\d)", "-"),
    (r"(?<=\d)\s*(?:mcg|ug)\b", " μg"),
    (r"(?<=\d)\s*um\b", " μm"),
    (r"(?<=\d)\s*per\s?cent\b", "%"),
)
"""Needed only where the text has a digit."""
_AFTER_WHOLE = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
"""Between a number and the character of a fraction, which would become one number: `1½`."""
_RESULT = re.compile(
    rf"(?<![{HAN}])(?<=\w)\s*\(\s*([+-]+)\s*\)"  # ER (+): part of the name
    rf"|\s*\(\s*([+-]+)\s*\)|(?<=[{HAN}])\s*([+]+|-)(?=\s*(?:[,;、。.)/]|$))"  # (+), 蛋白++: a result of its own
    r"|(?<=[a-z])\s(\++)(?=\s*(?:[,;/.)]|$))|^\s*(\++)\s*$"
)
_RECEPTORS = _spelling(
    (r"(?:(?<=[A-Z])|(?<=[A-Z]\d))\s([+-]+)(?=\s*(?:[,;/.)]|$))", r"\1"),  # ER +, PR -
    (r"(?<=[A-Z0-9])-(?![\w>])", "−"),  # a minus after a receptor, no hanging hyphen
)
"""Needed only where the text has a plus or a minus."""
_PLAIN = re.compile(r"[a-zA-Z\s.,;:?!'()/]*")
_DIGIT, _PLUS_MINUS = re.compile(r"\d"), re.compile(r"[+-]")
_LATIN = rf"(?![{HAN}])[^\W\d_]"
_WORD = re.compile(
    rf"[{HAN}]"  # a Chinese character
    r"|(?:(?<![\w)\]])-|(?:(?<=^)|(?<=[(:=<>≤≥]))\s?-\s)(?:\d+(?:\.\d+)?|\.\d+)"  # a number with its sign
    rf"|(?<!\w)(?:{_LATIN})+\d+(?:\++(?!\w)|−)"  # a name that ends in a number, with its plus or minus: HER2+
    r"|(?:\d+(?:\.\d+)?|(?<![\w.])\.\d+)(?:\++(?!\w)|−)?"  # a number, perhaps a result: 3+
    rf"|(?:{_LATIN})+(?:'(?:{_LATIN})+)?(?:\++(?!\w)|−|-(?![\w>])(?!\s*(?:and|or|to)\b))?"  # a word, perhaps a receptor
    r"|⁺+|(?<!\w)−+(?!\w)|[↑↓]|(?<=\w )[<>≤≥≠](?= )"  # results, trends, comparisons of words
    r"|[<>≤≥±≠](?=\s*-?\.?\d)|(?<=\d)\s*[%‰°]|(?<=[A-Za-z])%"  # comparisons before numbers, units after them: 5 %, 14 g%
)


@dataclass(frozen=True)
class Word:
    """One word of a text and where it is in the spelled text."""

    text: str
    start: int
    end: int


def has_chinese(text: str) -> bool:
    """Whether a Chinese character is in the text."""
    return _HAN.search(text) is not None


def normalise(text: str) -> str:
    """Text in one spelling: full-width as half-width, lower case, words joined by one space, no punctuation.

    A number keeps its sign, its decimal point and the comparison before it (`"-1.5"`, `"< 5 mm"`); a word keeps a
    plus or minus directly after it (`"er+"`); a result (`(+)`, `++`), an arrow up or down and a comparison of words
    (`"r > l"`) are words; Chinese characters are apart, as `words` gives them.
    """
    return " ".join(words(text))


def words(text: str) -> list[str]:
    """The text's words in lower case: Latin words, numbers, signs that carry meaning, single Chinese characters."""
    return [word.text for word in placed_words(spell(text))]


def spell(text: str) -> str:
    """Text in one spelling of signs, widths and case, punctuation kept.

    HTML entities, LaTeX commands, full-width characters and the many minus signs become plain ones; `<=` becomes `≤`,
    `1,500` becomes `1500`, `3-5` becomes `3 to 5`.
    """
    return spell_with_case(text).casefold()


@lru_cache(maxsize=2048)
def spell_with_case(text: str) -> str:
    """What `spell` gives, capitals kept; the latest texts are kept, as judging spells the same choices again and again."""
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text:
        text = _LATEX.sub(lambda match: LATEX[match.group()], text)
    text = _SUPERSCRIPT.sub(lambda match: " ^ " + match.group(), text)
    text = _AFTER_WHOLE.sub(" ", text)
    spelled = unicodedata.normalize("NFKC", text).replace("’", "'").replace("⁄", "/")
    if _PLAIN.fullmatch(spelled):
        return spelled
    has_sign = _PLUS_MINUS.search(_dashes(spelled)) is not None
    rules = (
        _SIGNS,
        _NUMBERS if _DIGIT.search(spelled) else (),
        _RECEPTORS if has_sign else (),
    )
    for number, group in enumerate(rules):
        spelled = _RESULT.sub(_result, spelled) if number == 2 and has_sign else spelled
        for pattern, spelling in group:
            spelled = pattern.sub(spelling, spelled)
    return _BETWEEN_WORDS.sub(lambda match: match[1] or f" {match[2]} ", spelled)


def _result(match: re.Match[str]) -> str:
    """A plus or minus that is a result: as part of the name before it, or as a word of its own."""
    if match[1]:
        return match[1]
    return " " + (match[2] or match[3] or match[4] or match[5]).replace("+", "⁺").replace("-", "−") + " "


def _dashes(text: str) -> str:
    return _SIGNS[0][0].sub("-", text)


def placed_words(spelled: str) -> list[Word]:
    """The words of a text that `spell` gave, with their places."""
    return list(_placed_words(spelled))


@lru_cache(maxsize=2048)
def _placed_words(spelled: str) -> tuple[Word, ...]:
    return tuple(
        Word(_number(match.group()), match.start(), match.end()) for match in _WORD.finditer(spelled)
    )


def _number(word: str) -> str:
    """A number in one spelling: no space after its sign, a digit before its point."""
    word = word.replace("−", "-").replace("⁺", "+")
    return re.sub(r"^(-?)\.", r"\g<1>0.", re.sub(r"\s", "", word)) if word[0] in "-. \t" else word
