"""What a stage minimises: `lm` (answers), `classification` (named findings), `contrastive` (studies and their reports).

`answer_alignment`, `dpo` and `grpo` have modules of their own.

An objective is the module that the Trainer trains: the model, and heads of its own that are not part of the model. Its
loss is a sum divided by `num_items_in_batch`, which counts what is learned over all ranks and accumulation steps, so
that one process and many give the same. In evaluation it also returns `totals`, a row of sums per sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmvl.models.collation import Batch
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.visual_inputs import VisualInputs
from medmvl.models.visual_table import KINDS, to_rows
from medmvl.models.visuals import IGNORED_LABEL

Metrics = dict[str, float]


class Objective(nn.Module):
    """The model with what a stage needs around it."""

    accepts_loss_kwargs = True
    """Tells the Trainer to hand over `num_items_in_batch`."""

    def __init__(self, model: MedMVLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict()

    @property
    def _no_split_modules(self) -> list[str]:
        """Layers that FSDP gathers one by one: the LLM's.

        Encoders are gathered with the root: ranks may run them in different orders, which gathering must not follow.
        """
        names = set(getattr(self.model.llm, "_no_split_modules", None) or ())
        return sorted(names & {type(module).__name__ for module in self.model.llm.modules()})

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Validation numbers from the totals of all samples, `(samples, columns)`; `question_types` has one per sample."""
        raise AssertionError(f"{type(self).__name__} has no metrics")

    def idle(self, table: Tensor) -> Tensor:
        """Zero, through every trainable part and head that this batch does not use: all ranks run the same ones."""
        used = {KINDS[row.kind] for row in to_rows(table)}
        zero = self.model.touch_idle_parts(used)
        for kind in KINDS:
            if kind in self.heads and kind not in used:
                zero = zero + sum(weight.sum() for weight in self.heads[kind].parameters()) * 0.0
        return zero


class LanguageModelling(Objective):
    """Predict the assistant's tokens. `labels` is `(B, L)`."""

    loss_type = "ForCausalLM"
    """Tells the Trainer that the first column of `labels` is never predicted."""

    def forward(
        self, labels: Tensor, num_items_in_batch: Tensor | None = None, **batch: Any
    ) -> dict[str, Tensor]:
        """Totals: summed loss, supervised tokens, right tokens, and whether the whole answer is right."""
        outputs = self.model(
            labels=labels,
            num_items_in_batch=num_items_in_batch,
            use_cache=False,
            return_logits=False,
            **batch,
        )
        if self.training:
            return {"loss": outputs.loss}
        return {
            "loss": outputs.loss,
            "totals": _token_totals(outputs.token_losses, outputs.predicted, labels),
        }

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Loss and accuracy per token; share of answers right given the tokens before, overall and per type of question."""
        loss, tokens, right = totals[:, :3].sum(0).tolist()
        exact = totals[:, 3]
        metrics = {
            "loss": loss / tokens,
            "token_accuracy": right / tokens,
            "answer_accuracy": exact.mean().item(),
        }
        rows: dict[str, list[int]] = defaultdict(list)
        for row, question_type in enumerate(question_types):
            if question_type is not None:
                rows[question_type].append(row)
        return metrics | {
            f"answer_accuracy/{question_type}": exact[members].mean().item()
            for question_type, members in rows.items()
        }


def _token_totals(losses: Tensor, predicted: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:]
    keep = targets != IGNORED_LABEL
    row, wanted = keep.nonzero()[:, 0], targets[keep]
    right, loss = (predicted == wanted).double(), losses.double()
    columns = torch.stack([loss, torch.ones_like(loss), right], dim=1)
    totals = columns.new_zeros((len(labels), 3)).index_add(0, row, columns)
    return torch.cat([totals, (totals[:, 1:2] == totals[:, 2:3]).double()], dim=1)


def encode_visuals(model: MedMVLForConditionalGeneration, batch: Batch) -> list[tuple[str, int, Tensor]]:
    """Encoder features before the connector: for every row of the visual table its kind, its batch row and tokens.

    Tokens are `(tokens, width)`, the streams of an encoder side by side on the grid of the first.
    """
    rows = to_rows(batch["visual_table"])
    features = model.visual_features(VisualInputs.from_batch(batch))
    return [(KINDS[row.kind], row.row, _tokens_of(found)) for row, found in zip(rows, features, strict=True)]


def _tokens_of(features: VisualFeatures) -> Tensor:
    """All real tokens of all tiles, `(tokens, width)`."""
    grids = features.stream_grids
    tokens = torch.cat(
        [_on_grid(stream, own, grids[0]) for stream, own in zip(features.streams, grids, strict=True)], dim=-1
    )
    return tokens.flatten(0, 1) if features.mask is None else tokens[features.mask]


def _on_grid(stream: Tensor, own: Grid, other: Grid) -> Tensor:
    """`(batch, tokens, width)` of one grid to the nearest cells of another."""
    if own == other:
        return stream
    cells = stream.transpose(1, 2).reshape(*stream.shape[::2], *own)
    return functional.interpolate(cells, size=other, mode="nearest-exact").flatten(2).transpose(1, 2)


def encoder_widths(model: MedMVLForConditionalGeneration) -> dict[str, int]:
    """Width of the features of each kind of visual the model reads."""
    encoders = {kind: getattr(model, f"{kind}_encoder") for kind in KINDS}
    return {kind: sum(encoder.widths) for kind, encoder in encoders.items() if encoder is not None}


class LearnedScale(nn.Module):
    """What cosines are multiplied by before they are compared: one over a learned temperature, at most 100.

    One element and not a scalar, as FSDP2 shards a parameter along its first axis.
    """

    largest = 100

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([1.0 / temperature]).log())

    def forward(self) -> Tensor:
        """The scale, `(1,)`."""
        return self.log.exp().clamp(max=self.largest)


def pair_totals(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """What validation keeps of `(B, width)` directions that belong together: they, and the scale, which may be sharded."""
    return torch.cat([first, second, scale.detach().expand(len(first), 1)], dim=1)


def pairs_of(totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The directions and the scale that `pair_totals` joined."""
    first, second = totals[:, :-1].float().chunk(2, dim=1)
    return first, second, totals[:1, -1].float()


class LabelHead(nn.Module):
    """One logit per label: that of the token that speaks most for it.

    A finding is somewhere, not everywhere. The mean over tokens, also a learned one that starts there, needed several times
    as many steps to find a nodule (docs/LOG.md).
    """

    def __init__(self, width: int, num_labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.judge = nn.Linear(width, num_labels)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(tokens, width)` to `(labels,)`."""
        logits: Tensor = self.judge(self.norm(tokens)).amax(0)
        return logits


class Classification(Objective):
    """Say from an encoder's features which findings are present. `labels` is `(B, names)`, -100 where unknown."""

    def __init__(self, model: MedMVLForConditionalGeneration, names: Sequence[str]) -> None:
        super().__init__(model)
        self.names = tuple(names)
        for kind, width in encoder_widths(model).items():
            self.heads[kind] = LabelHead(width, len(self.names))

    def forward(
        self, labels: Tensor, num_items_in_batch: Tensor | None = None, **batch: Any
    ) -> dict[str, Tensor]:
        """Binary cross entropy over known labels. Totals: loss and count, then right and known for every label."""
        logits = self.logits(labels.new_zeros(labels.shape), batch)
        known = (labels != IGNORED_LABEL).to(labels.dtype)
        losses = known * functional.binary_cross_entropy_with_logits(
            logits, labels.clamp(0, 1), reduction="none"
        )
        total = known.sum() if num_items_in_batch is None else num_items_in_batch
        if self.training:
            return {"loss": losses.sum() / total + self.idle(batch["visual_table"])}
        right = known * ((logits > 0) == (labels > 0.5))
        sums = [losses.sum(1, keepdim=True), known.sum(1, keepdim=True), right, known]
        return {"loss": losses.sum() / total, "totals": torch.cat(sums, dim=1).double()}

    def logits(self, zeros: Tensor, batch: Batch) -> Tensor:
        """`(B, names)`, shape, type and device those of `zeros`: of each study, the mean over its visuals."""
        logits, count = zeros, zeros.new_zeros((len(zeros), 1))
        for kind, row, tokens in encode_visuals(self.model, batch):
            here = torch.tensor([row], device=zeros.device)
            logits = logits.index_add(0, here, self.heads[kind](tokens)[None].to(zeros.dtype))
            count = count.index_add(0, here, count.new_ones((1, 1)))
        return logits / count.clamp(min=1)

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Loss per known label, accuracy over all labels and per label."""
        sums = totals.sum(0)
        right, known = sums[2:].chunk(2)
        metrics = {"loss": (sums[0] / sums[1]).item(), "label_accuracy": (right.sum() / known.sum()).item()}
        each = zip(self.names, right.tolist(), known.tolist(), strict=True)
        return metrics | {f"label_accuracy/{name}": hits / of for name, hits, of in each if of}


class Contrastive(Objective):
    """Bring a study and its own report together, away from the others of the batch (InfoNCE, both ways).

    As CLIP (Radford et al., arXiv 2103.00020): the study is the mean of its encoder tokens, the report the mean of the
    LLM's last hidden states, each projected and normalised; negatives are those of one micro batch over all ranks.
    """

    width = 256

    def __init__(self, model: MedMVLForConditionalGeneration, temperature: float) -> None:
        super().__init__(model)
        for kind, width in encoder_widths(model).items():
            self.heads[kind] = nn.Linear(width, self.width)
        llm_width = model.get_input_embeddings().embedding_dim
        self.heads["text"] = nn.Linear(llm_width, self.width)
        self.scale = LearnedScale(temperature)

    def forward(
        self,
        labels: Tensor,
        text_ids: Tensor,
        text_mask: Tensor,
        num_items_in_batch: Tensor | None = None,
        **batch: Any,
    ) -> dict[str, Tensor]:
        """`labels` is `(B,)` and counts pairs. Totals: the features of the study, then those of the report."""
        studies, reports = self._studies(len(labels), batch), self._reports(text_ids, text_mask)
        scale = self.scale()
        if not self.training:
            losses = _contrasted(studies, reports, studies, reports, 0, scale)
            return {"loss": losses.mean(), "totals": pair_totals(studies, reports, scale)}
        losses = _contrasted(studies, reports, gather(studies), gather(reports), _rank() * len(labels), scale)
        loss = losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)
        return {"loss": loss + self.idle(batch["visual_table"])}

    def _studies(self, num_samples: int, batch: Batch) -> Tensor:
        sums: dict[int, list[Tensor]] = defaultdict(list)
        for kind, row, tokens in encode_visuals(self.model, batch):
            sums[row].append(self.heads[kind](tokens.mean(0)))
        return functional.normalize(
            torch.stack([torch.stack(sums[row]).mean(0) for row in range(num_samples)]), dim=-1
        )

    def _reports(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        llm = self.model.llm
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and any(p.requires_grad for p in llm.parameters())
        ):
            hidden = llm.base_model(
                input_ids=text_ids, attention_mask=text_mask, use_cache=False
            ).last_hidden_state
        weights = text_mask[..., None].to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        return functional.normalize(self.heads["text"](pooled.to(self.heads["text"].weight.dtype)), dim=-1)

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Loss among all validation studies at once, and how often the own report is the nearest of all."""
        studies, reports, scale = pairs_of(totals)
        found = (studies @ reports.T).argmax(1) == torch.arange(len(studies))
        loss = _contrasted(studies, reports, studies, reports, 0, scale).mean()
        return {"loss": loss.item(), "retrieval_accuracy": found.double().mean().item()}


def _contrasted(
    studies: Tensor, reports: Tensor, all_studies: Tensor, all_reports: Tensor, offset: int, scale: Tensor
) -> Tensor:
    """The loss of each pair; its own partner is at `offset` and on in what all ranks have."""
    own = torch.arange(offset, offset + len(studies), device=studies.device)
    to_report = functional.cross_entropy(scale * studies @ all_reports.T, own, reduction="none")
    to_study = functional.cross_entropy(scale * reports @ all_studies.T, own, reduction="none")
    return (to_report + to_study) / 2


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if _distributed() else 0


def gather(features: Tensor) -> Tensor:
    """The features of all ranks, with gradients flowing back to the rank they came from."""
    if not _distributed():
        return features
    from torch.distributed.nn.functional import all_gather

    gathered: tuple[Tensor, ...] = all_gather(features)  # type: ignore[no-untyped-call]
    return torch.cat(list(gathered))
