"""The story of one evaluation: answer, answer again under every control, judge, summarise, write.

Protocol `strict`: greedy answers; closed questions get 32 new tokens; an empty or failed answer is wrong;
closed answers are judged by the one choice they name, open ones and reports by token F1.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from medmvl.atomic_files import write_text
from medmvl.datasets.loader import BlockLoader, ImageLoader
from medmvl.datasets.pseudonyms import key_of
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.evaluation.answering import Answerer, Answering, Answers, EvaluationOptions, Progress
from medmvl.evaluation.bar import compare_with_bar
from medmvl.evaluation.calibration import calibration_rows
from medmvl.evaluation.clusters import clusters_of
from medmvl.evaluation.consistency import language_consistency, wording_consistency
from medmvl.evaluation.controls import majority_answers
from medmvl.evaluation.results import Judged, Results, Row, summarise
from medmvl.evaluation.robustness import robustness_rows
from medmvl.evaluation.scoring import protocol_scores, with_ours
from medmvl.evaluation.warnings import (
    cluster_warnings,
    control_warnings,
    group_warnings,
    reasoning_warnings,
    trained_on_warnings,
)
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import Sample
from medmvl.tasks import Group, Judgement, Task, group_of

DEFAULTS = EvaluationOptions()


def evaluate_samples(
    answerer: Answerer,
    samples: Sequence[Sample],
    load: ImageLoader,
    out: Path,
    *,
    about: JsonMapping,
    train_samples: Sequence[Sample] | None = None,
    options: EvaluationOptions = DEFAULTS,
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> Results:
    """Evaluate a model on samples at hand; an interrupted evaluation continues in the same folder.

    Args:
        answerer: the model, or the endpoint of one.
        samples: unseen samples with truths.
        load: gives the pixels of a block.
        out: folder for `answers.jsonl`, `results.json` and, in `decoded`, what was answered so far.
        about: digests of `model` and `data`, and what else `results.json` should say.
        train_samples: where the majority answers come from; None takes them from `samples`, which flatters
            the control.
        options: sizes and controls.
        processes: the processes that share the work; all call this alike, and all get the results.
        progress: called with what runs, how many more samples are done, and how many there are.

    Raises:
        SampleError: a sample has no truth, or an id twice.
        UserError: `out` holds answers of another model or data, or an endpoint is asked for calibration.
    """
    started = time.perf_counter()
    task = Task("evaluation", samples)
    out.mkdir(0o700, parents=True, exist_ok=True)
    record = {key: about[key] for key in ("model", "dtype", "data") if key in about}
    record |= load.roots if isinstance(load, BlockLoader) else {}
    answers = Answering(answerer, load, out, record, options, processes, progress).answer_all(samples)
    majority = majority_answers(train_samples or samples) if options.controls else {}
    name, clusters = clusters_of(samples)
    pairs = zip(samples, clusters, strict=True)
    judged = [_judge(task, sample, cluster, answers, majority) for sample, cluster in pairs]
    rows = summarise(judged, options.seed)
    seen = answerer.trained_on.shared(samples) if answerer.trained_on else None
    facts = {
        "protocol": "strict",
        **about,
        **_versions(),
        "options": dict(options.__dict__),
        "samples": len(samples),
        "cluster": name,
        "clusters": len(set(clusters)),
        "majority_from": "training answers" if train_samples else "the evaluated answers themselves",
        "trained_on": None if seen is None else seen[0],
        "date": time.strftime("%Y-%m-%d"),
    }
    results = Results(
        rows=rows,
        about=facts | {"seconds": round(time.perf_counter() - started, 1)},
        warnings=(
            *trained_on_warnings(answerer.trained_on, seen, name, _key_of(load)),
            *_warnings(answers, rows, name, clusters, options.controls and not train_samples),
            *answerer.notes,
        ),
        failures=tuple((failure.name, failure.error) for failure in answers.failures),
        judged=tuple(judged),
        more=_more(task, judged, rows, answers, clusters, options),
    )
    if processes.first:
        _write(results, out)
    return results


def _key_of(load: ImageLoader) -> str | None:
    """Name of the key that made the pseudonyms of the evaluated data, where they lie in a folder that says it."""
    return key_of(load.folder) if isinstance(load, BlockLoader) else None


def _warnings(
    answers: Answers, rows: Sequence[Row], name: str, clusters: Sequence[str], majority_from_test: bool
) -> list[str]:
    """What makes the numbers say less than they seem to: few clusters, small groups, weak controls, answers cut short."""
    return [
        *cluster_warnings(name, clusters),
        *group_warnings(rows, name, len(set(clusters))),
        *control_warnings(answers.swapped, name, majority_from_test),
        *reasoning_warnings(answers.unfinished, len(clusters)),
    ]


def _judge(
    task: Task, sample: Sample, cluster: str, answers: Answers, majority: Mapping[Group, str]
) -> Judged:
    """One sample's answers next to its controls; a failed answer is the empty one."""
    group = group_of(sample)
    text = answers.texts.get(sample.id, "")

    def judged(control: str | None) -> tuple[str, Judgement] | None:
        return None if control is None else (control, task.judge(sample, control))

    return Judged(
        id=sample.id,
        group=group,
        cluster=cluster,
        question=sample.prompt().messages[-1].text.strip(),
        truth=task.target(sample).answers[0],
        text=text,
        judgement=task.judge(sample, text),
        no_image=judged(answers.no_image.get(sample.id)),
        majority=judged(majority.get(group)),
        swapped_image=judged(answers.swapped_image.get(sample.id)),
    )


def _more(
    task: Task,
    judged: Sequence[Judged],
    rows: Sequence[Row],
    answers: Answers,
    clusters: Sequence[str],
    options: EvaluationOptions,
) -> JsonObject:
    """What the options ask for next to the rows."""
    more: JsonObject = {}
    names = with_ours(options.protocols) if options.protocols else ("reader",)
    more["protocols"] = protocol_scores(task.samples, answers.texts, names, clusters, options.seed)
    if options.robustness:
        more["robustness"] = robustness_rows(task, judged, answers.shifts, options.seed)
    if options.consistency:
        more["consistency"] = [
            *language_consistency(task.samples, judged, options.seed),
            *wording_consistency(task.samples, judged, answers.reworded, task.judge, options.seed),
        ]
    if options.calibration:
        more["calibration"] = calibration_rows(task, judged, answers.choice_logprobs, options.seed)
    if options.bar is not None:
        more["bar"] = compare_with_bar(rows, options.bar)
    return more


def _write(results: Results, out: Path) -> None:
    lines = (json.dumps(line, ensure_ascii=False) for line in results.answer_lines())
    write_text(out / "answers.jsonl", "".join(line + "\n" for line in lines))
    results.save(out / "results.json")


def _versions() -> JsonObject:
    import torch
    import transformers

    import medmvl

    libraries = {
        "medmvl": medmvl.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {"versions": {**libraries, "python": platform.python_version()}}
