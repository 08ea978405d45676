"""How the claims of an answer relate to those of a reference, facet by facet, given what the question says itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from medmvl.tasks.judge.claims import Claims, closure, values_of
from medmvl.tasks.judge.question import Question

Relation = Literal[
    "same", "known", "part", "beyond", "mixed", "against", "coarser", "finer", "missing", "extra"
]
"""What an answer says in one facet, compared with the reference.

Same: the same. Known: only what the question says itself. Part: some of it. Beyond: all of it and more. Mixed: some of it and
other values. Against: other values only. Coarser: a whole that contains it. Finer: a part of it. Missing: nothing. Extra:
something where the reference says nothing.
"""

ORDERED = (
    "side", "level", "zone", "depth", "course", "seg", "vertebra", "ordinal", "extent", "state", "size", "degree", "change",
    "symmetry",
    "nature", "matter", "edge", "shape", "count", "direction", "modality", "plane", "view", "sequence", "contrast", "sex",
    "colour",
)  # fmt: skip
BACKGROUND = frozenset(
    ("lung", "chest", "parenchyma", "wall", "lumen", "vessel", "fat", "junction", "corpus", "pole", "cortex", "abdomen",
     "lymph_node", "airspace", "pleural_space", "bone")
)  # fmt: skip
"""Places too general to be missed, or to count as added."""
AGREEING = {"state": frozenset(("normal", "open"))}
"""Values of a facet that agree with each other: a vessel that is open is normal."""


@dataclass(frozen=True)
class Comparison:
    """One facet of an answer next to the reference's."""

    facet: str
    relation: Relation
    wanted: frozenset[str]
    given: frozenset[str]

    @property
    def why(self) -> str:
        """The comparison in words, such as `side: right against left`."""
        wanted, given = _spoken(self.wanted), _spoken(self.given)
        return f"{self.facet}: " + WORDING[self.relation].format(wanted=wanted, given=given)


WORDING: dict[Relation, str] = {
    "same": "{given}",
    "known": "{given}, as the question says",
    "part": "{given}, only a part of {wanted}",
    "beyond": "{given}, more than {wanted}",
    "mixed": "{given} against {wanted}",
    "against": "{given} against {wanted}",
    "coarser": "{given}, less exact than {wanted}",
    "finer": "{given}, more exact than {wanted}",
    "missing": "{wanted} not said",
    "extra": "{given} added",
}


def _spoken(values: frozenset[str]) -> str:
    return " and ".join(sorted(value.replace("_", " ") for value in values)) or "nothing"


def compare(question: Question, reference: Claims, answer: Claims) -> Iterator[Comparison]:
    """Every facet in which reference or answer say something that the question does not say itself."""
    others = _other_part(question, reference, answer)
    if others is not None:
        yield others
    if _exchanged(reference, answer):
        yield Comparison("sides and levels", "against", _bound(reference), _bound(answer))
    for facet in ORDERED:
        known, wanted, given = question.claims.values(facet), reference.values(facet), answer.values(facet)
        if question.alternatives and wanted and given:
            known -= wanted ^ given
        found = _ordered(facet, known, wanted, values_of(reference.main, facet), given, question.alternatives)
        if found is not None and not (found == "extra" and not answer.named(facet) - known):
            yield Comparison(facet, found, wanted, given)
    for facet in ("place", "finding"):
        things = _things(facet, question, reference, answer)
        if things is not None:
            yield things


def _other_part(question: Question, reference: Claims, answer: Claims) -> Comparison | None:
    """Parts named in different facets, such as `anterior segment` (depth) and `apex` (zone): they contradict each other."""
    known = frozenset() if question.alternatives else _parts(question.claims)
    wanted, given = _parts(reference) - known, _parts(answer) - known
    if not wanted or not given or wanted & given:
        return None
    facets = {claim.partition(":")[0] for claim in wanted} & {claim.partition(":")[0] for claim in given}
    return None if facets else Comparison("part", "against", _bare(wanted), _bare(given))


def _exchanged(reference: Claims, answer: Claims) -> bool:
    """Whether the same sides and levels are paired differently: left upper and right lower for right upper and left lower."""
    same = all(reference.values(facet) == answer.values(facet) for facet in ("side", "level"))
    bound = all(
        len({pair[place] for pair in claims.pairs}) > 1 for claims in (reference, answer) for place in (0, 1)
    )
    return same and bound and reference.pairs != answer.pairs


def _bound(claims: Claims) -> frozenset[str]:
    return frozenset(f"{side} {level}" for side, level in claims.pairs)


def _parts(claims: Claims) -> frozenset[str]:
    """Claims that name a part of a lobe or organ."""
    return frozenset(
        claim
        for claim in closure(claims.said)
        if claim.startswith(("depth:", "course:", "seg:")) or claim in ("zone:apex", "zone:base")
    )


def _bare(claims: frozenset[str]) -> frozenset[str]:
    return frozenset(claim.partition(":")[2] for claim in claims)


def _ordered(
    facet: str,
    known: frozenset[str],
    wanted: frozenset[str],
    main: frozenset[str],
    given: frozenset[str],
    alternatives: bool = False,
) -> Relation | None:
    if not wanted:
        return "extra" if given - known else None
    if not given:
        return "missing" if (main or wanted) - known else None
    if wanted == given or (main and main <= given <= wanted):
        return "same" if wanted - known else "known"
    if facet in AGREEING and wanted <= AGREEING[facet] and given <= AGREEING[facet]:
        return "same"
    if facet == "side" and "one" in wanted | given:
        return _one_side(wanted, given, alternatives)
    if facet == "zone" and closure(_claims(facet, given)) & _claims(facet, wanted):
        nested = _nested(wanted, given)
        if nested:
            return "same" if alternatives else nested
    if given < wanted:
        return "part" if (wanted - given) - known else "known"
    if given > wanted:
        return "beyond" if (given - wanted) - known else "same"
    return "mixed" if given & wanted else "against"


def _claims(facet: str, values: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{facet}:{value}" for value in values)


def _one_side(wanted: frozenset[str], given: frozenset[str], alternatives: bool) -> Relation:
    """`unilateral` next to left or right: both mean one side, and only one of them says which."""
    sides = (wanted | given) - {"one"}
    if len(sides) != 1:
        return "against"
    return "same" if "one" in wanted or alternatives else "coarser"


def _nested(wanted: frozenset[str], given: frozenset[str]) -> Relation | None:
    """Zones within zones: subpleural is peripheral."""
    if given < wanted and wanted - given <= {"subpleural", "hilar"}:
        return "coarser"
    if given > wanted and given - wanted <= {"subpleural", "hilar"}:
        return "same"
    return None


def _leaves(said: frozenset[str], facet: str) -> frozenset[str]:
    """The most specific values that are named: a segment, not its lobe."""
    named = {claim for claim in closure(said) if claim.startswith(facet + ":")}
    above = {claim for one in named for claim in closure(frozenset((one,))) if claim != one}
    return frozenset(claim.partition(":")[2] for claim in named - above)


def _above(facet: str, leaf: str) -> frozenset[str]:
    return values_of(frozenset((f"{facet}:{leaf}",)), facet) - {leaf}


def _things(facet: str, question: Question, reference: Claims, answer: Claims) -> Comparison | None:
    """Places or findings of both: values may contain one another, and an answer may name several."""
    known = question.claims.values(facet)
    named, said = _leaves(reference.said, facet), _leaves(answer.said, facet)
    if question.alternatives and named and said:
        known -= named ^ said
    wanted, given = named - known - BACKGROUND, said - known - BACKGROUND
    if not wanted and not given:
        return _understood(facet, named, said)
    hit = frozenset(leaf for leaf in wanted if leaf in answer.values(facet))
    coarse = frozenset(leaf for leaf in wanted - hit if _above(facet, leaf) & given)
    within = named & (known | BACKGROUND) - {"chest", "abdomen", "lung"}
    finer = frozenset(
        leaf for leaf in given if leaf not in wanted and _above(facet, leaf) & (wanted | within)
    )
    foreign = frozenset(leaf for leaf in given if leaf not in reference.values(facet)) - finer
    return Comparison(facet, _relation(wanted, given, hit, coarse, finer, foreign), wanted, given)


def _understood(facet: str, named: frozenset[str], said: frozenset[str]) -> Comparison | None:
    """What both say where neither goes beyond the question and general places; None where they share nothing."""
    both = named & said
    return Comparison(facet, "known", both, both) if both else None


def _relation(
    wanted: frozenset[str],
    given: frozenset[str],
    hit: frozenset[str],
    coarse: frozenset[str],
    finer: frozenset[str],
    foreign: frozenset[str],
) -> Relation:
    if not wanted:
        return "finer" if finer and not foreign else "extra"
    if not given and not hit:
        return "missing"
    if foreign:
        return "beyond" if hit == wanted else "mixed" if hit or coarse or finer else "against"
    if hit == wanted:
        return "finer" if finer else "same"
    if hit:
        return "part"
    return "coarser" if coarse else "finer" if finer else "missing"
