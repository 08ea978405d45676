"""An evaluation as a story: answer with the image and without, judge beside the majority answer, report.

Protocol `strict`: greedy answers; closed questions get 32 new tokens; an empty or failed answer is wrong;
closed answers are judged by the one choice they name, open ones and reports by token F1.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmvl.engine import Engine, GenerationOptions, Ranks, answer_samples, read_answers
from medmvl.engine.request import Failure, Load
from medmvl.evaluation.controls import majority_answers
from medmvl.evaluation.results import FEW_CLUSTERS, Judged, Results, summarise
from medmvl.files import write_text
from medmvl.schema import Sample
from medmvl.tasks import Group, Task, group_of

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
    """Of the bootstrap."""


DEFAULTS = EvaluationOptions()
ALONE = Ranks()


def evaluate(
    engine: Engine,
    samples: Sequence[Sample],
    load: Load,
    out: Path,
    *,
    about: dict[str, Any],
    train_samples: Sequence[Sample] | None = None,
    options: EvaluationOptions = DEFAULTS,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Results:
    """Evaluate a model; an interrupted evaluation continues in the same folder.

    Args:
        engine: the model.
        samples: unseen samples with truths.
        load: gives the pixels of a block.
        out: folder for `answers.jsonl`, `results.json` and, in `decoded`, what was answered so far.
        about: digests of `model` and `data`, and what else `results.json` should say.
        train_samples: where the majority answers come from; None takes them from `samples`, which flatters
            the control.
        options: sizes and controls.
        ranks: the processes that share the work; all call this alike, and all get the results.
        progress: is told how far it is.

    Raises:
        SampleError: a sample has no truth, or an id twice.
        UserError: `out` holds answers of another model or data.
    """
    started = time.perf_counter()
    task = Task("evaluation", samples)
    out.mkdir(parents=True, exist_ok=True)
    answering = _Answering(
        engine, load, out, {key: about[key] for key in ("model", "data")}, options, ranks, progress
    )
    texts, failures = answering.run("with-image", task.samples)
    blind = None
    if options.controls:
        blind, _ = answering.run("no-image", [sample.without_visuals() for sample in samples])
    majority = (
        majority_answers(samples if train_samples is None else train_samples) if options.controls else {}
    )
    name, clusters = clusters_of(samples)
    judged = [
        _judge(
            task,
            sample,
            cluster,
            texts.get(sample.id, ""),
            None if blind is None else blind.get(sample.id, ""),
            majority,
        )
        for sample, cluster in zip(samples, clusters, strict=True)
    ]
    results = Results(
        rows=summarise(judged, options.seed),
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
        warnings=_warnings(name, clusters, train_samples is None and options.controls),
        failures=tuple((failure.name, failure.error) for failure in failures),
        judged=tuple(judged),
    )
    if ranks.first:
        lines = (json.dumps(item.to_json(), ensure_ascii=False) for item in judged)
        write_text(out / "answers.jsonl", "".join(line + "\n" for line in lines))
        results.save(out / "results.json")
    return results


@dataclass(frozen=True)
class _Answering:
    """Everything that stays the same for the runs with and without image."""

    engine: Engine
    load: Load
    out: Path
    run_record: dict[str, Any]
    options: EvaluationOptions
    ranks: Ranks
    progress: Progress | None

    def run(self, name: str, samples: Sequence[Sample]) -> tuple[dict[str, str], list[Failure]]:
        """Answer all samples into files, closed questions apart: a batch lasts as long as its longest answer."""
        closed = [sample for sample in samples if sample.target is not None and sample.target.choices]
        others = [sample for sample in samples if sample.target is None or not sample.target.choices]
        texts: dict[str, str] = {}
        failures: list[Failure] = []
        for part, members, tokens in (
            ("closed", closed, CLOSED_TOKENS),
            ("open", others, self.options.max_new_tokens),
        ):
            if not members:
                continue
            path = self.out / "decoded" / f"{name}-{part}.jsonl"
            failures += answer_samples(
                self.engine,
                members,
                self.load,
                path,
                {**self.run_record, "answers": name},
                GenerationOptions(max_new_tokens=tokens),
                batch_size=self.options.batch_size,
                ranks=self.ranks,
                progress=self._report(f"{name} {part}", len(members)),
            )
            self.ranks.wait()
            texts |= {answer.id: answer.text for answer in read_answers(path)}
        return texts, failures

    def _report(self, name: str, total: int) -> Callable[[int], None] | None:
        progress = self.progress
        return None if progress is None else lambda count: progress(name, count, total)


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
    task: Task, sample: Sample, cluster: str, text: str, blind: str | None, majority: dict[Group, str]
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
    )


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
