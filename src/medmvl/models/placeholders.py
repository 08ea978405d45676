"""Placeholders of images and volumes in token ids: each becomes as many as its visual has tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from medmvl.errors import SampleError
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample, ProcessedVisual

IMAGE_TOKEN, VOLUME_TOKEN = "<|image|>", "<|volume|>"
PLACEHOLDERS = {"image": IMAGE_TOKEN, "volume": VOLUME_TOKEN}
"""The token that stands for a visual of each kind."""


def expand_placeholders(
    ids: Sequence[int],
    supervised: Sequence[bool] | None,
    visuals: Sequence[ProcessedVisual],
    kinds: Mapping[int, str],
    max_length: int,
    name: str,
) -> ProcessedSample:
    """Repeat every placeholder for the tokens of its visual, in order; each must be of its visual's kind.

    Args:
        ids: one placeholder per visual.
        supervised: for each id whether it is learned; None: no labels are made.
        visuals: in the order of their placeholders.
        kinds: the kind of each placeholder's id.
        max_length: tokens that the sample may have.
        name: names the sample in errors.

    Raises:
        SampleError: placeholders and visuals differ, or the sample is too long.
    """
    if [kinds[i] for i in ids if i in kinds] != [visual.kind for visual in visuals]:
        raise SampleError(f"{name}: the chat template dropped or moved an image or volume.")
    expanded: list[int] = []
    flags: list[bool] = []
    starts: list[int] = []
    waiting = iter(visuals)
    for position, token in enumerate(ids):
        count = 1
        if token in kinds:
            lengths = [view.num_tokens for view in next(waiting).views]
            starts += [len(expanded) + place for place in accumulate(lengths[:-1], initial=0)]
            count = sum(lengths)
        expanded.extend([token] * count)
        flags.extend([supervised is not None and supervised[position]] * count)
    if len(expanded) > max_length:
        visual_tokens = sum(visual.all_tokens for visual in visuals)
        raise SampleError(
            f"{name}: {len(expanded)} tokens ({visual_tokens} of them visual) are more than max_length {max_length}; "
            "nothing is cut. Shorten it, use fewer visual tokens, or raise max_length."
        )
    input_ids = torch.tensor(expanded, dtype=torch.long)
    labels = input_ids.masked_fill(~torch.tensor(flags), IGNORED_LABEL) if supervised is not None else None
    views = tuple(view for visual in visuals for view in visual.views)
    return ProcessedSample(name=name, input_ids=input_ids, labels=labels, visuals=views, starts=tuple(starts))
