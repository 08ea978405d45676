"""`medevalkit`: MedEvalKit (Lingshu, arXiv 2506.07044) at 9b12e3b, without its GPT judge."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.cider import cider
from medmvl.tasks.metrics.measures import Measure, MetricOptions, whole
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.rouge import package_rouge
from medmvl.tasks.metrics.tally import Tally, mean_tally
from medmvl.tasks.protocols.base import Protocol, kept, some

MARKS = (
    "**answer**:",
    "**answer**",
    "*answer*:",
    "**answer:**",
    "answer is",
    "answer:",
    "答案:",
    "final answer",
    "final answer is",
)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def parse_response(text: str) -> str:
    """In lower case, what is in a box or an answer tag, and after the last `answer is` and its like."""
    text = text.lower()
    if "boxed" in text:
        boxes = _BOXED.findall(text)
        text = boxes[-1].strip() if boxes else "None"
    elif "<answer>" in text:
        text = " ".join(_TAGGED.findall(text)) or text
    for mark in MARKS:
        if mark in text:
            text = text.split(mark)[-1]
    return text


def closed_right(answer: str, reference: str) -> bool:
    """Yes/no: exactly one of the two occurs, as a substring, and is the truth; anything else: equality."""
    said, truth = parse_response(answer).replace("\n", "").replace(".", ""), reference.lower()
    if truth in ("yes", "no"):
        return ("yes" in said) != ("no" in said) and truth in said
    return said == truth


def choice_right(answer: str, options: Sequence[str], reference: str) -> bool:
    """By letter, by option, and otherwise by the option that looks most like the answer: it never abstains."""
    letters = [chr(ord("a") + number) for number in range(len(options))]
    said, texts, truth = answer.lower(), [option.lower() for option in options], reference.strip().lower()
    first, last = said.split("\n\n")[0], said.split("\n\n")[-1].split(".")[0]
    said = first if first in letters else last if last in letters else said
    said = parse_response(said).strip().replace("\n", "")
    short = said.split(".")[0].split(":")[-1]
    if short == truth:
        return True
    if short in letters:
        return texts[ord(short) - ord("a")] == truth
    if short in texts:
        return truth in letters and short == texts[ord(truth) - ord("a")]
    likeness = [difflib.SequenceMatcher(None, text, said).ratio() for text in texts]
    nearest = likeness.index(max(likeness))
    return truth in (letters[nearest], texts[nearest])


def _tokens(text: str) -> list[str]:
    return text.lower().replace(".", " .").split(" ")


def set_overlap(answer: str, reference: str) -> tuple[float, float, float]:
    """Precision, recall and F1 over sets of words."""
    given, wanted = set(answer.lower().split()), set(reference.lower().split())
    if not given & wanted:
        return 0.0, 0.0, 0.0
    precision, recall = len(given & wanted) / len(given), len(given & wanted) / len(wanted)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _closed(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    return [
        whole("accuracy", mean_tally(closed_right(record.answer, record.references[0]) for record in records))
    ]


def _exact(record: Record) -> float:
    return float(parse_response(record.answer) == record.references[0].lower())


def _open(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Exact match, sentence BLEU, the `rouge` package, and precision, recall and F1 under each other's names."""
    said = [parse_response(record.answer) for record in records]
    truths = [record.references[0].lower() for record in records]
    overlaps = [set_overlap(answer, truth) for answer, truth in zip(said, truths, strict=True)]
    found = [whole("exact_match", mean_tally(_exact(record) for record in records))]
    found += _sentence_metrics(said, truths, ("rouge-1", "rouge-2", "rouge-l"))
    wrong = {"precision": 2, "recall": 0, "token_f1": 1}
    really = ("precision", "recall", "F1")
    return found + [
        whole(name, mean_tally(row[place] for row in overlaps), f"really {really[place]}")
        for name, place in wrong.items()
    ]


def _sentence_metrics(answers: Sequence[str], truths: Sequence[str], rouges: Sequence[str]) -> list[Measure]:
    references = [[truth] for truth in truths]

    def mean(name: str, tally: Tally) -> Measure:
        return Measure(name, tally, tuple(range(len(tally))), len(tally), per_sample=True)

    found = [mean(f"bleu-{order}", bleu(answers, references, order, _tokens)) for order in (1, 2, 3, 4)]
    pairs = list(zip(answers, truths, strict=True))
    return found + [
        mean(variant, mean_tally(package_rouge(a, b, variant) for a, b in pairs)) for variant in rouges
    ]


def _choice(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Multiple choice; a record whose options or letter are unknown cannot be scored."""
    places, chosen = kept(records, lambda record: bool(record.options) and record.letter is not None)
    right = [choice_right(record.answer, record.options, record.letter or "") for record in chosen]
    return [some("accuracy", mean_tally(right), places, len(records))]


def _report(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """An empty report is 0 in the sums of BLEU, ROUGE and METEOR, and left out of CIDEr."""
    answers, truths = [record.answer for record in records], [record.references[0] for record in records]
    found = _sentence_metrics(answers, truths, ("rouge-1", "rouge-2", "rouge-l"))
    tally = meteor(answers, [[truth] for truth in truths], str.split)
    found.append(whole("meteor", tally, f"nltk, {meteor_stages()}"))
    places, chosen = kept(records, lambda record: bool(record.answer.strip()))
    scores = cider(
        [record.answer for record in chosen], [record.references[:1] for record in chosen], str.split
    )
    return [*found, some("cider", scores, places, len(records))]


def _all(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Open questions by exact match and closed ones together: the number of its tables."""
    places, chosen = kept(records, lambda record: record.form in ("open", "closed"))
    right = [
        _exact(record) if record.form == "open" else float(closed_right(record.answer, record.references[0]))
        for record in chosen
    ]
    return [
        some(
            "accuracy", mean_tally(right), places, len(records), note="open by exact match, without GPT judge"
        )
    ]


MEDEVALKIT = Protocol(
    name="medevalkit",
    title="MedEvalKit, without its GPT judge",
    source="alibaba-damo-academy/MedEvalKit 9b12e3b, utils/utils.py",
    scorers={"closed": _closed, "open": _open, "choice": _choice, "report": _report, "class": _choice},
    pooled=_all,
    quirks=(
        "yes and no are looked for as substrings: `no` is in `normal`, `nodule` and `not`",
        "precision, recall and F1 come out under each other's names: what it calls F1 is the recall",
        "an unreadable choice is taken for the most similar option: it never abstains",
        "words are sets; sentence BLEU without smoothing splits at single spaces",
        "reports: empty ones count 0 in most sums and are skipped in CIDEr",
        "an empty open answer stops it with an error; here it is 0",
    ),
)
