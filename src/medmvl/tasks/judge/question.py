"""What a question asks for: yes or no, one of two, a side, a level, a segment, a number, a place, or anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from medmvl.tasks.judge.claims import Claims, read_claims
from medmvl.tasks.metrics.text import spell
from medmvl.tasks.metrics.units import UNIT, UNITS

_CLOSED = re.compile(
    r"(?:^|,)\s*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|any)\b"
    r"|(?:吗|嗎|么|是否|有无|有無|有没有|有沒有|是不是|能否)[？?]?"
)
_COUNTS = re.compile(r"\bhow many\b|\bnumber of\b|几个|多少个|几枚|几处|数量")
_UNIT = re.compile(
    rf"\b(?:in|how many)\s+(?P<a>{UNIT})|\(\s*(?:in\s+)?(?P<b>{UNIT})\s*\)|(?:多少|几)\s*(?P<c>{UNIT})"
    r"|\b(?P<d>hounsfield|hu|kvp?|tesla)\b",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"\b(?:and|or|if so|if any|if present|if yes),? (?:if so,? |if any,? )?(?:on |in |at |to )?(?:where|what"
    r"|which|how|who)\b|[,;] (?:where|what|which|how)\b|如有|若有|分别"
)
_ALTERNATIVES = re.compile(r"\b(?:or|versus|vs)\b|还是|或")
_WHAT_IS_NOT = re.compile(
    r"\b(?:absent|excluded|ruled out|missing|not (?:seen|present|visible|detected|identified|observed|evident|found"
    r"|noted))\b\W*$"
)
ASKED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (facet, re.compile(pattern))
    for facet, pattern in (
        ("number", r"\b(?:what|which) (?:percentage|percent|share|size|volume|age|angle)\b|\bhow (?:many|large|big|long"
            r"|thick|wide|much|deep|high|old|far|fast)\b|\b(?:what|which) (?:is|was|are"
            r"|were) the (?:[\w-]+ )*?(?:size|diameter|thickness|length|measurement|width|dimensions?|depth"
            r"|volume|number|density value|distance|age|angle|percentage|attenuation|grade|score)\b|多大|多少|几个"
            r"|几岁|多长|多厚|大小"),
        ("modality", r"\bmodality\b|\bwhat (?:type|kind|sort) of (?:\w+ )?(?:imag\w+|scan|study|exam\w*)\b|成像方式"
            r"|模态|什么检查"),
        ("plane", r"\bplane\b|\borientation of (?:the|this) (?:image|scan|slice)|切面|平面|断面"),
        ("view", r"\b(?:what|which) (?:[\w-]+ ){0,3}(?:view|projection)\b|体位"),
        ("sequence", r"\bsequence\b|\bweight(?:ed|ing)\b|序列|加权"),
        ("contrast", r"\bcontrast\b|造影|增强"),
        ("sex", r"\b(?:sex|gender)\b|\bmale or (?:a )?female\b|性别|男.?还是女"),
        ("colour", r"\bcolou?rs?\b|颜色"),
        ("side", r"\b(?:which|what) (?:lung|side|kidney|adrenal|hemithorax|breast|axilla|lobe side|hilum"
            r"|hemidiaphragm|thyroid lobe|atrium|pleura)\b|\blaterality\b|\bunilateral\w* or bilateral"
            r"|\bbilateral\w* or unilateral|\bleft or right|\bright or left|\bone (?:side|lung) or both"
            r"|\bboth (?:sides|lungs) or|哪一?侧|哪边|左侧还是|单侧还是|哪个肺"),
        ("level", r"\b(?:which|what) (?:lung )?(?:lobes?|zones?|levels?|parts?|pole|portion|third|half)\b"
            r"|\bat (?:which|what) level|\bupper or lower|哪个?肺?叶|哪一?叶|哪部分"),
        ("segment", r"\b(?:which|what) (?:lung |liver |bronchopulmonary |specific )?(?:sub)?segments?\b|哪个?段|哪一?段"),
        ("zone", r"\bcentral\w*\b|\bperipheral\w*\b|\bcentric\w*\b|中央|周围型"),
        ("level", r"\bvertical\b|\bcraniocaudal\b|\bheight level\b|垂直"),
        ("depth", r"\banterior\b.*\bposterior\b|\bposterior\b.*\banterior\b|\bdepth\b|\bfront\b.*\bback\b|前后"),
        ("course", r"\bmedial\w*\b.*\blateral\w*\b|\blateral\w*\b.*\bmedial\w*\b|内外侧"),
        ("place", r"\b(?:which|what) (?:\w+ )?(?:structure|organ|vessel|bone|artery|region)s?\b|\bwhat (?:is"
            r"|are) (?:it|they) adjacent to|哪个器官|什么结构"),
        ("where", r"\bwhere\b|\b(?:which|what) (?:region|area|location|anatomical|structure|organ|station|space"
            r"|vessel|bone|compartment|wall|artery|position|quadrant)|何处|哪里|位于|位置|部位|哪个器官"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What a question asks, and what it states itself."""

    claims: Claims
    """Claims of its own words: `the nodule in the right lung` states a side."""
    denies: bool
    """True where it asks about what is absent: `where was no effusion seen`."""
    closed: bool
    """True where the answer is yes or no, or one of two alternatives that it names."""
    alternatives: bool
    """True where it names alternatives: `left or right`."""
    asks_more: bool
    """True where it asks two things: `is there any, and if so, where`."""
    counts: bool
    """True where it asks how many."""
    unit: tuple[str, float] | None
    """Dimension and factor of the unit it asks for: `in mm`."""
    asked: frozenset[str]
    """Facets of `ASKED` that it asks for; empty where its wording names none."""


@lru_cache(maxsize=8192)
def read_question(text: str) -> Question:
    """Read what a question asks for."""
    spelled = spell(text)
    closed = _CLOSED.search(spelled) is not None and not re.match(r"\s*(?:where|what|which|how|who)", spelled)
    asked = frozenset(facet for facet, pattern in ASKED if pattern.search(spelled))
    claims = read_claims(text)
    alternatives = _ALTERNATIVES.search(spelled) is not None and (
        closed or "either" in spelled or "—" in text or ":" in text
    )
    unit = _UNIT.search(spelled)
    return Question(
        claims=claims,
        denies=(bool(claims.denied) or _WHAT_IS_NOT.search(spelled) is not None) and not closed,
        closed=closed,
        alternatives=alternatives,
        asks_more=_MORE.search(spelled) is not None,
        counts=_COUNTS.search(spelled) is not None,
        unit=UNITS.get(unit[unit.lastgroup or 0].strip().casefold()) if unit else None,
        asked=asked,
    )
