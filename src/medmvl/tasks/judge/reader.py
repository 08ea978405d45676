"""Judging as a careful reader: what does the answer claim, and does that agree with the reference, given the question?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medmvl.tasks.answers import visible_answer
from medmvl.tasks.answers.contrast import affirmed_part, closed_part, names_normal
from medmvl.tasks.answers.one_form import image_in_one_form, results_in_one_form, signed_names
from medmvl.tasks.judge.claims import Claims, read_claims, values_of
from medmvl.tasks.judge.compare import Comparison, Relation, compare
from medmvl.tasks.judge.numbers import AGREES_PARTLY, NOT_SAID, compare_numbers
from medmvl.tasks.judge.question import Question, read_question
from medmvl.tasks.metrics.text import spell_with_case

Verdict = Literal["right", "partly", "wrong"]
RIGHT, PARTLY = 0.7, 0.3
"""Lowest scores of a right and of a partly right answer."""
MAIN = frozenset(
    ("sides and levels", "part", "side", "level", "place", "state", "nature", "number", "vertebra", "ordinal")
)
SEGMENT = frozenset(("seg", "depth", "course", "zone"))
DETAIL = frozenset(("zone", "depth", "course", "seg", "finding"))
PLACES = frozenset(("side", "level", "segment", "where"))
"""What a question can ask for that an answer meets by naming a place."""
KINDS = frozenset(("modality", "sequence"))
"""What a question can ask for of which contrast is a part: CT with contrast is not CT without."""
FACTORS: dict[Relation, tuple[float, float, float]] = {
    "same": (1.0, 1.0, 1.0),
    "known": (1.0, 1.0, 1.0),
    "coarser": (0.65, 0.9, 1.0),
    "finer": (0.5, 0.8, 1.0),
    "part": (0.4, 0.6, 0.9),
    "beyond": (0.25, 0.6, 0.9),
    "mixed": (0.1, 0.4, 0.85),
    "against": (0.05, 0.25, 0.8),
    "missing": (0.75, 0.86, 0.98),
    "extra": (0.45, 0.72, 0.95),
}
"""Factors on the score by relation: for main facets, for details, and for qualities."""
MISSED = {
    "level": 1.0,
    "place": 1.0,
    "state": 1.0,
    "vertebra": 1.0,
    "zone": 0.7,
    "seg": 0.8,
    "depth": 0.5,
    "course": 0.5,
    "finding": 0.5,
}
"""Weight of a missing claim by facet; a claim that the answer makes weighs 1."""


@dataclass(frozen=True)
class Reading:
    """A verdict and its reason."""

    verdict: Verdict
    score: float
    """Score from 0 to 1."""
    why: str
    """Reason: relations facet by facet, such as `side: right against left`."""


def read_answer(question: str, answer: str, reference: str) -> Reading:
    """Judge an answer to a question by its reference, in English or Chinese.

    The steps: claims of all three texts are read; each facet is compared; a closed question is judged by yes or no first; else
    the share of the reference's claims that the answer makes is multiplied by one factor per facet.
    """
    asked = read_question(question)
    reference, answer = _alike(asked, reference, _about(asked, question, visible_answer(answer), reference))
    score, why = _score(asked, read_claims(reference), read_claims(answer))
    verdict: Verdict = "right" if score >= RIGHT else "partly" if score >= PARTLY else "wrong"
    return Reading(verdict, round(score, 3), why)


def _about(asked: Question, question: str, answer: str, reference: str) -> str:
    """What an answer says of the place that was asked about, or of where something is."""
    if asked.asked & PLACES and not any(map(names_normal, (question, reference))):
        return affirmed_part(answer)
    return closed_part(answer, question) if asked.closed and not asked.alternatives else answer


def _alike(question: Question, reference: str, answer: str) -> tuple[str, str]:
    """Both texts with what they say of the image under one name, and results as signs (`ER+`) where one has such a sign."""
    reference, answer = (image_in_one_form(text, question.asked) for text in (reference, answer))
    spelled = spell_with_case(reference), spell_with_case(answer)
    names = signed_names(spelled)
    if not names:
        return reference, answer
    return results_in_one_form(spelled[0], names), results_in_one_form(spelled[1], names)


def _score(question: Question, reference: Claims, answer: Claims) -> tuple[float, str]:
    if not answer.words:
        return 0.0, "no answer"
    if answer.words == reference.words:
        return 1.0, "the same words"
    if answer.names_everything:
        return 0.02, "names everything"
    if question.denies:
        reference, answer = reference.affirmed(), answer.affirmed()
    reference, answer = reference.completed(question.claims), answer.completed(question.claims)
    found = [
        c
        for c in compare(question, reference, answer)
        if c.facet != "count" or not question.counts or not (reference.quantities or answer.quantities)
    ]
    if question.closed:
        closed = _closed(question, reference, answer, found)
        if closed is not None:
            return closed
    return _open(question, reference, answer, found)


def _closed(
    question: Question, reference: Claims, answer: Claims, found: Sequence[Comparison]
) -> tuple[float, str] | None:
    """Score by yes or no; None where the answer says neither."""
    truth, said = reference.polarity, answer.polarity
    if truth is None and reference.opens is False and said is None:
        return None
    said = _stated(question, answer) if said is None and not question.alternatives else said
    truth = _normality(question, reference, truth)
    said = _normality(question, answer, said)
    if said is None:
        return None
    if truth is None:
        if question.alternatives:
            return (0.1, "yes or no to one of two") if answer.opens and said and not answer.said else None
        truth = not (reference.values("state") & {"normal"} and not question.claims.values("state"))
    if truth != said:
        return 0.0, f"polarity: {_yes(said)} against {_yes(truth)}"
    if not said:
        return 0.98, "polarity: no"
    details = [c for c in found if c.facet in MAIN | DETAIL]
    if question.asks_more:
        score, why = _open(question, reference, answer, found)
        return score, "polarity: yes; " + why
    wrong = [c for c in details if c.relation in ("against", "mixed", "part", "beyond")]
    if wrong:
        return 0.2, "polarity: yes; " + "; ".join(c.why for c in wrong)
    added = [c for c in details if c.relation == "extra" and c.facet in MAIN]
    return (0.6, "polarity: yes; " + "; ".join(c.why for c in added)) if added else (0.95, "polarity: yes")


def _stated(question: Question, answer: Claims) -> bool | None:
    """Yes or no by what an answer states: `normal` means no, a finding or place means yes; None where it states nothing."""
    if answer.refuses or not (answer.said or answer.others):
        return None
    return not ("normal" in answer.values("state") and not question.claims.values("state"))


def _normality(question: Question, claims: Claims, polarity: bool | None) -> bool | None:
    """Polarity where the question asks whether something is normal: `normal` means yes, `abnormal` or a finding no."""
    if claims.opens or "normal" not in question.claims.values("state") or question.alternatives:
        return polarity
    if claims.values("state"):
        return "normal" in claims.values("state") and "abnormal" not in claims.values("state")
    known = question.claims.values("finding")
    if claims.values("finding") - known:  # `cardiomegaly` says that the heart is not normal
        return False
    if values_of(claims.denied, "finding") - known:
        return True
    return polarity


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _open(
    question: Question, reference: Claims, answer: Claims, found: Sequence[Comparison]
) -> tuple[float, str]:
    """Score of an open answer: coverage times a factor per facet; low where nothing agrees."""
    if answer.refuses and not reference.refuses:
        return 0.03, "no answer given"
    if reference.polarity is False and not question.denies and _denies_alike(reference, answer):
        return 0.9, "denies the same"
    numbers = compare_numbers(question, reference, answer)
    if numbers is not None and numbers[0] == 1 and "number" in question.asked and not reference.said:
        found = [
            c for c in found if c.relation != "extra"
        ]  # only a number was asked for: where it is may be added
    score = _coverage(question, found)
    for comparison in found:
        score *= _factor(question, comparison, found)
    if numbers is not None:
        score *= numbers[0]
    why = "; ".join([c.why for c in found] + ([numbers[1]] if numbers else []))
    if not _answers(question, found) and not (numbers and numbers[0] >= AGREES_PARTLY):
        return score * max(
            _words(reference, answer), 0.25 if any(c.relation == "known" for c in found) else 0.0
        ), why or "words in common"
    return score, why


def _answers(question: Question, found: Sequence[Comparison]) -> bool:
    """Whether anything in the answer agrees beyond what the question says itself."""
    if any(c.relation in ("same", "coarser", "finer", "part", "beyond", "mixed") for c in found):
        return True
    known = [c for c in found if c.relation == "known"]
    return bool(known) and (
        question.alternatives or not any(c.relation in ("missing", "against") for c in found)
    )


def _denies_alike(reference: Claims, answer: Claims) -> bool:
    """Whether the answer denies what the reference denies, or says `normal` where the reference denies findings."""
    if answer.polarity is False:
        return bool(reference.denied & answer.denied) or not answer.said
    return answer.values("state") == {"normal"} and not reference.values("state")


def _factor(question: Question, comparison: Comparison, found: Sequence[Comparison]) -> float:
    """The factor of one facet."""
    facet, relation = comparison.facet, comparison.relation
    if relation == "missing":
        if _is_asked(question, facet):
            return NOT_SAID
        return 0.5 if question.asks_more and facet in MAIN else 1.0
    if relation == "extra":
        if facet == "zone" and _zone_of_level(comparison, found):
            return 0.93
        if facet == "level" and len(comparison.given) > 1 and _agreed(found, "side"):
            return 0.9 if len(comparison.given) > 2 else 0.6
        if facet == "side" and len(comparison.given) > 1:
            return 0.65
    asked = facet in question.asked or (
        facet == "contrast" and relation == "against" and question.asked & KINDS
    )
    place = 0 if facet in MAIN or asked else 1 if facet in DETAIL else 2
    return FACTORS[relation][place]


def _is_asked(question: Question, facet: str) -> bool:
    return facet in question.asked or (facet in SEGMENT and "segment" in question.asked)


def _coverage(question: Question, found: Sequence[Comparison]) -> float:
    """Share of the reference's claims that the answer makes; where all that was asked for is there, the rest is not missed."""
    missing = sum(_missed(c) for c in found if c.relation == "missing" and not _is_asked(question, c.facet))
    if not missing:
        return 1.0
    if (question.alternatives or _asked_is_met(question, found)) and not question.asks_more:
        return 0.97
    made = sum(
        1.0
        for c in found
        if c.relation in ("same", "finer", "coarser", "part", "beyond") and c.facet in MAIN | {"zone"}
    )
    return float((max(made, 0.5) / (max(made, 0.5) + missing)) ** 0.7)


def _missed(comparison: Comparison) -> float:
    """Weight of a missing claim."""
    if comparison.facet == "side":
        return 0.2 if len(comparison.wanted) > 1 else 0.9
    return MISSED.get(comparison.facet, 0.02)


def _asked_is_met(question: Question, found: Sequence[Comparison]) -> bool:
    asked = [
        facet for facet in question.asked if facet in ("side", "level", "zone", "depth", "course", "place")
    ]
    met = {c.facet for c in found if c.relation in ("same", "known")}
    return bool(asked) and all(facet in met for facet in asked) and "segment" not in question.asked


def _agreed(found: Sequence[Comparison], facet: str) -> bool:
    return any(c.facet == facet and c.relation in ("same", "known") for c in found)


def _zone_of_level(comparison: Comparison, found: Sequence[Comparison]) -> bool:
    """Whether a zone says no more than a level that agrees: the base of the lung is its lower part."""
    return comparison.wanted | comparison.given <= {"base", "apex"} and _agreed(found, "level")


def _words(reference: Claims, answer: Claims) -> float:
    """Overlap of words outside the lexicon and of bare numbers: shared ones over all."""
    wanted, given = (
        claims.others | {str(one) for one in claims.quantities if not one.dimension}
        for claims in (reference, answer)
    )
    return len(wanted & given) / len(wanted | given) if wanted | given else 0.0
