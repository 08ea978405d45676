"""Judges of answers held against the verdicts of LLM judges: the reader beside metrics of words in common.

The claim: the reader agrees with the majority of three LLM judges about as often as they agree with each other, without a
model, in under a millisecond per answer. Prints Markdown: agreement and area under the curve of every judge, the
reader per category and per type of question, how the judges agree with each other, and where the reader disagrees.
Intervals resample cases.

    python benchmarks/judging.py ANSWERS.jsonl.gz [MORE.jsonl.gz] [--encoder FOLDER]

A line holds `id`, `case`, `category`, `question`, `answer` (the reference), `prediction` and `verdicts` of several judges.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.evaluation.statistics import bootstrap_interval, mean_interval
from medmvl.tasks.judge import read_answer
from medmvl.tasks.judge.question import read_question
from medmvl.tasks.metrics import exact_match, token_f1
from medmvl.tasks.metrics.bertscore import bertscore
from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.rouge import rouge
from medmvl.tasks.metrics.text import words

Line = dict[str, Any]
Floats = NDArray[np.float64]
NUM_RESAMPLES = 300
THRESHOLDS = 200


def load(path: Path) -> list[Line]:
    """The answers that a majority of judges decided."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        votes = [vote for vote in line["verdicts"].values() if vote is not None]
        line["right"] = None if 2 * sum(votes) == len(votes) else 2 * sum(votes) > len(votes)
    return [line for line in lines if line["right"] is not None]


def area_under_curve(scores: Floats, right: NDArray[np.bool_]) -> float:
    """Chance that a right answer scores above a wrong one, ties half."""
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def best_threshold(scores: Floats, right: NDArray[np.bool_]) -> float:
    """Agreement at the threshold that suits these very answers best: flattering, for every judge alike."""
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, THRESHOLDS)))
    return max(float(((scores >= cut) == right).mean()) for cut in (*cuts, np.inf))


def scorers(encoder: Path | None) -> dict[str, Callable[[Sequence[Line]], Floats]]:
    """Name to a function from answers to scores."""

    def each(score: Callable[[Line], float]) -> Callable[[Sequence[Line]], Floats]:
        return lambda lines: np.array([score(line) for line in lines])

    def texts(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
        return [line["prediction"] for line in lines], [[line["answer"]] for line in lines]

    found: dict[str, Callable[[Sequence[Line]], Floats]] = {
        "reader": each(lambda line: read_answer(line["question"], line["prediction"], line["answer"]).score),
        "token F1": each(lambda line: token_f1(line["prediction"], [line["answer"]])),
        "exact match": each(lambda line: float(exact_match(line["prediction"], [line["answer"]]))),
        "BLEU-1": lambda lines: np.nan_to_num(bleu(*texts(lines), 1, words).each()),
        "BLEU-4": lambda lines: np.nan_to_num(bleu(*texts(lines), 4, words).each()),
        "ROUGE-L": lambda lines: rouge(*texts(lines), "rouge-l").each(),
    }
    if encoder is not None:
        found["BERTScore"] = lambda lines: bertscore(*texts(lines), encoder).each()
    return found


def interval(value: Any) -> str:
    """An interval with three digits."""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def row(name: str, lines: Sequence[Line], scores: Floats, threshold: float) -> str:
    """Agreement at a fixed threshold and area under the curve, with intervals over cases."""
    right = np.array([line["right"] for line in lines])
    cases = [line["case"] for line in lines]
    agreement = mean_interval(((scores >= threshold) == right).astype(float).tolist(), cases)
    area = "-"
    if 0 < right.sum() < len(right):
        area = interval(
            bootstrap_interval(
                lambda drawn: area_under_curve(scores[drawn], right[drawn]),
                cases,
                num_resamples=NUM_RESAMPLES,
            )
        )
    return f"| {name} | {len(lines)} | {right.mean():.3f} | {interval(agreement)} | {area} |"


def kind_of(line: Line) -> str:
    """What a question asks for."""
    question = read_question(line["question"])
    if question.alternatives:
        return "one of two"
    if question.closed:
        return "yes or no, and more" if question.asks_more else "yes or no"
    order = ("number", "segment", "level", "side", "where", "place", "zone", "depth")
    return next((facet for facet in order if facet in question.asked), "other")


def compare_judges(lines: Sequence[Line], encoder: Path | None) -> Floats:
    """Print every judge's row; the reader's scores are returned."""
    right = np.array([line["right"] for line in lines])
    print("\n| Judge | area under the curve | best threshold | ms per answer |\n|---|---|---|---|")
    print(f"| every answer wrong | 0.500 | {max(right.mean(), 1 - right.mean()):.3f} | 0 |")
    kept = np.zeros(len(lines))
    for name, score in scorers(encoder).items():
        started = time.process_time()
        scores = score(lines)
        spent = (time.process_time() - started) / len(lines) * 1000
        kept = scores if name == "reader" else kept
        print(
            f"| {name} | {area_under_curve(scores, right):.3f} | {best_threshold(scores, right):.3f} | {spent:.2f} |"
        )
    return kept


def show_groups(lines: Sequence[Line], scores: Floats, threshold: float) -> None:
    """The reader over all answers, per category and per type of question."""
    groups: dict[str, list[int]] = {"all": list(range(len(lines)))}
    for category in sorted({name for line in lines for name in line["category"] or ()}):
        groups[category] = [n for n, line in enumerate(lines) if category in (line["category"] or ())]
    kinds = [kind_of(line) for line in lines]
    for kind, _ in Counter(kinds).most_common():
        groups[f"asks: {kind}"] = [n for n, found in enumerate(kinds) if found == kind]
    print("\n| Answers | n | right by the jury | agreement | area under the curve |\n|---|---|---|---|---|")
    for name, members in groups.items():
        if len(members) >= 20:
            print(row(name, [lines[n] for n in members], scores[members], threshold))


def show_jury(lines: Sequence[Line], scores: Floats, threshold: float) -> None:
    """How often the judges agree with each other, and the reader with each."""
    names = sorted({name for line in lines for name in line["verdicts"]})
    print("\n| Pair | agreement |\n|---|---|")
    for one, other in combinations(names, 2):
        pairs = [(line["verdicts"].get(one), line["verdicts"].get(other)) for line in lines]
        print(
            f"| {one}, {other} | {np.mean([a == b for a, b in pairs if a is not None and b is not None]):.3f} |"
        )
    said = scores >= threshold
    for name in names:
        same = [
            line["verdicts"][name] == s
            for line, s in zip(lines, said, strict=True)
            if line["verdicts"].get(name) is not None
        ]
        print(f"| reader, {name} | {np.mean(same):.3f} |")
    split = [len({v for v in line["verdicts"].values() if v is not None}) > 1 for line in lines]
    wrong = [s != line["right"] for line, s in zip(lines, said, strict=True)]
    torn = np.mean([s for s, w in zip(split, wrong, strict=True) if w])
    share = f"{np.mean(split):.3f} of all answers and {torn:.3f} of those where the reader disagrees"
    print(f"\nThe judges are split over {share}.")


def show_disagreements(lines: Sequence[Line], threshold: float) -> None:
    """Where reader and jury differ, by what the reader saw."""
    kinds: Counter[tuple[str, str]] = Counter()
    for line in lines:
        reading = read_answer(line["question"], line["prediction"], line["answer"])
        if (reading.score >= threshold) != line["right"]:
            kinds["reader right" if not line["right"] else "jury right", sight(reading.why)] += 1
    print("\n| Who calls it right | what the reader saw | answers |\n|---|---|---|")
    for (who, what), count in kinds.most_common(16):
        print(f"| {who} | {what} | {count} |")


def sight(why: str) -> str:
    """The kinds of relation in a reason, without its values."""
    marks = (
        ("against", "contradiction"), ("names everything", "names everything"), ("more than", "too much"),
        ("only a part", "a part"), ("less exact", "less exact"), ("more exact", "more exact"), ("added", "added detail"),
        ("not said", "missing detail"), ("polarity", "yes or no"), ("words in common", "words outside the lexicon"),
    )  # fmt: skip
    return next((name for mark, name in marks if mark in why), "the same claims")


def main() -> None:
    """Print the tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("answers", type=Path, nargs="+")
    parser.add_argument("--encoder", type=Path, help="folder of an encoder for BERTScore")
    parser.add_argument("--threshold", type=float, default=0.7)
    options = parser.parse_args()
    for path in options.answers:
        lines = load(path)
        print(f"\n## {path.name}: {len(lines)} answers about {len({line['case'] for line in lines})} cases")
        scores = compare_judges(lines, options.encoder)
        show_groups(lines, scores, options.threshold)
        show_jury(lines, scores, options.threshold)
        show_disagreements(lines, options.threshold)


if __name__ == "__main__":
    main()
