"""Sides and lobes that an answer sets against each other: `the right one is normal, the left is not` names the left.

A clause that only calls a place normal names no place of a finding, the other side is the one that was not named, and a yes or
no about one side is not answered by what is said of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medmvl.tasks.answers.one_form import lobes_in_one_form
from medmvl.tasks.answers.yes_no import find_polarity

_SIDE = re.compile(r"\b(left|right)\b|([左右])(?!右)", re.IGNORECASE)
_LOBE = re.compile(r"\b(left|right) (upper|middle|lower) lobe\b", re.IGNORECASE)
_PLACE = re.compile(
    r"\b(?:left|right)(?: (?:upper|middle|lower) lobe)?\b|[左右](?:侧|側|肺)?(?:[上中下](?:肺)?[叶葉])?",
    re.IGNORECASE,
)
_STRONG = r"[.;!?\n。；！？](?!\d)"
_CLAUSE = re.compile(
    rf"{_STRONG}|[,，]|[:：](?=[^:：]*[前后]者)|\b(?:but|however|while|whereas|although|though|yet|with|and)\b|而|但是?|却|不过",
    re.IGNORECASE,
)
_JOINS = re.compile(r"with|and", re.IGNORECASE)
_NOTHING_ELSE = re.compile(
    r"[\s:：'\"()\[\]-]|\b(?:on|in|at|of|the|a|an|it|is|one|side|sided|lungs?|lobes?|upper|middle|lower|left|right|only"
    r"|answer|for|to|both|comparing|between|among)\b|[左右上中下侧側肺叶葉边邊的在是位于]",
    re.IGNORECASE,
)
_SOUND = (
    r"(?:normal(?:ly)?|unremarkable|healthy|spared|unaffected|uninvolved|intact|within normal limits|clear|sharp"
    r"|free(?: (?:of|from)\b)?)"
)
_NORMAL = re.compile(
    r"(?<!than )(?<!above )(?<!below )\bnormal(?:ly)?\b(?!-| (?:size|variant)d?)"
    r"|\b(?:unremarkable|healthy|spared|spares|sparing|unaffected|uninvolved|within normal limits)\b"
    r"|\bno (?:abnormalit\w+|findings?)\b"
    r"|\b(?:is|are|was|were|remains?|appears?|looks?|lungs?|side|one)\s+(?:\w+ly\s+|both\s+)?(?:clear|sharp|intact|free)\b"
    r"|(?<!不)正常|(?:未见|未見|无|無)(?:明显|明確|明确)?(?:异常|異常|病变)|(?<!不)(?<!欠)清晰|未受累|未累及",
    re.IGNORECASE,
)
_NOT_NORMAL = re.compile(
    rf"(?:\s+not|n't)\s+(?:quite |entirely |completely |at all )?{_SOUND}\b|(?:不太?|非|欠)(?:正常|清晰)",
    re.IGNORECASE,
)
_ABNORMAL = re.compile(r"\babnormal\w*|异常|異常", re.IGNORECASE)
_ASKED_NORMAL = re.compile(r"\b(?:clear|intact|sharp)\b", re.IGNORECASE)
_NOTHING = re.compile(r"\b(?:none|nothing|nil)\b(?! of (?:the|these|those)\b)", re.IGNORECASE)
_NOT_SO = re.compile(
    r"\s*,?\s*\b(?:is|are|was|were|does|do|has|have|looks?)(?:\s+not|n't)(?: so)?\s*$"
    r"|(?:则|卻|却)?(?:不是|不然|并非如此|并不|否)\s*$",
    re.IGNORECASE,
)
_NOT_THIS = re.compile(r"^\s*not\s+(?=(?:so )?(?:on |in )?(?:the )?(?:left|right)\b[\w\s]*$)", re.IGNORECASE)
_SO_TOO = re.compile(
    r"^\s*(?:so|as) (?:is|are|does)\b|\b(?:too|also|as well|likewise|the same)\s*$|^[^是]*(?:亦然|也是|同样)\s*$",
    re.IGNORECASE,
)
_SO = re.compile(r"\b(?:is|are|was|were)\s*$", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:the )?(?:other|opposite|contralateral) (?:side|lung|one|hemithorax|kidney|breast)\b"
    r"|对侧|對側|另外?一?[侧側边邊](?:肺)?",
    re.IGNORECASE,
)
_MOVED = re.compile(r"\b(?:shift|deviat|displac|push|mov)\w*[^.;,]*$|[移推偏][^。；，]*$", re.IGNORECASE)
_FORMER = re.compile(r"\b(?:the )?(?P<former>former|first(?: one)?)\b|\b(?:the )?(?P<latter>latter|second(?: one)?)\b"
                     r"|(?P<前>前者)|(?P<后>[后後]者)", re.IGNORECASE)  # fmt: skip
_ANSWERED = re.compile(
    r"^\W*(?:(?:yes|no|yeah|yep|nope)\b\s*(?:[,.;:!，。]|$)|(?:是的?|否|不是|对)\s*[，,。;；])", re.IGNORECASE
)
_OPPOSITE = {"left": "right", "right": "left", "左": "右", "右": "左"}
_SIDES = {"左": "left", "右": "right"}

Place = tuple[str, str]
"""A side and the level of a lobe, empty where only the side is named."""


@dataclass(frozen=True)
class _Clause:
    text: str
    end: str
    """Separator from the next one."""


def names_normal(text: str) -> bool:
    """Whether a text calls something normal, or asks what is."""
    return _NORMAL.search(text) is not None or _ASKED_NORMAL.search(text) is not None


@lru_cache(maxsize=4096)
def places_of(text: str) -> frozenset[Place]:
    """The sides and lobes that a text names, in either language: `左肺下叶` is `("left", "lower")`."""
    spelled = lobes_in_one_form(text, chinese=False)
    lobes = {(match[1].lower(), match[2].lower()) for match in _LOBE.finditer(spelled)}
    rest = _LOBE.sub(" ", spelled)
    sides = {(_SIDES.get(match[0], match[0].lower()), "") for match in _SIDE.finditer(rest)}
    return frozenset(lobes | sides)


def normal_part(text: str) -> str:
    """The clauses of a text that call a side or lobe normal: what counts where a question asks which one is."""
    kept, state = [], ""
    for clause in _clauses(_named(text)):
        _, state = _read(clause.text, state)
        kept += [clause.text if state == "normal" or not places_of(clause.text) else " ", clause.end]
    found = "".join(kept)
    return found if places_of(found) else text


def affirmed_part(text: str) -> str:
    """A text without the clauses that only call a side or lobe normal; with elliptical ones (`the left is not`) made plain.

    Returns:
        The text as it came where it sets nothing apart or only denies; an empty one where everything in it is called normal.
    """
    if not places_of(text):
        return text
    named = _named(text)
    kept, state, denies_alone = [], "", True
    for clause in _clauses(named):
        said, state = _read(clause.text, state)
        kept += [said, clause.end]
        denies_alone = denies_alone and state != "normal"
    found = "".join(kept)
    if found == text or places_of(found):
        return found
    return text if denies_alone else ""


def _read(clause: str, before: str) -> tuple[str, str]:
    """What a clause affirms, and how the places in it are: normal, abnormal, or as before where it names none."""
    if not places_of(clause):
        return clause, before
    if _NOT_NORMAL.search(clause):
        return _NOT_NORMAL.sub(" ", clause), "abnormal"
    if _NORMAL.search(clause) or _NOTHING.search(clause):
        return " ", "normal"
    if before == "normal":
        for elided in (_NOT_SO, _NOT_THIS):
            if elided.search(clause):
                return elided.sub(" ", clause), "abnormal"
        if _SO_TOO.search(clause):
            return " ", "normal"
    if before == "abnormal" and _SO.search(clause):
        return " ", "normal"
    if _ABNORMAL.search(clause):
        return _ABNORMAL.sub(" ", clause), "abnormal"
    return (" ", "denied") if _NOT_SO.search(clause) or find_polarity(clause) is False else (clause, "")


def _clauses(text: str) -> list[_Clause]:
    """The clauses of a text, each with its place: `on the left, there is fluid` is one, `left and right lungs` too."""
    found: list[_Clause] = []
    marks = [*_CLAUSE.finditer(text)]
    starts = [0, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), len(text)]
    begin = 0
    for number, end in enumerate(ends):
        if number < len(marks):
            following = text[starts[number + 1] : ends[number + 1]]
            if _belongs(text[begin:end], marks[number][0], following):
                continue
        separator = marks[number][0] if number < len(marks) else ""
        found.append(_Clause(text[begin:end], separator))
        begin = end + len(separator)
    return found


def _belongs(piece: str, separator: str, following: str) -> bool:
    """Whether a piece and what follows it are one clause."""
    if not piece.strip():
        return True
    if re.fullmatch(_STRONG, separator):
        return False
    bare = not _NOTHING_ELSE.sub("", piece).strip()
    if _JOINS.fullmatch(separator):
        return bare or not places_of(piece) or not places_of(following)
    plural = re.search(r"\b(?:lungs|sides|lobes|both|are)\b|[均都]", following) is not None
    return bare and bool(places_of(piece)) and (not places_of(following) or plural)


def _named(text: str) -> str:
    """A text with `the other side`, `the former` and `the latter` replaced by the place they stand for."""
    if pair := _FORMER.search(text):
        named = [*_PLACE.finditer(text, 0, pair.start())]
        if len({match[0].lower() for match in named}) == 2 and len(named) == 2:
            first, second = named
            rest = _FORMER.sub(
                lambda m: (first if m["former"] or m["前"] else second)[0], text[pair.start() :]
            )
            text = text[: first.start()] + text[second.end() : pair.start()] + rest
    for match in reversed([*_OTHER.finditer(text)]):
        sides = [*_SIDE.finditer(text, 0, match.start())]
        if sides and not _MOVED.search(text[: match.start()]):
            side = _OPPOSITE[sides[-1][0].lower()]
            word = f"{side}侧" if side in _SIDES else f"the {side} side"
            text = text[: match.start()] + word + text[match.end() :]
    return text


def closed_part(text: str, question: str) -> str:
    """`yes` or `no` where the clauses of a text say so of the place that a closed question asks about; else the text.

    Asked about no place, what is there on one side is there: `none on the right, one on the left` is `yes`.
    """
    if _ANSWERED.match(text):
        return text
    said = [(places_of(clause.text), clause.text) for clause in _clauses(_named(text))]
    said = [(places, clause) for places, clause in said if places]
    if len({places for places, _ in said}) < 2 or names_normal(question):
        return text
    states = [(places, _is_there(clause)) for places, clause in said]
    if len({state for _, state in states}) < 2:
        return text
    asked = places_of(question)
    if len(asked) > 1:
        return text
    about = {state for places, state in states if not asked or any(_within(one, *asked) for one in places)}
    if not about:
        return text
    return "yes" if True in about and (not asked or len(about) == 1) else "no" if about == {False} else text


def _is_there(clause: str) -> bool:
    if _NOTHING.search(clause) or (_NORMAL.search(clause) and not _NOT_NORMAL.search(clause)):
        return False
    return find_polarity(clause) is not False


def _within(place: Place, asked: Place) -> bool:
    """Whether what is said of a place is said of the one asked about: a lobe is on its side."""
    return place[0] == asked[0] and (not asked[1] or place[1] == asked[1])
