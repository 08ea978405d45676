"""Bring what a connector makes of a visual and its question near the embedding of the answer, without running the LLM.

A connector that reads the question learns slowly through a frozen LLM, and a trained LLM learns the few questions of a medical
data set by heart before its connector says anything. Here a step costs what the connector costs: the mean of a visual's tokens
is compared, by cosine, with the mean embedding of every answer in the batch (InfoNCE, equal answers counting once). The LLM
then reads tokens that look like the words of the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.visual_inputs import VisualInputs
from medmvl.models.visual_table import to_rows
from medmvl.training.objectives import LearnedScale, Metrics, Objective, gather, pair_totals, pairs_of


class AnswerAlignment(Objective):
    """Choose each sample's answer among those of a micro batch over all ranks. `labels` is `(B,)` and counts samples."""

    common: Tensor
    """`(width,)`: the mean embedding of all words."""

    def __init__(self, model: MedMVLForConditionalGeneration, temperature: float) -> None:
        super().__init__(model)
        self.scale = LearnedScale(temperature)
        embedding = model.get_input_embeddings()
        with torch.no_grad():
            words = embedding(torch.arange(embedding.num_embeddings, device=embedding.weight.device))
        self.register_buffer("common", words.mean(0, dtype=torch.float32), persistent=False)

    def forward(
        self,
        labels: Tensor,
        text_ids: Tensor,
        text_mask: Tensor,
        num_items_in_batch: Tensor | None = None,
        **batch: Any,
    ) -> dict[str, Tensor]:
        """Totals: the direction of what was seen, then that of the answer."""
        seen, answers = self._seen(len(labels), batch), self._answers(text_ids, text_mask)
        scale = self.scale()
        if not self.training:
            loss = _chosen(seen, answers, answers, scale).mean()
            return {"loss": loss, "totals": pair_totals(seen, answers, scale)}
        losses = _chosen(seen, answers, gather(answers), scale)
        loss = losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)
        return {"loss": loss + self.idle(batch["visual_table"])}

    def _seen(self, num_samples: int, batch: dict[str, Any]) -> Tensor:
        tokens = self.model.encode_rows(
            VisualInputs.from_batch(batch),
            batch.get("question_ids"),
            batch.get("volume_kept"),
            batch.get("features_kept"),
        )
        means: dict[int, list[Tensor]] = defaultdict(list)
        for row, found in zip(to_rows(batch["visual_table"]), tokens, strict=True):
            means[row.row].append(found.mean(0))
        joined = torch.stack([torch.stack(means[row]).mean(0) for row in range(num_samples)])
        return functional.normalize(joined.float(), dim=-1)

    @torch.no_grad()
    def _answers(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """`(B, width)`: mean embeddings without what all words share, as it is when the stage begins."""
        shares = text_mask[..., None] / text_mask.sum(1)[:, None, None]
        means = (self.model.get_input_embeddings()(text_ids).float() * shares).sum(1)
        return functional.normalize(means - self.common, dim=-1)

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Loss among all answers of validation at once, and how often the own answer is the nearest of all."""
        seen, answers, scale = pairs_of(totals)
        distinct = torch.unique(answers, dim=0)
        right = (seen @ distinct.T).argmax(1) == (answers @ distinct.T).argmax(1)
        loss = _chosen(seen, answers, answers, scale).mean()
        return {"loss": loss.item(), "answer_accuracy": right.double().mean().item()}


def _chosen(seen: Tensor, answers: Tensor, known: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of each sample's own answer among the distinct known ones."""
    distinct = torch.unique(known, dim=0)
    own = (answers @ distinct.T).argmax(dim=1)
    return functional.cross_entropy(scale * seen @ distinct.T, own, reduction="none")
