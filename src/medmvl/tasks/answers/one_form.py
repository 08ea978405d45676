"""One form for names that are written in several ways, so that an answer and a choice that mean the same read the same.

Lobes of the lung (`LLL`, `lower lobe of the left lung`, `左下叶` are the left lower lobe), results of markers (`ER positive`
is `ER+`), both sides (`bilateral`), none and all of the options, and modalities.
What is only put in another order, such as `upper zone of the left lung`, is found by `same_words`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from medmvl.tasks.metrics.text import has_chinese, normalise

_LEVELS = {
    "upper": "upper", "superior": "upper", "middle": "middle", "mid": "middle", "lower": "lower", "inferior": "lower",
    "上": "upper", "中": "middle", "下": "lower",
}  # fmt: skip
_CHINESE = {"left": "左", "right": "右", "upper": "上", "middle": "中", "lower": "下"}
_SIDES = {"left": ("left",), "right": ("right",), "both": ("left", "right"), "bilateral": ("left", "right"),
          "左": ("left",), "右": ("right",), "双": ("left", "right"), "雙": ("left", "right"), "两": ("left", "right"),
          "兩": ("left", "right"), "": ("right",)}  # fmt: skip
"""No side is said of the middle lobe alone, which only the right lung has."""
_INITIALS = {"l": "left", "r": "right"}, {"u": "upper", "m": "middle", "l": "lower"}

_LEVEL = r"(?:upper|superior|middle|mid|lower|inferior)"
_LOBE = r"(?:[\s_-]*(?:lung|pulmonary))?[\s_-]*lobes?"
_JOIN = r"\s*(?:,\s*(?:and|or)?|/|&|\band\b|\bor\b)\s*(?:the\s+|in\s+|of\s+)*"
_ENGLISH_LEVELS = rf"{_LEVEL}(?:(?:{_LOBE})?{_JOIN}{_LEVEL})*"
_LUNG = r"(?:\s*(?:lung|hemithorax|chest|side|pulmonary)\b)?"
_ENGLISH = re.compile(
    rf"\b(?P<before>left|right|both|bilateral)(?:[\s_-]*sided)?(?:[\s_-]*(?:lungs?(?:'s)?|pulmonary)\b)?(?:\s*[:,]\s*|[\s_-]+)(?:the\s+)?"
    rf"(?P<levels1>{_ENGLISH_LEVELS}){_LOBE}\b"
    rf"|\b(?P<level>{_LEVEL})[\s_-]+(?P<between>left|right)(?:[\s_-]+(?:lung|pulmonary))?[\s_-]+lobe\b"
    rf"|\b(?P<levels2>{_ENGLISH_LEVELS}){_LOBE}(?:\s*\(?\s*(?:of|in|on|within|from|at)\s+(?:the\s+)?(?P<after>left|right)\b{_LUNG}\)?"
    rf"|\s*(?:of|in)\s+(?P<all>both)\s+lungs\b|\s+(?P<ally>bilateral)ly\b"
    rf"|\s*[,(]?\s*(?P<loose>left|right){_LUNG}\s*\)?(?=\s*(?:[.,;:!?]|$)))"
    r"|\b(?P<initials>[lr][ul]l|rml)\b|\b(?P<alone>middle)[\s_-]+lobe\b",
    re.IGNORECASE,
)
_HAN_LEVELS = r"[上中下](?:(?:肺)?[叶葉]?[、,和及与與或]?[上中下])*"
_HAN_LOBE = re.compile(
    rf"(?P<side>[左右双雙两兩])(?:[侧側])?(?:肺部?)?的?(?P<levels>{_HAN_LEVELS})(?:肺?[叶葉]|肺(?!野|[叶葉]|静|動|动|靜|部|门|門))"
    r"|(?P<alone>中)[叶葉]"
)
_BOTH = re.compile(
    r"\b(?:bilateral(?:ly)?|(?:on )?both(?: (?:the )?sides| lungs)?|left and right(?: sides?)?|right and left(?: sides?)?)\b"
    r"|(?:左右)?[双雙两兩][侧側]|左右|左[侧側]?和右[侧側]?",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"\b(?:none|neither|not any) of (?:the (?:above|options|choices|others?)(?: (?:options|choices))?|these|them|those)\b"
    r"|以上(?:都|均|皆)(?:不是|不对|不正确|非|无)",
    re.IGNORECASE,
)
_ALL = re.compile(
    r"\ball (?:of )?(?:the (?:above|options|choices)(?: (?:options|choices))?|these|them|those)\b"
    r"|以上(?:都|均|皆)(?:是|对|正确)",
    re.IGNORECASE,
)
_MODALITIES = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"\b(?:cta|(?:ct|computed tomography)[- ]angiogra(?:phy|m))\b", "CTA"),
        (r"\b(?:mra|(?:mri?|magnetic resonance)[- ]angiogra(?:phy|m))\b", "MRA"),
        (
            r"\bcect\b|\b(?:contrast[- ]enhanced|enhanced) (?:ct|computed tomography)(?: scan)?\b|增强CT|CT增强",
            "CT with contrast",
        ),
        (
            r"\bncct\b|\b(?:non[- ]?contrast|non[- ]?enhanced|unenhanced) (?:ct|computed tomography)(?: scan)?\b|平扫CT|CT平扫",
            "CT without contrast",
        ),
        (
            r"\b(?:computed|computeri[sz]ed) tomography\b|\bcat scan\b|\bct scan\b|计算机断层(?:扫描|成像)?",
            "CT",
        ),
        (
            r"\bdiffusion[- ]weighted(?: (?:imaging|images?|mri?))?\b|弥散加权(?:成像)?|扩散加权(?:成像)?",
            "DWI",
        ),
        (r"\bmagnetic resonance(?: imaging)?\b|\bmr(?:i scan)?\b|磁共振(?:成像)?|核磁(?:共振)?", "MRI"),
        (r"\bmammogra(?:phy|ms?)\b|钼靶", "mammography"),
        (
            r"\b(?:plain |chest )?(?:radiograph(?:y|s)?|x[- ]?rays?|plain film)\b|\bcxr\b|[xX]光(?:片)?|[xX]线(?:片)?",
            "radiograph",
        ),
        (
            r"\b(?:ultrasound|ultrasonogra(?:phy|m)|sonography|sonogram)\b|\b(?-i:US)\b|超声(?:波)?|B超",
            "ultrasound",
        ),
        (r"\bpositron emission tomography\b", "PET"),
    )
)
_PLANES = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"\b(?:transverse|horizontal|transaxial)\b", "axial"),
        (r"\bfrontal\b", "coronal"),
        (r"\blateral\b", "sagittal"),
    )
)
_PLANE = re.compile(r"(?:axial|coronal|sagittal)(?: (?:plane|view|section))?", re.IGNORECASE)
_VIEWS = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"\b(?:postero-?anterior|pa)\b(?: view| projection| radiograph)?|后前位", "posteroanterior view"),
        (r"\b(?:antero-?posterior|ap)\b(?: view| projection| radiograph)?|前后位", "anteroposterior view"),
        (r"\blateral\b(?: view| projection)?", "lateral view"),
    )
)
_WEIGHTED = re.compile(
    r"\bt([12])(?:[- ]?(?:weighted|weighting|wi|w)\b(?: (?:imaging|images?|mri|scan))?|(?=[- ]?flair\b))",
    re.IGNORECASE,
)
_SEQUENCE = re.compile(r"\bt([12])(?![\w]|[- ]?flair)", re.IGNORECASE)
_WRITTEN_OUT = r"t\1 weighted "
_SIGNED = re.compile(r"(?<!\w)([A-Za-z][A-Za-z0-9/]{0,11}(?:-\d+)?)\s?([+−])(?!\w)")
_POSITIVE, _NEGATIVE = r"positive|阳性|陽性|\+", r"negative|阴性|陰性|−"
_SAID = re.compile(
    rf"(?<!\w)([A-Za-z][A-Za-z0-9/]{{0,11}}(?:-\d+)?)[\s-]*(?:{_POSITIVE}|{_NEGATIVE})(?!\w)", re.IGNORECASE
)
_MARKER = re.compile(r"(?:[A-Z]+[a-z]*[A-Z]+[A-Za-z]*|[A-Za-z]+-?\d+[A-Za-z]*|Rh|[Gg]ram)$")
"""A name that is written with capitals or a number, as receptors and antigens are."""
_BETWEEN = r"(?:\s*(?:-|:|status|expression|is|are|was|were|为|呈|是)\s*)*\s*"
_NEUTRAL = frozenset(
    ("a", "an", "the", "it", "its", "it's", "is", "are", "was", "of", "in", "on", "at", "within", "this", "that", "these",
     "there", "located", "lies", "seen", "side", "sided", "answer", "here")
)  # fmt: skip
_ORDERED = frozenset(
    ("to", "from", "than", "before", "after", "over", "under", "between", "by", "versus", "vs", "with", "without", ">", "<",
     "≥", "≤", "not", "no")
)  # fmt: skip
"""Words that make the order of the others part of what is said."""


def names_lobe(text: str) -> bool:
    """Whether a text names a lobe of a lung with its side."""
    return any(match["alone"] is None for match in (*_ENGLISH.finditer(text), *_HAN_LOBE.finditer(text)))


@lru_cache(maxsize=2048)
def lobes_in_one_form(text: str, *, chinese: bool) -> str:
    """A text with every lobe as `left lower lobe` or, in Chinese, as `左下叶`; lists are written out member by member."""
    text = _ENGLISH.sub(lambda match: _spoken(*_english(match), match.group(), chinese), text)
    return _HAN_LOBE.sub(lambda match: _spoken(*_han(match), match.group(), chinese), text)


def _english(match: re.Match[str]) -> tuple[str, list[str]]:
    if match["initials"]:
        letters = match["initials"].lower()
        return _INITIALS[0][letters[0]], [_INITIALS[1][letters[1]]]
    side = next(
        (match[name] for name in ("before", "between", "after", "all", "ally", "loose") if match[name]), ""
    )
    levels = match["levels1"] or match["levels2"] or match["level"] or match["alone"]
    return side.lower(), re.findall(rf"\b{_LEVEL}", levels.replace("_", " ").lower())


def _han(match: re.Match[str]) -> tuple[str, list[str]]:
    return match["side"] or "", re.findall("[上中下]", match["levels"] or match["alone"])


def _spoken(side: str, levels: Sequence[str], found: str, chinese: bool) -> str:
    doubtful = re.search(r"\bor\b|或", found) is not None
    lobes = [(one, _LEVELS[level]) for level in levels for one in _SIDES[side]]
    if chinese:
        return ("或" if doubtful else "和").join(
            f"{_CHINESE[one]}{_CHINESE[level]}叶" for one, level in lobes
        )
    joined = (" or " if doubtful else " and ").join(f"{one} {level} lobe" for one, level in lobes)
    return f" {joined} " if has_chinese(found) else joined


def signed_names(texts: Sequence[str]) -> frozenset[str]:
    """Names that carry a plus or minus in texts that `spell_with_case` gave."""
    return frozenset(match[1].lower() for text in texts for match in _SIGNED.finditer(text))


def marker_names(texts: Sequence[str]) -> frozenset[str]:
    """Names with a plus or minus, and those with positive or negative that are written as markers are."""
    said = {match[1].lower() for text in texts for match in _SAID.finditer(text) if _MARKER.match(match[1])}
    return signed_names(texts) | said


def results_in_one_form(text: str, names: frozenset[str]) -> str:
    """A text with results of these markers as signs: `ER is positive`, `positive for ER` and `ER阳性` as `ER+`."""
    for name in sorted(names, key=len, reverse=True):
        known = rf"(?<![\w]){re.escape(name)}"
        for words, sign in ((_POSITIVE, "+"), (_NEGATIVE, "−")):
            text = re.sub(rf"({known}){_BETWEEN}(?:{words})(?!\w)", rf"\1{sign}", text, flags=re.IGNORECASE)
            text = re.sub(
                rf"\b(?:{words.split('|')[0]})\s+for\s+({known})(?!\w)",
                rf"\1{sign}",
                text,
                flags=re.IGNORECASE,
            )
    return text


def groups_in_one_form(texts: Sequence[str]) -> list[str]:
    """The answer and its options with `bilateral`, `none of these` and modalities written as one option writes them.

    Args:
        texts: the answer, then the options. What no option names stays as it is.
    """
    rewritten = list(texts)
    for pattern, name in ((_BOTH, "both"), (_NONE, "none of the above"), (_ALL, "all of the above")):
        if any(pattern.fullmatch(without_mark(option)) for option in texts[1:]):
            rewritten = [pattern.sub(name, text) for text in rewritten]
    if any(
        pattern.search(option) or option.strip() == name
        for option in texts[1:]
        for pattern, name in _MODALITIES
    ):
        rewritten = [modalities_in_one_form(text) for text in rewritten]
    if any(_PLANE.fullmatch(without_mark(option)) for option in texts[1:]):
        rewritten = [image_in_one_form(text, frozenset(("plane",))) for text in rewritten]
    return rewritten


def modalities_in_one_form(text: str) -> str:
    """A text with every modality under one name, such as `CT` for `computed tomography`."""
    for pattern, name in _MODALITIES:
        text = pattern.sub(name, text)
    return text


def image_in_one_form(text: str, asked: frozenset[str]) -> str:
    """A text with modality, plane, view and sequence under one name each.

    Args:
        text: the text.
        asked: what the question asks for. `frontal`, `lateral`, `AP` and `T2` name a plane, a view or a sequence only where it
            asks for one, or where the text says so (`T2-weighted`).
    """
    text = modalities_in_one_form(text)
    rules = _PLANES + _VIEWS[:2] if "plane" in asked else _VIEWS if "view" in asked else ()
    for pattern, name in rules:
        text = pattern.sub(name, text)
    if "sequence" in asked:
        text = _SEQUENCE.sub(_WRITTEN_OUT, text)
    return _WEIGHTED.sub(_WRITTEN_OUT, text)


@lru_cache(maxsize=2048)
def without_mark(option: str) -> str:
    """An option without its letter and its last point."""
    return re.sub(r"^\s*[(\[]?[A-Za-z][)\].:、]\s*", "", option).strip(" .。")


def same_words(text: str, options: Sequence[str]) -> int | None:
    """Index of the only option that has the words of the whole text in another order, or None.

    Words such as `of the` do not count, and those that all options have need not be said: `II` names `grade II`. Where an
    option has a word that orders the others (`left to right`), or Chinese characters, order is part of what it says.
    """
    said = _counted(text)
    if not said or has_chinese(text) or _ORDERED & set(said):
        return None
    wanted = [_counted(option) for option in options]
    if said not in wanted:
        common = set.intersection(*map(set, wanted))
        said, *wanted = ([word for word in one if word not in common] for one in (said, *wanted))
        if not all(wanted):
            return None
    return wanted.index(said) if wanted.count(said) == 1 else None


def _counted(text: str) -> list[str]:
    """The words that count, in order of the alphabet; the `a` of `stage 3a` is one, an article is none."""
    found = ["", *normalise(text).split()]
    return sorted(word for before, word in pairwise(found) if word not in _NEUTRAL or before.isdigit())
