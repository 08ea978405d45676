"""A labeler that anyone can read: phrases of each finding, and words that deny or doubt them within a clause.

The method is NegEx (Chapman et al., 2001) over short tables. It is no replacement for a trained labeler; it
is the same everywhere, needs no weights, and every decision can be looked up with `explain`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Mention = Literal["present", "uncertain", "absent"]

IGNORED = (
    r"no (?:significant |interval |relevant )?(?:change|increase|decrease|growth)",
    r"not only",
    r"without (?:significant )?change",
    r"not significantly changed",
    r"no longer than",
    r"(?:without|no) (?:iv |intravenous |oral )?(?:contrast|gadolinium)",
    r"no (?:priors|(?:relevant )?(?:prior|previous) (?:stud\w+|exam\w*|imaging|images?|films?|ct|radiographs?)|comparisons?)",
    r"无(?:明显|显著)?(?:变化|改变)",
    r"未见(?:明显)?(?:变化|改变)",
)
"""Phrases that look like denials and are not."""
DENIED_BEFORE = (
    r"no",
    r"not",
    r"without",
    r"free of",
    r"negative for",
    r"absence of",
    r"absent",
    r"neither",
    r"nor",
    r"never",
    r"rather than",
    r"ruled? out",
    r"resolution of",
    r"resolved",
    r"clear of",
    r"cannot see",
    r"denies",
    r"removal of",
    r"未见",
    r"未发现",
    r"未显示",
    r"无",
    r"没有",
    r"并无",
    r"排除",
    r"不见",
    r"未",
)
"""Deny what follows in their clause."""
_SEEN = (
    r"(?:clearly |definitely |currently )?(?:seen|observed|detected|found|identified|present|evident|visible|visuali[sz]ed"
    r"|appreciated|demonstrated|noted|apparent|there)"
)
DENIED_AFTER = (
    rf"(?:not|no longer) {_SEEN}(?! (?:previously|before|on (?:the )?(?:prior|previous)))",
    r"(?:been|was|were|is|are) removed",
    r"removed\s*$",
    r"(?:is|are|was|were) absent",
    r"(?:is|are|was|were|has|have) (?:been )?(?:now )?(?:resolved|ruled out|excluded)",
    r"未见(?:明显)?(?:显示|异常)?\s*$",
    r"消失",
    r"已(?:完全)?吸收",
    r"不明显",
    r"未显示\s*$",
)
"""Deny what comes before them in their clause. `Is not calcified` denies no nodule, 骨折未见移位 no fracture."""
_DENIED_DIRECTLY = re.compile(
    r"\s*(?:(?:is|are|was|were) )?(?:none|negative|absent|nil|\(\s*-\s*\))(?!\w|\s+for\b)", re.IGNORECASE
)
_ASKED_FOR = re.compile(
    r"(?:\bhistory of|\bh/o|\b(?:evaluat|assess)\w* for|\brule out|\br/o) (?:\w+ ){0,2}$", re.IGNORECASE
)
"""Directly before a finding that was, or is looked for."""
_OTHER_SECTIONS = re.compile(
    r"(?:(?<=^)|(?<=\n)|(?<=\. ))\s*(?:indications?|(?:clinical )?history|reason for \w+|comparison|technique)"
    r"\s*:[^.\n]*(?:\.|\n|$)",
    re.IGNORECASE,
)
"""Sections that say why and how, not what is there."""
_LABELLED = re.compile(r"[:?]\s*(?:none|no|negative|absent|nil|not \w+)\s*(?=[.;,\n]|$)", re.IGNORECASE)
"""The value of `pleural effusion: none`."""
DOUBTED = (
    r"possibl[ey]",
    r"possibility of",
    r"probabl[ey]",
    r"may",
    r"might",
    r"could",
    r"suspected",
    r"suspicio(?:n|us)",
    r"questionable",
    r"suggest(?:s|ed|ing|ive)?",
    r"likely",
    r"cannot be (?:excluded|ruled out)",
    r"can not be (?:excluded|ruled out)",
    r"(?:cannot|can not|can't|could not|unable to) (?:exclude|rule out)",
    r"not excluded",
    r"versus",
    r"differential",
    r"could represent",
    r"可能",
    r"疑似",
    r"可疑",
    r"不除外",
    r"不能排除",
    r"待排",
    r"考虑",
)
"""Doubt a finding anywhere in its clause; read before denials, so that `cannot be excluded` denies nothing."""
CLAUSE_END = re.compile(
    r"(?<!\d)\.(?!\d)|[;:!?。；：！？，\n]|但|然而|除了|可见"
    r"|\b(?:but|however|although|though|except|whereas|while|yet|apart from|other than|there (?:is|are|was|were))\b"
)
"""A denial or doubt reaches no further than this; a Chinese comma ends it, an English one before something new (`_NEW`)."""
_STATED = (
    r"(?:small|tiny|trace|mild|minimal|moderate|large|severe|slight|new|stable|unchanged|persist\w+|increas\w+|worsen\w+"
    r"|improv\w+|residual|patchy|diffuse|multiple|several|few|bilateral|left|right|old|healed|chronic|known|an?|\d+)"
)
_NEW = re.compile(
    rf",\s*(?:(?:and|with)\s+)?(?={_STATED}\b)|\s(?:with|and)\s(?=(?:an?\s)?(?:new|stable|unchanged|persist\w+|known)\b)"
)
"""Where a list of denied findings ends and something stated begins: `no pneumothorax, small effusion`."""
_ENDS_OPEN = re.compile(rf"\b(?:no|not|without|{_STATED})$")
_LISTED = re.compile(r"\b(?:n?or)\b")
_COMMA_ENDS = re.compile(r"^\s*without\b|\bdenies\b")
"""Denials that a comma always ends: `without fever, the mass ...`."""


@dataclass(frozen=True)
class FindingRule:
    """How one finding is written."""

    name: str
    phrases: tuple[str, ...]
    """Regular expressions; English ones begin at a word."""
    others: tuple[str, ...] = ()
    """Text that looks like the finding and is something else; removed first."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """All phrases in one expression."""
        return _any(self.phrases)

    @cached_property
    def taken_out(self) -> re.Pattern[str] | None:
        """All of `others` in one expression."""
        return _any(self.others) if self.others else None


@dataclass(frozen=True)
class Evidence:
    """Why a finding is called what it is called."""

    mention: Mention
    clause: str
    phrase: str


class RuleLabeler:
    """Labels by `FindingRule`s."""

    def __init__(
        self, rules: Sequence[FindingRule], *, nothing: str | None = None, uncounted: Sequence[str] = ()
    ) -> None:
        """Make a labeler.

        Args:
            rules: one per finding.
            nothing: name of a label that is 1 where no finding is.
            uncounted: findings that do not count for `nothing`.
        """
        self.rules = tuple(rules)
        self.nothing, self.uncounted = nothing, frozenset(uncounted)

    @property
    def names(self) -> tuple[str, ...]:
        """The findings, and the label of their absence if there is one."""
        return (*(rule.name for rule in self.rules), *([self.nothing] if self.nothing else []))

    def label(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """1 where a finding is present or uncertain, else 0."""
        return [self._label(text) for text in texts]

    def contradicted(self, text: str) -> set[str]:
        """Findings that are said to be there and, of the same place or of none, not to be there."""
        clauses = split_clauses(text)
        found = set()
        for rule in self.rules:
            mentions = [evidence for clause in clauses for evidence in _mentions(rule, clause)]
            there = [_places(one.clause) for one in mentions if one.mention == "present"]
            denied = [_places(one.clause) for one in mentions if one.mention == "absent"]
            if any(not place or place & other for place in denied for other in there):
                found.add(rule.name)
        return found

    def explain(self, text: str) -> dict[str, Evidence]:
        """The strongest mention of every finding that is mentioned: present before uncertain before absent."""
        clauses = split_clauses(text)
        found: dict[str, Evidence] = {}
        for rule in self.rules:
            mentions = [evidence for clause in clauses for evidence in _mentions(rule, clause)]
            if mentions:
                found[rule.name] = min(mentions, key=lambda evidence: _ORDER.index(evidence.mention))
        return found

    def _label(self, text: str) -> dict[str, float]:
        found = self.explain(text)
        there = {name for name, evidence in found.items() if evidence.mention != "absent"}
        labels = {rule.name: float(rule.name in there) for rule in self.rules}
        if self.nothing:
            labels[self.nothing] = float(not there - self.uncounted)
        return labels


_PLACE = re.compile(
    r"\b(?:left|right|bilateral|upper|middle|lower|apical|basal|mild|small|large|moderate|severe|new|acute|old|chronic)\b"
    r"|[左右双上中下大小新旧]"
)
"""Words by which two mentions of a finding may be about different ones."""


def _places(clause: str) -> frozenset[str]:
    return frozenset(_PLACE.findall(clause))


def split_clauses(text: str) -> list[str]:
    """A report's clauses in lower case, each of which a denial or a doubt may reach as a whole."""
    marked = _LABELLED.sub(" absent;", _OTHER_SECTIONS.sub(" ", text))
    clauses = [clause.strip().lower() for clause in CLAUSE_END.split(marked) if clause and clause.strip()]
    return [part for clause in clauses for part in _split_list(clause)]


def _split_list(clause: str) -> list[str]:
    """The parts of a clause: where a list of denied findings ends, the next part is stated."""
    denial = _BEFORE.search(clause)
    if denial is None:
        return [clause]
    if _COMMA_ENDS.search(clause) and "," in clause:
        return [part for part in clause.split(",") if part.strip()]
    for match in _NEW.finditer(clause, denial.end()):
        is_open = _ENDS_OPEN.search(clause[: match.start()].rstrip()) is not None
        if not is_open and _LISTED.search(clause, match.start()) is None:
            return [clause[: match.start()], *_split_list(clause[match.end() :])]
    return [clause]


_ORDER: tuple[Mention, ...] = ("present", "uncertain", "absent")


def _mentions(rule: FindingRule, clause: str) -> list[Evidence]:
    if rule.pattern.search(clause) is None:
        return []
    if rule.taken_out is not None:
        clause = rule.taken_out.sub(" # ", clause)
    plain = _IGNORED.sub(" # ", clause)
    doubt = _DOUBTED.search(plain)
    certain = _DOUBTED.sub(" # ", plain)
    evidence = []
    for match in rule.pattern.finditer(certain):
        before, after = certain[: match.start()], certain[match.end() :]
        denied = (
            _BEFORE.search(before)
            or _AFTER.search(after)
            or _DENIED_DIRECTLY.match(after)
            or _ASKED_FOR.search(before)
            or _BEFORE.search(match.group())
        )
        mention: Mention = "absent" if denied else "uncertain" if doubt else "present"
        evidence.append(Evidence(mention, clause, match.group()))
    return evidence


def _any(expressions: Sequence[str]) -> re.Pattern[str]:
    """One expression for all; those that begin with a Latin letter begin, and where they can end, at a word."""
    return re.compile(
        "|".join(rf"\b(?:{e})" if e[0].isascii() else f"(?:{e})" for e in expressions), re.IGNORECASE
    )


def _cues(expressions: Sequence[str]) -> re.Pattern[str]:
    """Whole words only, so that `no` is not in `nodule`."""
    return re.compile(
        "|".join(rf"\b(?:{e})\b" if e[0].isascii() else f"(?:{e})" for e in expressions), re.IGNORECASE
    )


_IGNORED, _BEFORE, _AFTER, _DOUBTED = (
    _cues(table) for table in (IGNORED, DENIED_BEFORE, DENIED_AFTER, DOUBTED)
)
