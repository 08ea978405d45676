"""Attacks: answers that nobody could call right, written from the data alone, to see whether a reward pays them.

Each attack gives one or more variants of an answer, such as lengths of padding; what it earns is the mean of its best
variant. Words are English or Chinese, by the record's language.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Literal

from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.labelers import Labeler
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.text import has_chinese, normalise, words

Bound = Literal["control", "honest"]

TEMPLATE = {
    "en": "The image was reviewed and clinical correlation is recommended. No acute abnormality.",
    "zh": "影像已阅，请结合临床。未见明显异常。",
}
FILLER = {
    "en": (
        "The image was reviewed.", "Clinical correlation is recommended.", "The technique is adequate.",
        "Comparison with earlier studies is advised.", "The patient was positioned as usual.",
        "All available planes were considered.", "Follow-up may be considered.", "The quality is diagnostic.",
    ),
    "zh": (
        "影像已阅。", "请结合临床。", "扫描技术符合要求。", "建议与既往检查对比。",
        "体位符合常规。", "各平面均已观察。", "可考虑随访。", "图像质量可供诊断。",
    ),
}  # fmt: skip
LENGTHS = (10, 60, 250)
"""Words to which an answer is padded."""
FEW = 3
"""Fewest answers of other patients from which usual answers of a question, or else of its group, are counted."""
CONSTANTS = 6
"""Number of usual answers that are tried, each as the answer to all."""


@dataclass(frozen=True)
class DataView:
    """What an attacker knows of the data: the questions, and how answers are usually worded."""

    records: Sequence[Record]
    """Records whose text is the reference."""
    affirmed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sentences by language, one per finding, that say it is there."""
    denied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sentences by language, one per finding, that say it is not there."""

    def __post_init__(self) -> None:
        """Count the answers to each question and of each group."""
        by_question: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        by_group: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        for record in self.records:
            by_question[(*_group(record), normalise(record.question))].append(record)
            by_group[_group(record)].append(record)
        object.__setattr__(self, "_questions", by_question)
        object.__setattr__(self, "_groups", by_group)

    def peers(self, record: Record) -> list[Record]:
        """Records with the same question, where enough are of other patients, else those of the same group."""
        same: list[Record] = self.__dict__["_questions"][(*_group(record), normalise(record.question))]
        enough = sum(not _same_patient(one, record) for one in same) >= FEW
        return same if enough else self.__dict__["_groups"][_group(record)]

    def others(self, record: Record) -> list[Record]:
        """The peers that are of other patients."""
        return [one for one in self.peers(record) if not _same_patient(one, record)]

    def constants(self, record: Record) -> list[str]:
        """The most frequent answers among the peers: what can be said without looking.

        The record itself counts, where there are others enough: without it, the commonest answer of balanced classes would
        always be the wrong one.
        """
        peers, others = self.peers(record), self.others(record)
        counts = Counter(one.references[0] for one in (peers if len(others) >= FEW else others))
        return [answer for answer, _ in counts.most_common(CONSTANTS)]

    def another(self, record: Record) -> str | None:
        """The reference of another patient with another answer, the same in every run."""
        others = [
            one
            for one in self.others(record)
            if normalise(one.references[0]) != normalise(record.references[0])
        ]
        return others[sum(record.id.encode()) % len(others)].references[0] if others else None


def _group(record: Record) -> tuple[str, ...]:
    return (record.question_type, language_of(record), *sorted(record.choices))


def _same_patient(one: Record, other: Record) -> bool:
    return one.id == other.id or any(
        getattr(one, name) is not None and getattr(one, name) == getattr(other, name)
        for name in ("patient", "study", "image_group")
    )


def language_of(record: Record) -> str:
    """`en` or `zh`: as the record says, else as its question and reference are written."""
    return record.language or ("zh" if has_chinese(record.question + record.references[0]) else "en")


def view_data(records: Sequence[Record], labeler: Labeler | None = None) -> DataView:
    """What can be known of the data; sentences that name or deny one finding are taken from its own reports."""
    affirmed: dict[str, dict[str, str]] = {"en": {}, "zh": {}}
    denied: dict[str, dict[str, str]] = {"en": {}, "zh": {}}
    reports = [record for record in records if record.form == "report"] if labeler is not None else []
    sentences = list(
        dict.fromkeys((language_of(r), text) for r in reports for text in _sentences(r.references[0]))
    )
    assert labeler is not None or not sentences
    for language, sentence in sentences:
        name = _named(labeler, sentence)
        if name is not None:
            affirmed[language].setdefault(name, sentence)
    contradicted = getattr(labeler, "contradicted", None)
    for language, sentence in sentences:
        for name, there in affirmed[language].items():
            if (
                contradicted is not None
                and name not in denied[language]
                and name in contradicted(f"{there} {sentence}")
            ):
                denied[language][name] = sentence
    return DataView(
        records,
        {language: list(by.values()) for language, by in affirmed.items()},
        {language: list(dict.fromkeys(by.values())) for language, by in denied.items()},
    )


def _named(labeler: Labeler | None, sentence: str) -> str | None:
    """The one finding that a sentence says is there."""
    found = labeler.label([sentence])[0] if labeler is not None else {}
    named = [name for name, value in found.items() if value > 0.5 and "/" not in name]
    return named[0] if len(named) == 1 else None


def _sentences(text: str) -> list[str]:
    parts = text.replace("。", "。\n").replace(". ", ".\n").splitlines()
    return [part.strip() for part in parts if words(part)]


@dataclass(frozen=True)
class Attack:
    """A way to answer without knowing, and what it may earn."""

    title: str
    make: Callable[[Record, DataView], Sequence[str]]
    """Variants of an answer; none where the attack does not fit the question."""
    bound: Bound = "control"
    """Most it may earn: what the best answer without an image earns, or what the honest one earns."""


def _every_choice(record: Record, view: DataView) -> list[str]:
    if record.choices:
        named = list(record.choices)
    else:
        others = dict.fromkeys(one.references[0] for one in view.others(record))
        named = [*list(others)[:12], record.references[0]]
    if record.form == "report" or len(named) < 2:
        return []
    zh = language_of(record) == "zh"
    joined = "、".join(named) if zh else ", ".join(named)
    last = (" 和 " if zh else " and ").join(named)
    return [joined, last, (" 或 " if zh else " or ").join(named)]


def _contradiction(record: Record, view: DataView) -> list[str]:
    reference, language = record.references[0].rstrip(".。"), language_of(record)
    if record.form == "report":
        denials = view.denied.get(language, ())
        return [" ".join([record.references[0], *denials])] if denials and view.affirmed.get(language) else []
    if language == "zh":
        return [f"{reference}。不是{reference}。", f"不是{reference}。{reference}。"]
    return [f"{reference}. It is not {reference}.", f"It is not {reference}. {reference}."]


def _denied_words(record: Record, view: DataView) -> list[str]:
    reference, zh = record.references[0].rstrip(".。"), language_of(record) == "zh"
    if record.form == "report":
        parts = _sentences(record.references[0])
        return [
            "".join(f"没有：{part}" for part in parts)
            if zh
            else " ".join(f"There is no {part}" for part in parts)
        ]
    if zh:
        return [f"不是{reference}。"]
    plain = [f"It is not {reference}."]
    return plain if yes_no_choices(reference, record.question) else [*plain, f"There is no {reference}."]


def _all_findings(record: Record, view: DataView) -> list[str]:
    named = view.affirmed.get(language_of(record), ())
    return [" ".join(named)] if len(named) > 1 else []


def _no_finding(record: Record, view: DataView) -> list[str]:
    language = language_of(record)
    plain = "未见异常。" if language == "zh" else "There is no abnormality."
    return [" ".join([*view.denied.get(language, ()), plain]), plain]


def padded(text: str, language: str, length: int) -> str:
    """A text with sentences that say nothing, up to a number of words."""
    written, parts = len(words(text)), [text]
    for sentence in cycle(FILLER[language]):
        if written >= length:
            break
        parts.append(sentence)
        written += len(words(sentence))
    return " ".join(parts).strip()


def _padding(record: Record, view: DataView) -> list[str]:
    wrong = view.another(record) or ""
    return [padded(wrong, language_of(record), length) for length in LENGTHS]


def _honest_padded(record: Record, view: DataView) -> list[str]:
    return [padded(record.references[0], language_of(record), length) for length in LENGTHS]


ATTACKS: dict[str, Attack] = {
    "empty": Attack("an empty answer", lambda record, view: [""]),
    "template": Attack("the same template for all", lambda record, view: [TEMPLATE[language_of(record)]]),
    "all_findings": Attack("all findings named", _all_findings),
    "no_finding": Attack("no finding named", _no_finding),
    "every_choice": Attack("every choice named", _every_choice),
    "contradiction": Attack("the right answer and its denial", _contradiction),
    "padding": Attack("a wrong answer, padded to any length", _padding),
    "another_patient": Attack(
        "the different reference of another patient",
        lambda record, view: [text] if (text := view.another(record)) is not None else [],
    ),
    "question": Attack(
        "the question copied", lambda record, view: [record.question] if record.question else []
    ),
    "denied": Attack("the right words with a denial", _denied_words),
    "honest_padded": Attack("the right answer, padded", _honest_padded, bound="honest"),
}
