"""Visual tokens go to their places among the text's embeddings: each block is checked against the table, not only totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from medmvl.models.visual_inputs import may_wait
from medmvl.models.visual_table import KINDS, VisualRow

_DISAGREEMENT = "placeholders and visual table do not agree: a placeholder without an image or volume, or one of the other kind"


def check_lengths(rows: Sequence[VisualRow], visual_tokens: Sequence[Tensor]) -> None:
    """Raise ValueError unless every visual has as many tokens as its place."""
    for row, tokens in zip(rows, visual_tokens, strict=True):
        if len(tokens) != row.length:
            raise ValueError(
                f"{row.name}: its place holds {row.length} placeholders, but encoder and connector gave {len(tokens)} "
                "tokens. The processor and the model do not belong together."
            )


def put_in_place(embeddings: Tensor, visual_tokens: Sequence[Tensor], rows: Sequence[VisualRow]) -> Tensor:
    """Embeddings `(B, L, width)` with the tokens `(length, width)` of every row of the table in its own place."""
    places = _places(rows, embeddings.shape[1]).to(embeddings.device, non_blocking=True)
    values = torch.cat(list(visual_tokens)).to(embeddings)
    return embeddings.flatten(0, 1).index_copy(0, places, values).view_as(embeddings)


def check_placeholders(
    input_ids: Tensor, rows: Sequence[VisualRow], ids: Mapping[str, int | None], *, training: bool
) -> None:
    """Raise ValueError unless every place holds its own kind of placeholder, and no placeholder is left over.

    Args:
        input_ids: `(B, L)`.
        rows: the visual table.
        ids: vocabulary id of the placeholder of each kind; None where the model does not read that kind.
        training: on a device the host does not wait for the answer then, which costs the message its details.
    """
    if _overlap(rows):
        raise ValueError(f"{_DISAGREEMENT}; two visuals share a place of the batch.")
    expected = _expected(input_ids, rows, ids)
    flat = input_ids.flatten()
    placeholders = torch.zeros_like(flat, dtype=torch.bool)
    for known in ids.values():
        placeholders |= flat == (-1 if known is None else known)
    wrong = (placeholders | (expected >= 0)) & (flat != expected)
    if not may_wait(wrong, training=training):
        torch._assert_async(~wrong.any(), _DISAGREEMENT)
    elif bool(wrong.any()):
        raise ValueError(f"{_DISAGREEMENT}; first at token {int(wrong.nonzero()[0])} of the batch.")


def _expected(input_ids: Tensor, rows: Sequence[VisualRow], ids: Mapping[str, int | None]) -> Tensor:
    """`(B * L,)`: the placeholder that the table puts at each token; -1 where it puts none."""
    kinds = [ids[KINDS[row.kind]] for row in rows for _ in range(row.length)]
    device = input_ids.device
    places = _places(rows, input_ids.shape[1]).to(device, non_blocking=True)
    values = torch.tensor(kinds, dtype=torch.long).to(device, non_blocking=True)
    return input_ids.new_full((input_ids.numel(),), -1).index_copy(0, places, values)


def _places(rows: Sequence[VisualRow], length: int) -> Tensor:
    """Where in the flat batch of rows of `length` the tokens of the visuals go."""
    starts = [row.row * length + row.start for row in rows]
    parts = [torch.arange(start, start + row.length) for start, row in zip(starts, rows, strict=True)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


def _overlap(rows: Sequence[VisualRow]) -> bool:
    """Whether two visuals claim one place."""
    spans = sorted((row.row, row.start, row.start + row.length) for row in rows)
    return any(one[0] == other[0] and one[2] > other[1] for one, other in pairwise(spans))
