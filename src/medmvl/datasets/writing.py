"""A data set on disk: one JSON Lines file per split and `dataset.json` about them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.datasets.loader import PHANTOM_SCHEME, BlockLoader
from medmvl.datasets.splits import given_splits, split_samples
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import ImageBlock, Message, Sample, TextBlock, VolumeBlock, write_samples


def write_splits(
    out: Path,
    samples: Sequence[Sample],
    fractions: Mapping[str, float],
    seed: int,
    about: JsonMapping,
    given: Sequence[str | None] | None = None,
) -> JsonObject:
    """Split samples by patient, write them and return the summary that is also in `dataset.json`.

    Args:
        out: an existing folder, as `whole_folder` gives.
        samples: all of them, their paths relative to `out`.
        fractions: share of each split.
        seed: seed for the split.
        given: the split of every sample where it is known already; nothing is drawn then.
        about: more facts for `dataset.json`, without identity.

    Raises:
        UserError: there are too few patients, or the given splits divide one.
    """
    parts = split_samples(samples, fractions, seed) if given is None else given_splits(samples, given)
    counts = {}
    for name, indices in parts.items():
        chosen = [samples[index] for index in indices]
        write_samples(out / f"{name}.jsonl", chosen)
        counts[name] = {"samples": len(chosen), "patients": len({s.patient for s in chosen if s.patient})}
    summary = {**about, "splits": counts, "split_seed": seed}
    write_json(out / "dataset.json", summary)
    return summary


def path_from(out: Path, file: str | Path) -> str:
    """The path of a file as samples in `out` name it."""
    return Path(os.path.relpath(Path(file).absolute(), out.absolute())).as_posix()


def rebase(sample: Sample, load: BlockLoader, out: Path) -> Sample:
    """The sample as it is written into another folder: same files, and the source's declarations in its blocks."""
    messages = tuple(
        Message(
            role=message.role, content=tuple(_rebase_block(block, load, out) for block in message.content)
        )
        for message in sample.messages
    )
    return sample.model_copy(update={"messages": messages})


def _rebase_block(
    block: TextBlock | ImageBlock | VolumeBlock, load: BlockLoader, out: Path
) -> TextBlock | ImageBlock | VolumeBlock:
    if isinstance(block, TextBlock) or block.path.startswith(PHANTOM_SCHEME):
        return block
    file, mark, selector = load.reference(block).partition("#")
    return block.model_copy(
        update={block.type: path_from(out, file) + mark + selector, **load.declarations(block)}
    )
