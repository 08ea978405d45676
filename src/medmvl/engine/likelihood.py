"""How likely the model finds each candidate answer: confidence without trusting what it says about itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from medmvl.datasets.loader import ImageLoader
from medmvl.engine.answer_file import RECORD, AnswerFile, StoredAnswer
from medmvl.engine.options import GenerationOptions
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.engine.request import Failure, Request
from medmvl.json_types import JsonMapping
from medmvl.models.rotary_border import sides
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample, VisualLoader
from medmvl.outputs import continued_file
from medmvl.schema import Message, Sample, TextBlock

if TYPE_CHECKING:
    from medmvl.engine.engine import Engine

WITHOUT_REASONING = GenerationOptions(thinking=False)
"""Candidates are scored without reasoning, as no one reasoning leads to all of them."""


def candidate_logprobs(
    engine: Engine, requests: Sequence[Request], candidates: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Log-likelihood of every candidate as the whole next turn, its text and the end of the turn, without reasoning.

    Args:
        engine: the model.
        requests: conversations that wait for an answer, in one batch.
        candidates: for each request, the answers to score.

    Returns:
        For each request one natural logarithm of a probability per candidate.

    Raises:
        UserError: a request cannot be read, or is too long with a candidate.
    """
    rows = [
        _answered(engine, request, text)
        for request, texts in zip(requests, candidates, strict=True)
        for text in texts
    ]
    owners = [request.owner for request, texts in zip(requests, candidates, strict=True) for _ in texts]
    sums = [0.0] * len(rows)
    for side in sides([len(row.input_ids) for row in rows], engine.border):
        found = _logprobs(engine, [rows[place] for place in side], [owners[place] for place in side])
        for place, value in zip(side, found, strict=True):
            sums[place] = value
    starts = [sum(len(texts) for texts in candidates[:i]) for i in range(len(candidates))]
    return [sums[start : start + len(texts)] for start, texts in zip(starts, candidates, strict=True)]


def _logprobs(engine: Engine, rows: Sequence[ProcessedSample], owners: Sequence[str]) -> list[float]:
    """Log-likelihood of what is supervised in each row, in one pass."""
    batch = engine.processor.collate(rows)
    inputs = {name: batch[name].to(engine.device) for name in ("input_ids", "attention_mask", "labels")}
    visuals = [(visual, owner) for row, owner in zip(rows, owners, strict=True) for visual in row.visuals]
    with torch.inference_mode():
        if visuals:
            inputs["visual_table"] = batch["visual_table"]
            inputs["visual_tokens"] = engine.inputs.visual_tokens.of(visuals)
        logits = engine.model(**inputs, use_cache=False).logits.float().cpu()
    targets = torch.cat(
        [row.labels[1:][row.labels[1:] != IGNORED_LABEL] for row in rows if row.labels is not None]
    )
    each = -functional.cross_entropy(logits, targets, reduction="none")
    return [float(part.sum()) for part in torch.split(each, [row.num_supervised for row in rows])]


def choice_logprobs(
    engine: Engine,
    samples: Sequence[Sample],
    load: ImageLoader,
    out: Path,
    run: JsonMapping,
    *,
    batch_size: int = 16,
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """Log-likelihoods of the choices of every closed sample, kept in one file per process so that a kill loses little.

    Samples that cannot be read are left out; they fail as answers, too.
    """
    mine = samples[processes.rank :: processes.size]
    path = out.with_name(f"{out.stem}-{processes.rank}-of-{processes.size}.jsonl")
    with continued_file(path, RECORD):
        file = AnswerFile(path, run)
        _score_missing(engine, mine, load, file, batch_size, progress)
    known = [(answer.id, json.loads(answer.text)) for answer in file.answers.values()]
    return dict(processes.gather(known))


def _score_missing(
    engine: Engine,
    mine: Sequence[Sample],
    load: ImageLoader,
    file: AnswerFile,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> None:
    waiting = [sample for sample in mine if sample.id not in file.answers]
    if progress is not None:
        progress(len(mine) - len(waiting))
    with engine.keeping_features(load) as cached:
        for start in range(0, len(waiting), batch_size):
            batch = waiting[start : start + batch_size]
            file.append(_scored(engine, batch, cached))
            if progress is not None:
                progress(len(batch))


def _scored(engine: Engine, batch: Sequence[Sample], load: VisualLoader) -> list[StoredAnswer]:
    requests, choices, kept = [], [], []
    for sample in batch:
        request = Request.from_sample(sample, load)
        if sample.target is None or isinstance(engine.try_prepare(request, WITHOUT_REASONING), Failure):
            continue
        requests.append(request)
        choices.append(sample.target.choices)
        kept.append(sample.id)
    if not kept:
        return []
    scored = candidate_logprobs(engine, requests, choices)
    return [StoredAnswer(name, json.dumps(values), ()) for name, values in zip(kept, scored, strict=True)]


def _answered(engine: Engine, request: Request, text: str) -> ProcessedSample:
    """The conversation with `text` as its last turn; only the tokens of that turn are supervised."""
    turn = Message(role="assistant", content=(TextBlock(text=text),))
    asked = engine.prepare(request, WITHOUT_REASONING)
    whole = engine.processor.prepare(
        (*request.messages, turn), request.load, supervised=True, name=request.name
    )
    assert whole.labels is not None
    labels = whole.labels.clone()
    labels[: len(asked.input_ids)] = IGNORED_LABEL
    return replace(whole, labels=labels)
