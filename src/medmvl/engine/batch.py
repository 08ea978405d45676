"""Answers for a whole data set: batched by scan, written as they come, resumed after a kill, spread over processes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medmvl.datasets.loader import BlockLoader, ImageLoader
from medmvl.digests import file_sha256
from medmvl.engine.answer_file import RECORD, AnswerFile, StoredAnswer
from medmvl.engine.options import GenerationOptions
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.engine.request import Failure, Request
from medmvl.errors import SampleError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.messages import first_of
from medmvl.models.visuals import VisualLoader
from medmvl.outputs import continued_file
from medmvl.schema import Message, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from medmvl.engine.engine import Engine
    from medmvl.models.processing import MedMVLProcessor

logger = logging.getLogger(__name__)
Progress = Callable[[int], None]

_DECIDING = {".json", ".safetensors", ".jinja", ".model", ".txt"}
"""Suffixes of the files of a model that decide its answers."""


def answer_samples(
    engine: Engine,
    samples: Sequence[Sample],
    load: ImageLoader,
    out: Path,
    run: JsonMapping,
    options: GenerationOptions,
    *,
    batch_size: int = 32,
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> list[Failure]:
    """Answer the last turn of every sample into the file `out`, in the samples' order at the end.

    Samples already answered in `out` are not asked again. Greedy answers to equal conversations are decoded
    once.

    Args:
        engine: answers.
        samples: with ids of their own.
        load: reads the image or volume of a block.
        out: a `.jsonl` file, see `AnswerFile`.
        run: what else decides the answers, such as digests of model and data; must be equal when resumed.
        options: of decoding; must be equal when resumed.
        batch_size: conversations decoded together.
        processes: the processes that share the work; all call this with the same arguments.
        progress: called with how many samples have just been dealt with.

    Returns:
        The samples that could not be answered, of all processes; the others are all in the file.

    Raises:
        SampleError: two samples have one id.
        UserError: `out` belongs to another run, or another process writes it.
    """
    check_ids(samples)
    record = {**run, "options": options.model_dump(mode="json")}
    with continued_file(out, RECORD, first=processes.first):
        return _answer_missing(
            engine,
            samples,
            load,
            out,
            record,
            options,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )


def _answer_missing(
    engine: Engine,
    samples: Sequence[Sample],
    load: ImageLoader,
    out: Path,
    record: JsonObject,
    options: GenerationOptions,
    *,
    batch_size: int,
    processes: ProcessGroup,
    progress: Progress | None,
) -> list[Failure]:
    if processes.first:
        _collect(AnswerFile(out, record), samples)
    processes.wait()
    done = set(AnswerFile(out, record).answers)
    if processes.first and isinstance(load, BlockLoader):
        _warn_of_replaced([sample for sample in samples if sample.id in done], load, out)
    processes.wait()
    file = AnswerFile(out if processes.size == 1 else _part(out, processes.rank), record)
    batches = plan(samples, done, batch_size, merge_equal=not options.sampled)
    if progress is not None:
        progress(len(done & {sample.id for sample in samples}))
    failures: list[Failure] = []
    with engine.keeping_features(load) as seeing:
        for batch in batches[processes.rank :: processes.size]:
            failures += _answer_batch(engine, batch, seeing, file, options)
            if progress is not None:
                progress(sum(len(same) for same in batch))
    processes.wait()
    if processes.first:
        _collect(AnswerFile(out, record), samples)
    return processes.gather(failures)


def _warn_of_replaced(answered: Sequence[Sample], load: BlockLoader, out: Path) -> None:
    """Warn of images that were written since the run was begun: the answers that are there may be about other ones."""
    begun = out.with_name(out.name + RECORD).stat().st_mtime_ns
    blocks = {block.path: block for sample in answered for block in sample.visuals}
    replaced = [path for path, block in blocks.items() if load.written_ns(block) > begun]
    if replaced:
        logger.warning(
            "%s: answers that are there are not asked for again, but what they are about was written after them (%s): "
            "if these are other scans now, choose another --out",
            out,
            first_of(replaced, 3, separator=", "),
        )


def plan(
    samples: Sequence[Sample], done: set[str], batch_size: int, *, merge_equal: bool
) -> list[list[list[Sample]]]:
    """Batches of groups of samples with the same question and scans; samples about one scan follow one another."""
    equal: dict[Any, list[Sample]] = {}
    for sample in samples:
        if sample.id not in done:
            key: tuple[Message, ...] | str = sample.prompt().messages if merge_equal else sample.id
            equal.setdefault(key, []).append(sample)
    scans: dict[tuple[str, ...], list[list[Sample]]] = {}
    for same in equal.values():
        scans.setdefault(tuple(block.path for block in same[0].visuals), []).append(same)
    groups = [same for group in scans.values() for same in group]
    return [groups[start : start + batch_size] for start in range(0, len(groups), batch_size)]


def check_ids(samples: Iterable[Sample]) -> None:
    """Raise SampleError where two samples have one id: their answers could not be told apart."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise SampleError(f"two samples have the id {sample.id!r}; give every sample an id of its own")
        seen.add(sample.id)


def model_digest(folder: Path) -> str:
    """SHA-256 over a model's settings, words and weights, every byte of them: a stage may train a thousandth of the weights."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in _DECIDING:
            total.update(f"{path.name} {file_sha256(path)}".encode())
    return total.hexdigest()


def digest_in_memory(model: PreTrainedModel, processor: MedMVLProcessor) -> str:
    """SHA-256 over all weights of a model by name, its settings, and what its processor makes of pixels and words."""
    settings = [
        processor.to_dict(),
        processor.tokenizer.chat_template,
        processor.tokenizer.backend_tokenizer.to_str(),
    ]
    total = hashlib.sha256(
        json.dumps([model.config.to_dict(), settings], sort_keys=True, default=str).encode()
    )
    for name, weight in sorted(model.state_dict().items()):
        total.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        total.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _answer_batch(
    engine: Engine,
    batch: list[list[Sample]],
    load: VisualLoader,
    file: AnswerFile,
    options: GenerationOptions,
) -> list[Failure]:
    requests = [Request.from_sample(same[0], load) for same in batch]
    failures: list[Failure] = []
    answers: list[StoredAnswer] = []
    for same, outcome in zip(batch, engine.try_answer(requests, options), strict=True):
        if isinstance(outcome, Failure):
            failures += [Failure(sample.id, outcome.error) for sample in same]
            logger.warning("%s: %s", outcome.name, outcome.error)
        else:
            cut = outcome.finish == "length"
            answers += [
                StoredAnswer(
                    sample.id, outcome.text, outcome.tokens, outcome.warnings, cut, outcome.reasoning
                )
                for sample in same
            ]
    file.append(answers)
    return failures


def _part(out: Path, rank: int) -> Path:
    return out.with_name(f"{out.name}.part-{rank}")


def _collect(file: AnswerFile, samples: Sequence[Sample]) -> None:
    """Bring the parts of this run, also those of an earlier number of processes, into the file, in order."""
    found = sorted(file.path.parent.glob(f"{escape(file.path.name)}.part-*"))
    parts = [path for path in found if not path.name.endswith(RECORD)]
    answers = dict(file.answers)
    for part in parts:
        answers |= AnswerFile(part, file.run).answers
    order = [sample.id for sample in samples if sample.id in answers]
    others = [name for name in answers if name not in set(order)]
    ordered = [answers[name] for name in (*order, *others)]
    if ordered != list(file.answers.values()):
        file.rewrite(ordered)
    for path in found:
        path.unlink()
