"""What a stage will do, decided before it runs: model, data, objective, and the table that describes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from medmvl.data.prepared import PreparedCache, default_cache_dir
from medmvl.data.sources import LoadedSource, source_key
from medmvl.data.trained_on import TrainedOn
from medmvl.datasets.pseudonyms import key_of
from medmvl.errors import RecipeError, UserError
from medmvl.models.causal_attention import is_purely_causal, why_not_packed
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.tuning import (
    TuningRow,
    apply_tuning,
    has_lora,
    has_weights,
    merge_lora,
    tuning_table,
)
from medmvl.models.visual_table import KINDS
from medmvl.rewards.combined import CombinedReward
from medmvl.training.policy_data import PromptDataset, PromptOrder
from medmvl.training.policy_stage import check_policy
from medmvl.training.recipe import Recipe, Stage
from medmvl.training.stage_data import (
    StageDataset,
    check_supervision,
    label_names,
    open_dataset,
)
from medmvl.training.trainer_arguments import processes
from medmvl.training.training_order import TrainingOrder

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor


@dataclass(frozen=True)
class StagePlan:
    """Everything a stage needs, checked."""

    recipe: Recipe
    stage: Stage
    model: MedMVLForConditionalGeneration
    processor: MedMVLProcessor
    train: StageDataset
    validation: StageDataset | None
    order: TrainingOrder
    labels: tuple[str, ...]
    num_tokens: int
    """Tokens of one pass over the training samples, text and visual."""
    table: list[TuningRow]
    trained_on: TrainedOn
    """Patients of this stage and of all training before it."""
    reward: CombinedReward | None = None
    """Rewards of answers, in the `grpo` objective."""
    watched: tuple[int, int] = (0, 0)
    """Patients of the validation data that are among them, and how many it has."""

    def describe(self) -> str:
        """What trains on how much, as a table of text."""
        lines = [self._amounts(), *self._shares()]
        if self.labels:
            lines.append(f"  labels: {', '.join(self.labels)}")
        lines.append(f"  {'part':18}{'mode':8}{'trains':>14}{'of':>14}{'learning rate':>16}")
        for row in self.table:
            rate = "-" if row.learning_rate is None else f"{row.learning_rate:g}"
            lines.append(
                f"  {row.part:18}{row.mode:8}{row.num_trained:>14,}{row.num_parameters:>14,}{rate:>16}"
            )
        return "\n".join(lines)

    def _amounts(self) -> str:
        """Steps, samples and tokens; estimates (about) where few phantoms stand for many."""
        stage, mixture, sizes = self.stage, self.train.mixture, self._sizes()
        about = "about " if any(source.stands_for > 1 for source in mixture.sources) else ""
        steps, tokens = self.order.num_steps, self.num_tokens
        if about:
            ratios = np.repeat([source.stands_for for source in mixture.sources], mixture.sizes)
            tokens = round(float(np.dot(mixture.lengths, ratios)))
            epoch = sum(size * weight for size, weight in zip(sizes, mixture.weights, strict=True))
            steps = stage.max_steps or math.ceil((stage.epochs or 0) * math.ceil(epoch / stage.batch_size))
        return (
            f"stage {stage.name}: {stage.objective}, {steps} steps of {stage.batch_size}, "
            f"{about}{sum(sizes)} samples, {about}{tokens} tokens per pass"
        )

    def _sizes(self) -> list[int]:
        """Samples of each source that training reads."""
        mixture = self.train.mixture
        return [
            round(size * source.stands_for)
            for size, source in zip(mixture.sizes, mixture.sources, strict=True)
        ]

    def _shares(self) -> Iterator[str]:
        """Samples of each source, and their share of an epoch."""
        mixture, sizes = self.train.mixture, self._sizes()
        drawn = [size * weight for size, weight in zip(sizes, mixture.weights, strict=True)]
        for source, size, weight, number in zip(mixture.sources, sizes, mixture.weights, drawn, strict=True):
            yield f"  {number / sum(drawn):6.1%} of an epoch: {source.title or source.name}, {size} samples x weight {weight:g}"

    def describe_reading(self) -> str:
        """Why the first steps are slower than later ones, and the first estimate of the time left too long."""
        samples = self.train.samples
        kept = f"in memory, up to {samples.memory_bytes >> 20} MiB of them"
        if self.recipe.data_of(self.stage).prepared:
            kept = "in the cache folder"
        return (
            f"  the first pass reads {samples.num_studies} images, volumes or sets of them, which makes its steps slow; later "
            f"passes find them {kept}"
        )


def plan_stage(
    recipe: Recipe,
    stage: Stage,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    sources: dict[str, LoadedSource],
    before: TrainedOn | None = None,
) -> StagePlan:
    """Check a stage against model and data without reading pixels, and make the model ready for it.

    `before` names the patients that the model was trained on already; None: nobody.

    Raises:
        UserError: something would train nothing, or a sample cannot be learned from; the message names it.
    """
    stage = fitted(stage, model)
    stage.share(processes().num_processes)
    _set_trainable(recipe, stage, model)
    data = recipe.data_of(stage)
    opened = partial(
        open_dataset, stage=stage, processor=processor, max_length=processor.max_length,
        prepared=PreparedCache(default_cache_dir()) if data.prepared else None, drop_too_long=data.drop_too_long,
    )  # fmt: skip
    chosen, watched = ([sources[source_key(one)] for one in part] for part in (data.train, data.validation))
    train, validation = opened(chosen), opened(watched) if watched else None
    num_tokens = _check_samples(stage, model, processor, train, validation)
    keys = (key_of(source.load.folder) for source in chosen)
    seen = TrainedOn.of([(source.digest, source.samples) for source in chosen], filter(None, keys))
    trained_on = (before or TrainedOn()) | seen
    return StagePlan(
        recipe,
        stage,
        model,
        processor,
        train,
        validation,
        order=build_order(train, stage, recipe.seed),
        labels=tuple(label_names(train)) if stage.objective == "classification" else (),
        num_tokens=num_tokens,
        table=tuning_table(model, stage.parts, stage.learning_rate),
        trained_on=trained_on,
        reward=_rewards(stage, model, processor, train, validation),
        watched=trained_on.shared(sample for source in watched for sample in source.samples),
    )


def _set_trainable(recipe: Recipe, stage: Stage, model: MedMVLForConditionalGeneration) -> None:
    """Let the stage's parts learn, and nothing else; adapters of an earlier stage are merged."""
    if has_lora(model):
        merge_lora(model)
    with fresh_weights(recipe.seed):
        apply_tuning(model, stage.parts, heads=stage.has_heads)
    train_in_float32(model, whole=recipe.distributed.shards)


def _check_samples(
    stage: Stage,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    train: StageDataset,
    validation: StageDataset | None,
) -> int:
    """Check that every sample teaches something and fits; return the tokens of one pass over the training samples."""
    if stage.objective == "answer_alignment":
        _check_connectors_read(stage, model)
    if validation is not None:
        check_supervision(validation, processor.max_length)
    _, num_tokens = check_supervision(train, processor.max_length)
    longest = max(train.samples.lengths)
    if stage.pack and not is_purely_causal(model.llm.config, longest):
        raise UserError(f"stage '{stage.name}': {why_not_packed(model.llm.config, longest)}")
    return num_tokens


def _check_connectors_read(stage: Stage, model: MedMVLForConditionalGeneration) -> None:
    """Without the question, the answers to all questions about an image would be one."""
    for kind in KINDS:
        connector = model.connector_of(kind)
        if connector is not None and not connector.part_config.guided_by_text:
            raise RecipeError(
                f"stage '{stage.name}': 'answer_alignment' needs connectors that read the question, but "
                f"{kind}_connector {connector.part_config.type!r} does not; take {{type: bilinear}}, or "
                "{type: q_former, text: true}"
            )


def _rewards(
    stage: Stage,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    train: StageDataset,
    validation: StageDataset | None,
) -> CombinedReward | None:
    """The rewards of a `grpo` stage, audited; None for other objectives."""
    if not isinstance(train, PromptDataset):
        return None
    assert validation is None or isinstance(validation, PromptDataset)
    return check_policy(stage, model, processor, train, validation)


def build_order(train: StageDataset, stage: Stage, seed: int) -> TrainingOrder:
    """The order of the stage's samples."""
    if stage.objective == "grpo":
        return PromptOrder(train.mixture, stage, seed, stage.policy.updates)
    return TrainingOrder(train.mixture, stage, seed)


def fitted(stage: Stage, model: MedMVLForConditionalGeneration) -> Stage:
    """The stage with the parts that this model has, where it asks for that."""
    if not stage.any_model:
        return stage
    held = {name: how for name, how in stage.parts.items() if has_weights(model, name)}
    return stage.model_copy(update={"parts": held})


def train_in_float32(model: torch.nn.Module, *, whole: bool) -> None:
    """Small updates vanish in bfloat16: what trains is kept in float32, and computed in bfloat16 where asked.

    Sharding wants one type in a layer, so there the rest follows (`whole`).
    """
    for parameter in model.parameters():
        if parameter.requires_grad or whole:
            parameter.data = parameter.data.float()


@contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Weights that are drawn in the block depend on the seed alone: not on ranks, stages before, or a restart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
