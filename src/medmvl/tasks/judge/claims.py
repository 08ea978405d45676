"""What a text claims: facets with values, numbers, polarity and remaining words. `right lower lobe` is a side and a level."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from medmvl.tasks.answers.measured import measured_in_one_form
from medmvl.tasks.answers.yes_no import OPENING_NO, OPENING_YES, said_polarity
from medmvl.tasks.judge.lexicon import COMPOSED, UNCOUNTED, lexicon
from medmvl.tasks.metrics.quantities import Quantity, read_quantities
from medmvl.tasks.metrics.text import Word, placed_words, spell

DENIALS = frozenset(
    ("no", "not", "without", "never", "neither", "nor", "none", "absent", "negative", "nothing", "free", "isn't", "aren't",
     "wasn't", "weren't", "cannot", "can't", "doesn't", "don't", "didn't", "hasn't", "haven't", "non", "lack", "absence",
     "无", "無", "未", "没", "沒", "不", "否", "非")
)  # fmt: skip
DENYING_PHRASE = re.compile(
    r"\b(?:far from|fail(?:s|ed|ing)? to|devoid of|rul(?:es|ed|ing) out|hardly|ain't)\b"
)
"""Phrases that deny what follows them, as the words of `DENIALS` do."""
DENIED_AFTER = re.compile(
    r"\s*(?:(?:is|are|was|were|has been|have been|can be)\s+)?(?:clearly |definitely |therefore )?(?:excluded|ruled out|absent"
    r"|negative|unlikely|resolved|not (?:seen|present|visible|detected|identified|observed|evident|found|noted))\b"
    r"|\s*[:=]\s*(?:no|negative|absent|none)\b|\s*(?:已|可|被|可以)*(?:排除|除外)"
)
"""Words directly after a claim that deny it."""
NOT_DENIED = re.compile(
    r"\bnot only\b|\bno doubt|\bnot un\w+|whether or not|是否|有无|有没有|是不是|能否|能不能|非常|不仅|不规则"
    r"|不均|不张|膨胀不全|没错|不典型|不清"
    r"|\bnon ?specific|\bcontrast free|\bnon ?contrast|\bfree (?:fluid|air|edge|wall)"
)
"""Phrases that look like denials and are not; their words may be claims."""
DOUBLY_DENIED = re.compile(
    r"\b(?:can(?:not|'t| not)|could not|couldn't) (?:be )?(?:excluded?|rule[ds]? out)|\bnot (?:be )?(?:excluded|ruled out)"
    r"|\bnot (?:absent|without|negative)|\bno absence of|不除外|不能除外|不能排除|不排除|无法排除|不是没有|并非没有"
)
"""Phrases that deny a denial, or leave a doubt: the claim counts as affirmed."""
BREAK = re.compile(r"[.;:!?\n。；：！？,，]|\b(?:but|however|although|though|while|whereas|yet|with)\b|但|而")
ASIDE = re.compile(
    r"\b(?:especially|particularly|more prominent(?:ly)?|most prominent(?:ly)?|predominantly|mostly|mainly"
    r"|specifically|such as|including|measuring|indicating|as (?:it|they)|"
    r"compared (?:to|with)|than|with a|with an|extending|reaching|entering|tending|e\.g\.|i\.e\.|according to"
    r"|because|since)\b|\(|尤其|特别|主要|以.{1,8}为主|伴"
)
"""Words that begin a detail: an answer may leave it out."""
REFUSAL = re.compile(
    r"\bcannot be (?:determined|assessed|identified from)|\bunclear\b|\bunable to\b|\bnot (?:specified|mentioned"
    r"|provided|stated|clear|known|sure|possible)\b|\bunknown\b|\bi (?:don't|do not|cannot|can't)\b"
    r"|\bno (?:information|mention)\b|\bnot enough\b|\binsufficient\b|不清楚|无法判断|不确定|无法确定|未提及|未说明"
)
EVERYTHING = re.compile(
    r"\ball of (?:the above|these|them)\b|\bnone of the above\b|\bboth a and b\b|以上都是"
    r"|以上均|全部选项"
)
_UP_TO = re.compile(r"\bup to\s+(?=(?:about |approximately )?\.?\d)")
"""A largest value: nodules of up to 5 mm are described by 5 mm, not by 1 mm."""
KEPT, SKIPPED = "\x00", "\x01"
JOINTS = frozenset(("and", "or", "和", "及", "与", "或"))
JOINT = re.compile(r"[,;、，；/]")
NOTHING: frozenset[str] = frozenset()
VERTEBRAE = 12
ROMAN = {
    numeral: str(number)
    for number, numeral in enumerate(["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"], 1)
}


@dataclass(frozen=True)
class Claims:
    """The claims of a text."""

    text: str
    words: tuple[str, ...]
    polarity: bool | None
    """True or False where the text says yes or no, literally or by what it denies; None where it states something."""
    opens: bool
    """True where it begins with yes or no."""
    said: frozenset[str]
    """Affirmed claims, without what they imply, such as `seg:lingula`."""
    main: frozenset[str]
    """Affirmed claims before the first detail (`especially ...`, `measuring ...`)."""
    denied: frozenset[str]
    """Denied claims and words."""
    pairs: frozenset[tuple[str, str]]
    """Pairs of a side and a level that belong together: `left upper and right lower lobe` are two pairs."""
    quantities: tuple[Quantity, ...]
    others: frozenset[str]
    """Words outside the lexicon that may carry a claim."""
    refuses: bool
    """True where it declines to answer."""
    names_everything: bool
    """True where it accepts every option: `all of the above`."""

    def affirmed(self) -> Claims:
        """The claims with denied ones counted as affirmed, for questions that deny: `what is absent?`."""
        return replace(self, said=self.said | self.denied, main=self.main | self.denied)

    def completed(self, asked: Claims) -> Claims:
        """The claims with places that question and text name together: `thoracic`, asked about the spine."""
        own = {claim.partition(":")[2] for claim in self.said}
        whole = own | asked.values("place")
        added = frozenset(
            f"place:{place}" for (part, of), place in COMPOSED.items() if part in own and of in whole
        )
        return replace(self, said=self.said | added, main=self.main | added) if added else self

    def named(self, facet: str) -> frozenset[str]:
        """The values of a facet that the text names, without implied ones; both sides are left and right."""
        found = frozenset(claim.partition(":")[2] for claim in self.said if claim.startswith(facet + ":"))
        return found - {"both"} | {"left", "right"} if "both" in found else found

    def values(self, facet: str) -> frozenset[str]:
        """The values of a facet, with all that the claims imply; both sides are left and right."""
        return values_of(self.said, facet)


@lru_cache(maxsize=4096)
def closure(said: frozenset[str]) -> frozenset[str]:
    """Claims with all they imply."""
    implied = lexicon().implied
    return frozenset().union(*(implied.get(claim, frozenset((claim,))) for claim in said)) if said else said


def values_of(said: frozenset[str], facet: str) -> frozenset[str]:
    """The values of a facet among claims and what they imply."""
    return _by_facet(said).get(facet, NOTHING)


@lru_cache(maxsize=8192)
def _by_facet(said: frozenset[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for claim in closure(said):
        facet, _, value = claim.partition(":")
        found.setdefault(facet, set()).update(("left", "right") if claim == "side:both" else (value,))
    return {facet: frozenset(values) for facet, values in found.items()}


@lru_cache(maxsize=4096)
def read_claims(text: str) -> Claims:
    """Read what a text claims, in English or Chinese."""
    spelled = measured_in_one_form(_UP_TO.sub("", spell(text)))
    hidden = NOT_DENIED.sub(lambda match: KEPT * len(match.group()), spelled)
    hidden = DOUBLY_DENIED.sub(lambda match: SKIPPED * len(match.group()), hidden)
    placed = placed_words(spelled)
    tokens = [word.text for word in placed]
    quantities, taken = read_quantities(_without_denied_numbers(tokens))
    aside = ASIDE.search(spelled)
    walk = _Walk(hidden, placed, tokens, taken, aside.start() if aside else len(spelled))
    walk.run()
    plainly = said_polarity(" ".join(tokens))
    opens = bool(tokens) and (
        tokens[0] in OPENING_YES
        or (tokens[0] in OPENING_NO and _ends(spelled, placed[0]))
        or tokens[0] in "是否对錯错"
    )
    said, main = frozenset(walk.said), frozenset(walk.main)
    return Claims(
        text=text,
        words=tuple(tokens),
        polarity=_polarity(tokens, opens, walk.denials) if plainly is None else plainly,
        opens=opens or plainly is not None,
        said=said,
        main=main or said,
        denied=frozenset(walk.denied),
        pairs=_pairs(walk.items),
        quantities=quantities,
        others=frozenset(walk.others),
        refuses=REFUSAL.search(spelled) is not None,
        names_everything=EVERYTHING.search(spelled) is not None,
    )


def _without_denied_numbers(tokens: Sequence[str]) -> list[str]:
    """The tokens with numbers that are denied (`not 3 cm`) left empty."""
    return [
        "" if at and token[-1].isdigit() and tokens[at - 1] in ("not", "isn't") else token
        for at, token in enumerate(tokens)
    ]


def _ends(spelled: str, word: Word) -> bool:
    """Whether a first `no` is an answer by itself (`No, ...`) and does not deny the next word (`no nodule`)."""
    rest = spelled[word.end :].lstrip()
    return not rest or rest[0] in ",.;:!?，。"


def _polarity(tokens: Sequence[str], opens: bool, denials: int) -> bool | None:
    if not tokens:
        return None
    if opens:
        return tokens[0] in OPENING_YES or tokens[0] in "是对"
    return False if tokens[0] in OPENING_NO or denials else None


def _pairs(items: Sequence[set[str]]) -> frozenset[tuple[str, str]]:
    """Sides with their levels; a member of a list without a side has that of the member before it."""
    found: set[tuple[str, str]] = set()
    sides: frozenset[str] = frozenset()
    for item in items:
        said = frozenset(item)
        sides = values_of(said, "side") or sides
        found.update((side, level) for side in sides for level in values_of(said, "level"))
    return frozenset(found)


class _Walk:
    """One pass over the words of a text that collects its claims.

    A denial reaches to the next break (`BREAK`); a comma or `and` begins a new member of a list.
    """

    def __init__(
        self, hidden: str, placed: Sequence[Word], tokens: Sequence[str], taken: frozenset[int], aside: int
    ) -> None:
        self.hidden, self.placed, self.tokens, self.taken, self.aside = hidden, placed, tokens, taken, aside
        self.said: set[str] = set()
        self.main: set[str] = set()
        self.denied: set[str] = set()
        self.others: set[str] = set()
        self.denials = 0
        self.items: list[set[str]] = [set()]
        """Affirmed claims of each member of a list."""

    def run(self) -> None:
        """Sort every phrase into claims said, claims denied and other words."""
        table = lexicon()
        tokens, placed = self.tokens, self.placed
        phrases = {match.start() for match in DENYING_PHRASE.finditer(self.hidden)}
        denying, index, end = False, 0, 0
        while index < len(tokens):
            word = placed[index]
            if denying and BREAK.search(self.hidden[end : word.end]):
                denying = False
            if SKIPPED in self.hidden[word.start : word.end]:  # part of a phrase such as `cannot be excluded`
                end, index = word.end, index + 1
                continue
            if tokens[index] in JOINTS or JOINT.search(self.hidden[end : word.start]):
                self.items.append(set())
            size, claims = self._numbered(index) or table.match(tokens, index)
            if word.start in phrases:
                denying, size = True, 0
                self.denials += 1
            elif size:
                denied_after = DENIED_AFTER.match(self.hidden, placed[index + size - 1].end) is not None
                self._claim(claims, denying or denied_after, word.start)
                self.denials += tokens[index] in DENIALS and claims == ("contrast:without",)
            elif tokens[index] in DENIALS and KEPT not in self.hidden[word.start : word.end]:
                denying = not (index == 0 and _ends(self.hidden, word))
                self.denials += denying
            elif index not in self.taken and tokens[index] not in UNCOUNTED:
                if denying:
                    self.denied.add(f"word:{tokens[index]}")
                else:
                    self.others.add(tokens[index])
            end = placed[index + max(size, 1) - 1].end
            index += max(size, 1)

    def _claim(self, claims: tuple[str, ...], denying: bool, place: int) -> None:
        if denying:
            self.denied.update(claims)
        else:
            self.said.update(claims)
            self.items[-1].update(claims)
            if place < self.aside:
                self.main.update(claims)

    def _numbered(self, index: int) -> tuple[int, tuple[str, ...]] | None:
        """A segment, vertebra or rib by its number: `segments VII and VIII`, `T12`, `6th rib`."""
        token, number = self.tokens[index], self._number(index + 1)
        if token in ("segment", "segments", "s") and number:
            size, claims = 2, [f"seg:s{number}"]
            while self._word(index + size) in ("to", "and") and (following := self._number(index + size + 1)):
                claims.append(f"seg:s{following}")
                size += 2
            return size, tuple(claims)
        weighted = token == "t" and self._word(index + 2) == "weighted"
        if token in ("t", "l", "c", "th", "d") and number and int(number) <= VERTEBRAE and not weighted:
            spine = {"l": "lumbar_spine", "c": "cervical_spine"}.get(token, "thoracic_spine")
            return 2, (f"vertebra:{token[0]}{number}", f"place:{spine}")
        if token.isdigit() and self._word(index + 1) in ("th", "st", "nd", "rd") and int(token) <= VERTEBRAE:
            return 2, (f"ordinal:{token}",)
        return None

    def _word(self, index: int) -> str:
        return self.tokens[index] if index < len(self.tokens) else ""

    def _number(self, index: int) -> str:
        """The number at a place in digits, Roman numerals included; empty where there is none."""
        word = ROMAN.get(self._word(index), self._word(index))
        return word if word.isdigit() else ""
