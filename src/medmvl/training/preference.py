"""The `dpo` objective: prefer the chosen answer to the rejected one, measured against the stage's first weights.

The reference is not a second model: its log-probabilities are computed once, before the first step, and kept in the stage's
folder. With LoRA the first weights are those of the model without it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from medmvl.atomic_files import atomic_write
from medmvl.errors import UserError
from medmvl.models.answer_logprobs import Sampling
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.training.objectives import Metrics, Objective
from medmvl.training.preference_data import PairDataset
from medmvl.training.recipe import Preference
from medmvl.training.stage_data import Collator

logger = logging.getLogger(__name__)
REFERENCE = "reference.safetensors"
PLAIN = Sampling(with_entropy=False)


class DirectPreference(Objective):
    """DPO (Rafailov et al., arXiv 2305.18290) and IPO (Azar et al., 2310.12036).

    Dropout is off: a log-ratio between two random networks would be noise.
    """

    def __init__(self, model: MedMVLForConditionalGeneration, settings: Preference) -> None:
        super().__init__(model)
        self.settings = settings
        switch_dropout_off(model)

    def forward(
        self,
        labels: Tensor,
        answer_labels: Tensor,
        reference: Tensor,
        num_items_in_batch: Tensor | None = None,
        **batch: Any,
    ) -> dict[str, Tensor]:
        """`labels` `(B,)` counts pairs; rows of `answer_labels` `(2 B, L)` are chosen answers, then rejected ones.

        Totals of each pair: loss, whether the chosen answer gained more than the rejected one, what each gained times beta.
        """
        logprobs, tokens = answer_logprobs(self.model, answer_labels, **batch)
        gains = logprobs.chunk(2)[0] - reference[:, 0], logprobs.chunk(2)[1] - reference[:, 1]
        losses = preference_losses(logprobs, reference, tokens, self.settings)
        total = len(labels) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / total
        if self.training:
            return {"loss": loss}
        rewards = [self.settings.beta * gain for gain in gains]
        columns = [losses, (gains[0] > gains[1]).to(losses), *rewards]
        return {"loss": loss, "totals": torch.stack(columns, dim=1).double()}

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """Loss, share of pairs in which the chosen answer gained more, and by how much, overall."""
        loss, accuracy, chosen, rejected = totals.mean(0).tolist()
        metrics = {
            "loss": loss, "preference_accuracy": accuracy, "reward_chosen": chosen, "reward_rejected": rejected,
            "reward_margin": chosen - rejected,
        }  # fmt: skip
        types = sorted({one for one in question_types if one is not None})
        rows = {name: [i for i, one in enumerate(question_types) if one == name] for name in types}
        return metrics | {
            f"preference_accuracy/{name}": totals[members, 1].mean().item() for name, members in rows.items()
        }


def switch_dropout_off(model: nn.Module) -> None:
    """Set the rate of every dropout to 0: in modules, as an attribute, of whole paths and layers, and read in a configuration.

    The configurations that are saved stay as they are.
    """
    for module in list(model.modules()):
        is_dropout = "drop" in type(module).__name__.lower()
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (is_dropout and name in ("p", "prob"))):
                setattr(module, name, 0.0)
        config = vars(module).get("config")
        if isinstance(config, PreTrainedConfig) and not isinstance(module, PreTrainedModel):
            module.config = _without_dropout(config)  # type: ignore[assignment]  # a configuration is no submodule


def _without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """A configuration without dropout: itself where it has none, else a copy."""
    rates = {
        name: 0.0
        for name, value in vars(config).items()
        if "drop" in name and isinstance(value, float) and value
    }
    if not rates:
        return config
    changed = copy.copy(config)
    vars(changed).update(rates)
    return changed


def answer_logprobs(
    model: MedMVLForConditionalGeneration, labels: Tensor, **batch: Any
) -> tuple[Tensor, Tensor]:
    """Log-probability of each row's supervised tokens together, and how many they are: `(B,)` and `(B,)`."""
    of_token = model(labels=labels, sampling=PLAIN, use_cache=False, **batch).token_logprobs.logprobs
    keep = labels[:, 1:] != IGNORED_LABEL
    row = keep.nonzero()[:, 0]
    return of_token.new_zeros(len(labels)).index_add(0, row, of_token), keep.sum(1)


def preference_losses(logprobs: Tensor, reference: Tensor, tokens: Tensor, settings: Preference) -> Tensor:
    """Loss of each pair.

    Args:
        logprobs: `(2 B,)` of the answers, chosen ones first.
        reference: `(B, 2)` of the same answers at the first weights.
        tokens: `(2 B,)` lengths of the answers.
        settings: loss and its numbers.

    Returns:
        `(B,)`.
    """
    chosen, rejected = logprobs.chunk(2)
    of_chosen, of_rejected = tokens.chunk(2)
    gain_chosen, gain_rejected = chosen - reference[:, 0], rejected - reference[:, 1]
    if settings.loss == "ipo":
        difference = gain_chosen / of_chosen - gain_rejected / of_rejected
        losses = (difference - 1 / (2 * settings.beta)) ** 2
    else:
        scaled, smoothing = settings.beta * (gain_chosen - gain_rejected), settings.label_smoothing
        losses = -(1 - smoothing) * functional.logsigmoid(scaled) - smoothing * functional.logsigmoid(-scaled)
    return losses - settings.sft_weight * chosen / of_chosen if settings.sft_weight else losses


def keep_reference(
    objective: DirectPreference,
    datasets: dict[str, PairDataset],
    collate: Collator,
    file: Path,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> None:
    """Fill the reference log-probabilities of the data sets: from `file`, or computed now and written there.

    Every process computes its share; the first one writes.

    Raises:
        UserError: the file is of other pairs.
    """
    from medmvl.training.trainer_arguments import processes

    state = processes()
    state.wait_for_everyone()
    if file.is_file():
        stored = load_file(file)
        for name, dataset in datasets.items():
            if name not in stored or stored[name].shape != dataset.reference.shape:
                raise UserError(
                    f"{file} does not fit the {len(dataset)} pairs of {name}: it holds the reference log-probabilities of "
                    "others; remove the stage's folder to train it again"
                )
            dataset.reference = stored[name]
        return
    if state.is_main_process:
        logger.info(
            "  log-probabilities of the reference are computed once, for %d pairs",
            sum(map(len, datasets.values())),
        )
    for dataset in datasets.values():
        dataset.reference = _reference(objective, dataset, collate, batch_size, autocast)
    if state.is_main_process:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as target:
            target.write(save({name: dataset.reference for name, dataset in datasets.items()}))
    state.wait_for_everyone()


def _reference(
    objective: DirectPreference,
    dataset: PairDataset,
    collate: Collator,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Tensor:
    from medmvl.training.trainer_arguments import processes

    state = processes()
    own = list(range(state.process_index, len(dataset), state.num_processes))
    found = torch.zeros_like(dataset.reference)
    was_training = objective.training
    objective.eval()
    for start in range(0, len(own), batch_size):
        members = own[start : start + batch_size]
        batch = send_to_device(collate([dataset[index] for index in members]), objective.model.device)
        labels = batch.pop("answer_labels")
        batch.pop("labels"), batch.pop("reference")
        with torch.no_grad(), autocast():
            logprobs, _ = answer_logprobs(objective.model, labels, **batch)
        found[members] = torch.stack(logprobs.chunk(2), dim=1).double().cpu()
    objective.train(was_training)
    if state.num_processes > 1:
        shared = found.to(state.device)
        torch.distributed.all_reduce(shared)
        found = shared.cpu()
    return found
