"""Rewards of what an answer says: judged by a task, as a choice, by words, by boxes.

An answer that takes its words back, or lists far more than was asked for, earns nothing or little in all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from pydantic import field_validator

from medmvl.rewards.reward import Reward
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.answers.denial import denied_after, denied_before, masked
from medmvl.tasks.judge import judge_record
from medmvl.tasks.judge.claims import read_claims
from medmvl.tasks.metrics.grounding import Corners, find_box, find_boxes, iou
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.text import normalise, placed_words, spell
from medmvl.tasks.protocols import PROTOCOLS, find_protocol

UNCOUNTED = frozenset(
    ("the", "a", "an", "of", "in", "on", "at", "is", "are", "was", "were", "it", "there", "and", "or", "to", "with", "的", "了",
     "在", "于", "有", "是", "为", "和", "或")
)  # fmt: skip
"""Words that carry no claim."""


class TaskJudge(Reward):
    """The verdict of a task's protocol on the answer; `reader` by default, which reads claims against claims.

    Reports have no single verdict: use `findings_f1`. Fooled by: what the protocol is fooled by. `reader` knows its lexicon
    alone: a wrong claim in words outside of it costs little.
    """

    protocol: str = "reader"
    """Name of a protocol with a judge, see `medmvl tasks`."""

    @field_validator("protocol")
    @classmethod
    def _has_a_judge(cls, name: str) -> str:
        if find_protocol(name).judge is None:
            judges = ", ".join(known for known, one in PROTOCOLS.items() if one.judge is not None)
            raise ValueError(f"protocol '{name}' has no judge of single answers; those that have: {judges}")
        return name

    def missing(self, record: Record) -> str | None:
        """A form of question that the protocol has verdicts on."""
        forms = find_protocol(self.protocol).scorers
        return None if record.form in forms else f"a question of the form {' or '.join(forms)}"

    def score(self, record: Record) -> float:
        """The protocol's score, divided by how many times too much an answer lists."""
        judge = find_protocol(self.protocol).judge
        assert judge is not None
        if _takes_back(record) or _hedges(record):
            return 0.0
        return judge(record).score * _share_listed(record)


_SENTENCE_END = re.compile(r"(?<!\d)\.(?!\d)|[!?;\n。！？；]")
_ITEM_END = re.compile(r",|、|，|/|\band\b|\bor\b|和|或|及|与", re.IGNORECASE)


def _share_listed(record: Record) -> float:
    """1, or by how much an answer lists more things than the reference does, one more allowed."""
    return min(1.0, (1 + max(map(_listed, record.references))) / _listed(record.answer))


def _listed(text: str) -> int:
    """Members of the longest list of a text, at least 1."""
    return max(
        sum(bool(part.strip()) for part in _ITEM_END.split(sentence)) or 1
        for sentence in _SENTENCE_END.split(text)
    )


def _hedges(record: Record) -> bool:
    """Whether the answer to a closed question names choices and settles on none, or claims nothing: `yes and no`, `maybe`."""
    if not record.choices or judge_record(record).score or judge_record(record).parsed is not None:
        return False
    said = f" {normalise(record.answer)} "
    named = any(f" {normalise(choice)} " in said for choice in record.choices)
    claims = read_claims(record.answer)
    return named or not (claims.said | claims.denied)


_DENIALS = (
    "not", "not a", "not an", "not the", "no", "isn't", "isn't the", "不 是", "并 非", "没 有", "未 见", "无", "不 在", "非",
)  # fmt: skip
"""Normalised words that deny a whole reference directly after them."""


def _takes_back(record: Record) -> bool:
    """Whether the answer denies every word of the reference that it repeats.

    Words of yes and no are left to their own parser, which reads `yes. It is not yes.` as neither.
    """
    return all(_denies(record.answer, reference, record.question) for reference in record.references)


def _denies(answer: str, reference: str, question: str) -> bool:
    if yes_no_choices(reference, question):
        return False
    said, answered = normalise(reference), f" {normalise(answer)} "
    if said and any(f" {denial} {said} " in answered and not said.startswith(denial) for denial in _DENIALS):
        return True
    spelled, wanted = masked(spell(answer)), spell(reference)
    if any(denied_after(spelled, found.end()) for found in re.finditer(re.escape(wanted), spelled)):
        return True
    own = [item for item in _signed(reference) if item[0] not in UNCOUNTED]
    asked = {word for word, _ in _signed(question)}
    own = [item for item in own if item[0] not in asked] or own
    given = set(_signed(answer))
    flipped = [item for item in own if _flipped(item) in given]
    kept = [item for item in own if item in given and item not in flipped]
    return bool(flipped) and not kept


class ClosedAccuracy(Reward):
    """1 where the answer settles on the right one of a closed set such as yes and no, else 0.

    Fooled by: guessing. A constant answer earns the share of its class; only the no-image control distinguishes that from
    seeing.
    """

    def missing(self, record: Record) -> str | None:
        """Choices without letters."""
        return None if record.choices and record.form != "choice" else "a closed set of answers"

    def score(self, record: Record) -> float:
        """Naming none or several is wrong."""
        return 0.0 if _takes_back(record) else _settled(record)


class Choice(Reward):
    """1 where the answer settles on the right option of a multiple choice, by letter or by text, else 0.

    Fooled by: guessing, and options whose length or position gives the right one away.
    """

    def missing(self, record: Record) -> str | None:
        """Lettered options."""
        return None if record.form == "choice" and record.letter is not None else "lettered options"

    def score(self, record: Record) -> float:
        """Naming none or several is wrong."""
        return 0.0 if _takes_back(record) else _settled(record)


def _settled(record: Record) -> float:
    """By `strict`'s reading; an answer that denies what it names settles on nothing."""
    return judge_record(record).score


class TokenF1(Reward):
    """Overlap of words with the reference, each word affirmed or denied as it is there.

    A word both affirmed and denied is no hit, words of the question do not count, and a list longer than the reference's is
    worth less. Fooled by: fluent text of the right topic. Reports are mostly alike, so it refuses them: use `findings_f1`.
    """

    def missing(self, record: Record) -> str | None:
        """An open answer."""
        if record.form == "report":
            return "an answer that is no report (most words of reports are alike)"
        return None if record.form == "open" else "an open answer (a closed one is right or wrong)"

    def score(self, record: Record) -> float:
        """The best over the references."""
        if _takes_back(record):
            return 0.0
        overlap = max(_overlap(record.answer, reference, record.question) for reference in record.references)
        return overlap * _share_listed(record)


def _overlap(answer: str, reference: str, question: str) -> float:
    """F1 of words with their polarity; only words of the reference that the question does not say can be hit."""
    asked = {word for word, _ in _signed(question)}
    wanted = Counter(item for item in _signed(reference) if item[0] not in asked) or Counter(
        _signed(reference)
    )
    given = Counter(item for item in _signed(answer) if item[0] not in asked or item in wanted)
    hedged = {(word, denied) for word, denied in given if (word, not denied) in given}
    hits = sum(
        count for item, count in (wanted & given).items() if item not in hedged or _flipped(item) in wanted
    )
    return 2 * hits / (sum(wanted.values()) + sum(given.values())) if hits else 0.0


def _flipped(item: tuple[str, bool]) -> tuple[str, bool]:
    return item[0], not item[1]


@lru_cache(maxsize=4096)
def _signed(text: str) -> tuple[tuple[str, bool], ...]:
    """The words of a text, each with whether its clause denies it."""
    spelled = spell(text)
    plain, found = masked(spelled), placed_words(spelled)
    nothing = [False] * len(found)
    return tuple(
        (
            word.text,
            denied_before(plain, word.start, found, place, nothing) or denied_after(plain, word.end),
        )
        for place, word in enumerate(found)
    )


class BoxIoU(Reward):
    """Overlap of the one box that the answer names with the true one, above what the whole image would have.

    Boxes are read in the formats of `medmvl.tasks.metrics.grounding`, 2D and 3D. Naming several boxes earns nothing. Fooled
    by: a box at the usual place of its organ; only the control of another patient's image distinguishes that from seeing.
    """

    def missing(self, record: Record) -> str | None:
        """A true box: its own, or one in the reference."""
        return "a true box" if _true_box(record) is None else None

    def score(self, record: Record) -> float:
        """IoU, corrected for the share of the image that the true box fills."""
        truth, named = _true_box(record), set(find_boxes(record.answer))
        if truth is None or len(named) != 1:
            return 0.0
        (box,) = named
        if len(box) != len(truth):
            return 0.0
        half = len(truth) // 2
        whole = iou(truth, (0.0,) * half + (1.0,) * half)
        return max(0.0, (iou(box, truth) - whole) / (1 - whole)) if whole < 1 else iou(box, truth)


def _true_box(record: Record) -> Corners | None:
    """The true box as shares of the image, in array order."""
    if record.box is not None and record.image_size is not None:
        (x0, y0, x1, y1), (width, height) = record.box, record.image_size
        return y0 / height, x0 / width, y1 / height, x1 / width
    return find_box(record.references[0])
