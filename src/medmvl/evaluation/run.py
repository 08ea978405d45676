"""An evaluation as a story: answer, answer again without the image and with another patient's, judge, summarise.

Protocol `strict`: greedy answers; closed questions get 32 new tokens; an empty or failed answer is wrong;
closed answers are judged by the one choice they name, open ones and reports by token F1.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medmvl.atomic_files import write_text
from medmvl.engine import Engine, GenerationOptions, ProcessGroup, answer_samples, read_answers
from medmvl.engine.request import Failure, Load
from medmvl.errors import UserError
from medmvl.evaluation.bar import compare_with_bar
from medmvl.evaluation.calibration import ScoredChoice, calibrate, probabilities
from medmvl.evaluation.consistency import language_consistency, wording_consistency
from medmvl.evaluation.controls import SwappedImages, majority_answers, swap_images
from medmvl.evaluation.endpoint import Endpoint
from medmvl.evaluation.likelihood import choice_logprobs
from medmvl.evaluation.protocols import protocol_scores, with_strict
from medmvl.evaluation.results import Judged, Results, Row, summarise
from medmvl.evaluation.robustness import SHIFTS, shifted
from medmvl.evaluation.statistics import FEW_CLUSTERS, difference_interval, mean_interval
from medmvl.schema import Sample
from medmvl.tasks import Group, Task, group_of
from medmvl.tasks.rewording import COUNT, reworded

logger = logging.getLogger(__name__)
CLOSED_TOKENS = 32
Progress = Callable[[str, int, int], None]
"""Called with the name of what runs, how many more samples are done, and how many there are."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation runs."""

    max_new_tokens: int = 256
    """Of open questions and reports."""
    batch_size: int = 64
    controls: bool = True
    seed: int = 0
    """Of the bootstrap, of whose picture another patient gets, and of the noise of `robustness`."""
    robustness: tuple[str, ...] = ()
    """Names in `medmvl.evaluation.robustness.SHIFTS`: answer again with shifted pictures."""
    calibration: bool = False
    """Weigh the choices of closed questions by their likelihood."""
    consistency: bool = False
    """Ask closed questions again in other words, and compare English with Chinese."""
    protocols: tuple[str, ...] = ()
    """Published conventions that the answers are scored by, too; `strict` beside them."""
    bar: float | None = None
    """Say which closed questions score below this."""


DEFAULTS = EvaluationOptions()
SINGLE_PROCESS = ProcessGroup()


def evaluate(
    engine: Engine | Endpoint,
    samples: Sequence[Sample],
    load: Load,
    out: Path,
    *,
    about: dict[str, Any],
    train_samples: Sequence[Sample] | None = None,
    options: EvaluationOptions = DEFAULTS,
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> Results:
    """Evaluate a model; an interrupted evaluation continues in the same folder.

    Args:
        engine: the model, or the endpoint it is behind.
        samples: unseen samples with truths.
        load: gives the pixels of a block.
        out: folder for `answers.jsonl`, `results.json` and, in `decoded`, what was answered so far.
        about: digests of `model` and `data`, and what else `results.json` should say.
        train_samples: where the majority answers come from; None takes them from `samples`, which flatters
            the control.
        options: sizes and controls.
        processes: the processes that share the work; all call this alike, and all get the results.
        progress: is told how far it is.

    Raises:
        SampleError: a sample has no truth, or an id twice.
        UserError: `out` holds answers of another model or data, or an endpoint is asked for calibration.
    """
    if options.calibration and isinstance(engine, Endpoint):
        raise UserError(
            "calibration weighs given answers by their likelihood, which an endpoint does not tell; leave it out"
        )
    started = time.perf_counter()
    task = Task("evaluation", samples)
    out.mkdir(parents=True, exist_ok=True)
    answering = _Answering(
        engine, load, out, {key: about[key] for key in ("model", "data")}, options, processes, progress
    )
    texts, failures = answering.run("with-image", task.samples)
    blind: dict[str, str] | None = None
    swapped, others = SwappedImages(()), dict[str, str]()
    if options.controls:
        blind, _ = answering.run("no_image", [sample.to_no_image() for sample in samples])
        swapped = swap_images(samples, options.seed)
        others, _ = answering.run(f"swapped_image-{options.seed}", swapped.samples)
    shifts = {name: answering.run_shifted(name, samples) for name in options.robustness}
    again = answering.run_reworded(samples) if options.consistency else []
    majority = (
        majority_answers(samples if train_samples is None else train_samples) if options.controls else {}
    )
    name, clusters = clusters_of(samples)
    foreign = {sample.id: others.get(sample.id, "") for sample in swapped.samples}
    judged = [
        _judge(
            task,
            sample,
            cluster,
            texts.get(sample.id, ""),
            None if blind is None else blind.get(sample.id, ""),
            foreign.get(sample.id),
            majority,
        )
        for sample, cluster in zip(samples, clusters, strict=True)
    ]
    more: dict[str, Any] = {}
    if options.protocols:
        names = with_strict(options.protocols)
        more["protocols"] = protocol_scores(samples, texts, names, clusters, options.seed)
    if shifts:
        more["robustness"] = _robustness(task, judged, shifts, options.seed)
    if options.consistency:
        more["consistency"] = [
            *language_consistency(samples, judged, options.seed),
            *wording_consistency(samples, judged, again, task.judge, options.seed),
        ]
    if options.calibration:
        more["calibration"] = _calibration(task, judged, answering.score_choices(samples), options.seed)
    rows = summarise(judged, options.seed)
    if options.bar is not None:
        more["bar"] = compare_with_bar(rows, options.bar)
    results = Results(
        rows=rows,
        about={
            "protocol": "strict",
            **about,
            **_versions(),
            "options": dict(options.__dict__),
            "samples": len(samples),
            "cluster": name,
            "clusters": len(set(clusters)),
            "majority_from": "training answers"
            if train_samples is not None
            else "the evaluated answers themselves",
            "seconds": round(time.perf_counter() - started, 1),
        },
        warnings=(
            *_warnings(name, clusters, train_samples is None and options.controls),
            *_small_groups(rows, name, len(set(clusters))),
            *_swap_warnings(swapped, name),
            *(engine.notes if isinstance(engine, Endpoint) else ()),
        ),
        failures=tuple((failure.name, failure.error) for failure in failures),
        judged=tuple(judged),
        more=more,
    )
    if processes.first:
        lines = (json.dumps(line, ensure_ascii=False) for line in results.answer_lines())
        write_text(out / "answers.jsonl", "".join(line + "\n" for line in lines))
        results.save(out / "results.json")
    return results


@dataclass(frozen=True)
class _Answering:
    """Everything that stays the same for the runs with and without image."""

    engine: Engine | Endpoint
    load: Load
    out: Path
    run_record: dict[str, Any]
    options: EvaluationOptions
    processes: ProcessGroup
    progress: Progress | None

    def run_shifted(self, name: str, samples: Sequence[Sample]) -> dict[str, str]:
        """Answers of the samples that a shift concerns; the empty text where there is none."""
        members = [sample for sample in samples if SHIFTS[name].concerns(sample)]
        load = shifted(self.load, name, self.options.seed)
        texts, _ = replace(self, load=load).run(f"{name}-{self.options.seed}", members)
        return {sample.id: texts.get(sample.id, "") for sample in members}

    def run_reworded(self, samples: Sequence[Sample]) -> list[dict[str, str]]:
        """Answers of the closed samples in other words, a mapping for each further wording."""
        asked = [made for sample in filter(_is_closed, samples) if len(made := reworded(sample)) == COUNT]
        return [
            self.run(f"reworded-{number}", list(members))[0]
            for number, members in enumerate(zip(*asked, strict=True), 1)
        ]

    def score_choices(self, samples: Sequence[Sample]) -> dict[str, list[float]]:
        """Log-likelihoods of the choices of the closed samples."""
        assert not isinstance(self.engine, Endpoint)
        closed = [sample for sample in samples if _is_closed(sample)]
        report = self._report("calibration", len(closed))
        path, run = self.out / "decoded" / "likelihood.jsonl", {**self.run_record, "answers": "likelihood"}
        size = max(1, self.options.batch_size // 4)
        return choice_logprobs(
            self.engine,
            closed,
            self.load,
            path,
            run,
            batch_size=size,
            processes=self.processes,
            progress=report,
        )

    def run(self, name: str, samples: Sequence[Sample]) -> tuple[dict[str, str], list[Failure]]:
        """Answer all samples into files, closed questions apart: a batch lasts as long as its longest answer."""
        closed = [sample for sample in samples if _is_closed(sample)]
        others = [sample for sample in samples if not _is_closed(sample)]
        texts: dict[str, str] = {}
        failures: list[Failure] = []
        for part, members, tokens in (
            ("closed", closed, CLOSED_TOKENS),
            ("open", others, self.options.max_new_tokens),
        ):
            if not members:
                continue
            path = self.out / "decoded" / f"{name}-{part}.jsonl"
            failures += self._ask(
                members,
                self.load,
                path,
                {**self.run_record, "answers": name},
                GenerationOptions(max_new_tokens=tokens),
                batch_size=self.options.batch_size,
                processes=self.processes,
                progress=self._report(f"{name} {part}", len(members)),
            )
            self.processes.wait()
            texts |= {answer.id: answer.text for answer in read_answers(path)}
        return texts, failures

    @property
    def _ask(self) -> Callable[..., list[Failure]]:
        engine = self.engine
        return engine.answer_samples if isinstance(engine, Endpoint) else partial(answer_samples, engine)

    def _report(self, name: str, total: int) -> Callable[[int], None] | None:
        progress = self.progress
        return None if progress is None else lambda count: progress(name, count, total)


def _is_closed(sample: Sample) -> bool:
    return sample.target is not None and bool(sample.target.choices)


def clusters_of(samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """The coarsest identity that all samples have, and each sample's: patient, study, image group, or the sample."""
    for name in ("patient", "study", "image_group"):
        values = [getattr(sample, name) for sample in samples]
        if all(value is not None for value in values):
            return name.replace("_", " "), values
    return "sample", [sample.id for sample in samples]


def limit_clusters(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """The samples of the first `limit` patients (or the next finer identity known)."""
    _, clusters = clusters_of(samples)
    kept = set(list(dict.fromkeys(clusters))[:limit])
    return [sample for sample, cluster in zip(samples, clusters, strict=True) if cluster in kept]


def _judge(
    task: Task,
    sample: Sample,
    cluster: str,
    text: str,
    blind: str | None,
    foreign: str | None,
    majority: dict[Group, str],
) -> Judged:
    group, target = group_of(sample), task.target(sample)
    usual = majority.get(group)
    return Judged(
        id=sample.id,
        group=group,
        cluster=cluster,
        question=sample.prompt().messages[-1].text.strip(),
        truth=target.answers[0],
        text=text,
        judgement=task.judge(sample, text),
        no_image=None if blind is None else (blind, task.judge(sample, blind)),
        majority=None if usual is None else (usual, task.judge(sample, usual)),
        swapped_image=None if foreign is None else (foreign, task.judge(sample, foreign)),
    )


def _robustness(
    task: Task, judged: Sequence[Judged], shifts: dict[str, dict[str, str]], seed: int
) -> list[dict[str, Any]]:
    """For every shift and group: the score with shifted pictures, and how it changed, paired by answer."""
    samples = {sample.id: sample for sample in task.samples}
    groups: dict[tuple[str, Group, str], list[tuple[float, Judged]]] = {}
    for name, texts in shifts.items():
        for item in judged:
            if item.id in texts:
                score = task.judge(samples[item.id], texts[item.id]).score
                groups.setdefault((name, item.group, item.judgement.metric), []).append((score, item))
    rows = []
    for (name, group, metric), pairs in groups.items():
        scores, before = [score for score, _ in pairs], [item.judgement.score for _, item in pairs]
        clusters = [item.cluster for _, item in pairs]
        change = difference_interval(scores, before, clusters, seed=seed)
        score_interval = mean_interval(scores, clusters, seed=seed)
        about = {"shift": name, **group.__dict__, "metric": metric}
        rows.append({**about, "score": score_interval.to_json(), "change": change.to_json()})
    return rows


def _calibration(
    task: Task, judged: Sequence[Judged], logprobs: dict[str, list[float]], seed: int
) -> list[dict[str, Any]]:
    """For every group of closed questions: how far the likelihood of the choices can be believed."""
    samples = {sample.id: sample for sample in task.samples}
    groups: dict[Group, list[ScoredChoice]] = {}
    for item in judged:
        if item.id in logprobs:
            values = logprobs[item.id]
            likeliest = task.target(samples[item.id]).choices[values.index(max(values))]
            right = task.judge(samples[item.id], likeliest).score == 1
            groups.setdefault(item.group, []).append(ScoredChoice(probabilities(values), right, item.cluster))
    return [{**group.__dict__, **calibrate(items, seed).to_json()} for group, items in groups.items()]


def _swap_warnings(swapped: SwappedImages, name: str) -> tuple[str, ...]:
    warnings = []
    if swapped.impossible:
        warnings.append(
            f"{len(swapped.impossible)} questions have no other patient's image of the same task and kind"
        )
    if swapped.samples and name == "sample":
        warnings.append("patients are unknown: another image may be another one of the same patient")
    return tuple(warnings)


def _warnings(name: str, clusters: Sequence[str], own_majority: bool) -> tuple[str, ...]:
    warnings = []
    if len(set(clusters)) < FEW_CLUSTERS:
        warnings.append(f"only {len(set(clusters))} {name}s: the intervals are rough")
    if name != "patient":
        warnings.append(
            f"not every sample names its patient: intervals are over {name}s and may be too narrow"
        )
    if own_majority:
        warnings.append("no training data given: the majority answer is that of the evaluated data itself")
    return tuple(warnings)


def _small_groups(rows: Sequence[Row], name: str, all_clusters: int) -> tuple[str, ...]:
    """Which groups have few clusters, where the whole has enough."""
    small = [f"{row.group} ({row.score.clusters})" for row in rows if row.score.clusters < FEW_CLUSTERS]
    if not small or all_clusters < FEW_CLUSTERS:
        return ()
    return (f"rough intervals, of fewer than {FEW_CLUSTERS} {name}s: {', '.join(small)}",)


def _versions() -> dict[str, Any]:
    import torch
    import transformers

    import medmvl

    libraries = {
        "medmvl": medmvl.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {"versions": {**libraries, "python": platform.python_version()}}
