"""Consistency over languages and wordings: is the same question about the same images answered alike, however it is asked?

Twins are two samples about the same patient and images with the same type of question, one in each language. Where
a type is asked more than once in a language, nobody knows which belong together, so those are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from medmvl.evaluation.results import Judged
from medmvl.evaluation.statistics import mean_interval
from medmvl.json_types import JsonObject
from medmvl.schema import Sample
from medmvl.tasks import Judgement


def language_twins(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Ids of an English and of a Chinese closed sample that ask the same."""
    found: dict[Hashable, dict[str, list[str]]] = {}
    for sample in samples:
        if sample.target is not None and sample.target.choices and sample.visuals and sample.language:
            key = (sample.patient, sample.visuals, sample.target.question_type)
            found.setdefault(key, {}).setdefault(sample.language, []).append(sample.id)
    return [
        (spoken["en"][0], spoken["zh"][0])
        for spoken in found.values()
        if len(spoken.get("en", ())) == len(spoken.get("zh", ())) == 1
    ]


def language_consistency(
    samples: Sequence[Sample], judged: Sequence[Judged], seed: int = 0
) -> list[JsonObject]:
    """For every type of closed question with twins: how often both languages are right, and judged alike.

    `alike` is the share of twins of which both answers are right or both are wrong; `all_right` counts only
    twins with two right answers.
    """
    by_id = {item.id: item for item in judged}
    groups: dict[tuple[str, str], list[tuple[Judged, Judged]]] = {}
    for english, chinese in language_twins(samples):
        pair = by_id[english], by_id[chinese]
        if all(item.judgement.metric == "accuracy" for item in pair):
            groups.setdefault((pair[0].group.modality, pair[0].group.question_type), []).append(pair)
    return [_language_row(*key, pairs, seed) for key, pairs in sorted(groups.items())]


def wording_consistency(
    samples: Sequence[Sample],
    judged: Sequence[Judged],
    again: Sequence[Mapping[str, str]],
    judge: Callable[[Sample, str], Judgement],
    seed: int = 0,
) -> list[JsonObject]:
    """For every type of closed question: how often it is judged alike in all wordings, and right in all.

    Args:
        samples: as they were asked first.
        judged: the first answers.
        again: answers by id, a mapping for each further wording; a question is counted where all of them have it.
        judge: judges an answer to a sample.
        seed: seed for the intervals.
    """
    by_id = {sample.id: sample for sample in samples}
    groups: dict[tuple[str, str], list[tuple[str, list[bool]]]] = {}
    for item in judged:
        if item.judgement.metric == "accuracy" and again and all(item.id in texts for texts in again):
            others = [_right(judge(by_id[item.id], texts[item.id])) for texts in again]
            key = (item.group.modality, item.group.question_type)
            groups.setdefault(key, []).append((item.cluster, [_right(item.judgement), *others]))
    return [_wording_row(*key, asked, seed) for key, asked in sorted(groups.items())]


def _wording_row(
    modality: str, question_type: str, asked: Sequence[tuple[str, list[bool]]], seed: int
) -> JsonObject:
    values = {
        "alike": [float(len(set(right)) == 1) for _, right in asked],
        "all_right": [float(all(right)) for _, right in asked],
        "first": [float(right[0]) for _, right in asked],
        "others": [sum(right[1:]) / (len(right) - 1) for _, right in asked],
    }
    about = {"over": "wordings", "modality": modality, "question_type": question_type}
    return about | _intervals(values, [cluster for cluster, _ in asked], seed)


def _language_row(
    modality: str, question_type: str, pairs: Sequence[tuple[Judged, Judged]], seed: int
) -> JsonObject:
    right = [(_right(english.judgement), _right(chinese.judgement)) for english, chinese in pairs]
    values = {
        "alike": [float(english == chinese) for english, chinese in right],
        "all_right": [float(english and chinese) for english, chinese in right],
        "en": [float(english) for english, _ in right],
        "zh": [float(chinese) for _, chinese in right],
    }
    about = {"over": "languages", "modality": modality, "question_type": question_type}
    return about | _intervals(values, [english.cluster for english, _ in pairs], seed)


def _intervals(values: Mapping[str, Sequence[float]], clusters: Sequence[str], seed: int) -> JsonObject:
    return {name: mean_interval(scores, clusters, seed=seed).to_json() for name, scores in values.items()}


def _right(judgement: Judgement) -> bool:
    return judgement.score == 1
