"""One stage: a plan that is checked before anything trains, then the training, then the finished model."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from medmvl.atomic_files import write_json
from medmvl.data.feature_cache import precision_of
from medmvl.data.prepared import PreparedCache, default_cache_dir
from medmvl.data.sources import LoadedSource
from medmvl.data.trained_on import TrainedOn
from medmvl.errors import UserError
from medmvl.models.causal_attention import is_purely_causal, why_not_packed
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.tuning import (
    TuningRow,
    apply_tuning,
    has_lora,
    has_weights,
    merge_lora,
    parameter_groups,
    save_adapter,
    split_by_decay,
    tuning_table,
)
from medmvl.training.checkpoints import checkpoints, publish, remove_leftovers, set_damaged_aside
from medmvl.training.history import write_lines
from medmvl.training.interruption import Interruption
from medmvl.training.objectives import Classification, Contrastive, LanguageModelling, Objective
from medmvl.training.policy import GroupRelativePolicy
from medmvl.training.policy_data import CollatePrompts, PromptDataset, PromptOrder
from medmvl.training.policy_recipe import GroupPolicy
from medmvl.training.policy_stage import check_policy, learn_from_rollouts
from medmvl.training.policy_trainer import PolicyTrainer
from medmvl.training.preference import REFERENCE, DirectPreference, keep_reference
from medmvl.training.preference_data import CollatePairs, PairDataset
from medmvl.training.recipe import Preference, Recipe, Stage
from medmvl.training.sharding import build_models_whole
from medmvl.training.stage_data import (
    Collate,
    StageDataset,
    check_supervision,
    describe_reasoning,
    label_names,
    open_dataset,
)
from medmvl.training.stage_features import keep_features
from medmvl.training.trackers import open_trackers
from medmvl.training.trainer import StageTrainer, TrainingOrder, processes, training_arguments

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

logger = logging.getLogger(__name__)


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
    watched: tuple[int, int] = (0, 0)
    """Patients of the validation data that are among them, and how many it has."""

    def describe(self) -> str:
        """What trains on how much, as a table of text."""
        stage = self.stage
        lines = [
            f"stage {stage.name}: {stage.objective}, {self.order.num_steps} steps of {stage.batch_size}, "
            f"{len(self.train)} samples, {self.num_tokens} tokens per pass",
            *self._shares(),
        ]
        if self.labels:
            lines.append(f"  labels: {', '.join(self.labels)}")
        lines.append(f"  {'part':18}{'mode':8}{'trains':>14}{'of':>14}{'learning rate':>16}")
        for row in self.table:
            rate = "-" if row.learning_rate is None else f"{row.learning_rate:g}"
            lines.append(
                f"  {row.part:18}{row.mode:8}{row.num_trained:>14,}{row.num_parameters:>14,}{rate:>16}"
            )
        return "\n".join(lines)

    def _shares(self) -> Iterator[str]:
        """Samples of each source, and their share of an epoch."""
        mixture = self.train.mixture
        drawn = [size * weight for size, weight in zip(mixture.sizes, mixture.weights, strict=True)]
        for source, size, weight, number in zip(
            mixture.sources, mixture.sizes, mixture.weights, drawn, strict=True
        ):
            yield f"  {number / sum(drawn):6.1%} of an epoch: {source.name}, {size} samples x weight {weight:g}"

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

    `before` says whom the model was trained on already; None: nobody.

    Raises:
        UserError: something would train nothing, or a sample cannot be learned from; the message names it.
    """
    stage = fitted(stage, model)
    stage.share(processes().num_processes)
    if has_lora(model):
        merge_lora(model)
    with fresh_weights(recipe.seed):
        apply_tuning(model, stage.parts)
    train_in_float32(model, whole=recipe.distributed.shards)
    data = recipe.data_of(stage)
    chosen = [sources[source.model_dump_json()] for source in data.train]
    trained_on = (before or TrainedOn()) | TrainedOn.of((source.digest, source.samples) for source in chosen)
    prepared = PreparedCache(default_cache_dir()) if data.prepared else None
    train = open_dataset(
        chosen, stage, processor, processor.max_length, prepared, drop_too_long=data.drop_too_long
    )
    validation, shared = None, (0, 0)
    if data.validation:
        watched = [sources[s.model_dump_json()] for s in data.validation]
        validation = open_dataset(
            watched, stage, processor, processor.max_length, prepared, drop_too_long=data.drop_too_long
        )
        check_supervision(validation, processor.max_length)
        shared = trained_on.shared(sample for source in watched for sample in source.samples)
    _, num_tokens = check_supervision(train, processor.max_length)
    longest = max(train.samples.lengths)
    if stage.pack and not is_purely_causal(model.llm.config, longest):
        raise UserError(f"stage '{stage.name}': {why_not_packed(model.llm.config, longest)}")
    if isinstance(train, PromptDataset):
        check_policy(stage, model, processor, train, validation)
    return StagePlan(
        recipe, stage, model, processor, train, validation,
        order=build_order(train, stage, recipe.seed),
        labels=tuple(label_names(train)) if stage.objective == "classification" else (),
        num_tokens=num_tokens,
        table=tuning_table(model, stage.parts, stage.learning_rate),
        trained_on=trained_on,
        watched=shared,
    )  # fmt: skip


def build_order(train: StageDataset, stage: Stage, seed: int) -> TrainingOrder:
    """The order of the stage's samples."""
    if stage.objective == "grpo":
        return PromptOrder(train.mixture, stage, seed, (stage.grpo or GroupPolicy()).updates)
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


def run_stage(plan: StagePlan, folder: Path) -> None:
    """Train from the newest complete checkpoint, or from the start, and publish the finished model."""
    state = processes()
    if state.is_main_process:
        logger.info("%s", plan.describe())
        if plan.watched[0]:
            logger.warning(
                "%d of %d validation patients were trained on, here or before: the validation loss of stage %s flatters",
                *plan.watched, plan.stage.name,
            )  # fmt: skip
        said, doubtful = describe_reasoning(plan.stage, plan.train, thinking=plan.processor.thinking)
        if said:
            logger.log(logging.WARNING if doubtful else logging.INFO, "  reasoning %s", said)
        if plan.train.samples.num_studies:
            logger.info("%s", plan.describe_reading())
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
        set_damaged_aside(folder / "checkpoints")
    state.wait_for_everyone()
    objective = build_objective(plan)
    if plan.stage.gradient_checkpointing:
        plan.model.activation_checkpointing_enable({"use_reentrant": False})
    interruption = Interruption()
    trainer = make_trainer(plan, objective, folder, interruption)
    kept = keep_features(
        plan.recipe, plan.stage, plan.model, plan.processor,
        [data for data in (plan.train, plan.validation) if data is not None],
        precision_of(trainer.args.device, in_bfloat16=trainer.args.bf16),
        sharded=trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled,
    )  # fmt: skip
    if state.is_main_process and plan.train.samples.num_studies:
        logger.info("  %s", kept)
    if isinstance(objective, DirectPreference):
        keep_stage_reference(plan, objective, trainer, folder)
    if isinstance(trainer, PolicyTrainer):
        learn_from_rollouts(trainer, plan.stage, plan.model, plan.processor, plan.train, plan.recipe.seed)
    done = checkpoints(folder / "checkpoints")
    if done and state.is_main_process:
        logger.info("resuming stage %s from %s", plan.stage.name, done[-1].name)
    with interruption.watching():
        trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)
    step = trainer.state.global_step
    if step < plan.order.num_steps:
        interruption.check(f"at step {step} of {plan.order.num_steps} of stage {plan.stage.name}")
    if plan.validation is not None and not _validated_at(trainer, step):
        trainer.evaluate()
    plan.model.keep_features = None
    save_stage(plan, objective, trainer, folder)
    trainer.accelerator.free_memory()
    del trainer
    gc.collect()
    interruption.check(f"after stage {plan.stage.name}")


def _validated_at(trainer: StageTrainer, step: int) -> bool:
    """Whether the last step was validated already, as `eval_steps` asked for."""
    return any(record["step"] == step and "eval_loss" in record for record in trainer.state.log_history)


@contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Weights that are drawn in the block depend on the seed alone: not on ranks, stages before, or a restart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_objective(plan: StagePlan) -> Objective:
    """The module that trains, with heads that depend on the seed alone."""
    with fresh_weights(plan.recipe.seed):
        if plan.stage.objective == "classification":
            return Classification(plan.model, plan.labels)
        if plan.stage.objective == "contrastive":
            return Contrastive(plan.model, plan.stage.temperature)
        if plan.stage.objective == "dpo":
            return DirectPreference(plan.model, plan.stage.dpo or Preference())
        if plan.stage.objective == "grpo":
            never = (plan.processor.image_token_id, plan.processor.volume_token_id)
            return GroupRelativePolicy(plan.model, plan.stage.grpo or GroupPolicy(), never)
        return LanguageModelling(plan.model)


def build_collate(plan: StagePlan) -> Collate | CollatePrompts:
    """What makes the objective's batches."""
    stage, data = plan.stage, (plan.train, plan.validation)
    if stage.objective == "dpo":
        return CollatePairs(plan.processor, stage.objective)
    if stage.objective == "grpo":
        return CollatePrompts()
    longest = max(max(part.samples.lengths) for part in data if part is not None)
    masked = not is_purely_causal(plan.model.llm.config, longest)
    return Collate(plan.processor, stage.objective, plan.labels, packed=stage.pack, masked=masked)


def keep_stage_reference(
    plan: StagePlan, objective: DirectPreference, trainer: StageTrainer, folder: Path
) -> None:
    """Log-probabilities at the stage's first weights, before anything is trained or loaded."""
    pairs = {"train": plan.train, "validation": plan.validation}
    keep_reference(
        objective,
        {name: data for name, data in pairs.items() if isinstance(data, PairDataset)},
        build_collate(plan),
        folder / REFERENCE,
        trainer.args.per_device_eval_batch_size,
        trainer.accelerator.autocast,
    )


def make_trainer(
    plan: StagePlan, objective: Objective, folder: Path, interruption: Interruption
) -> StageTrainer:
    """The Trainer of a stage."""
    stage, collate = plan.stage, build_collate(plan)
    trainer = PolicyTrainer if stage.objective == "grpo" else StageTrainer
    return trainer(
        objective,
        training_arguments(
            stage, folder / "checkpoints", plan.order, plan.recipe.seed, plan.recipe.distributed
        ),
        groups=optimizer_groups(plan, objective),
        order=plan.order,
        train_dataset=plan.train,
        eval_dataset=plan.validation,
        eval_question_types=plan.validation.question_types if plan.validation is not None else (),
        collate=collate,
        collate_validation=replace(collate, packed=False) if isinstance(collate, Collate) else collate,
        keep_checkpoints=stage.keep_checkpoints,
        trackers=open_trackers(plan.recipe.report_to, folder, stage),
        title=stage.name,
        interruption=interruption,
    )


def optimizer_groups(plan: StagePlan, objective: Objective) -> list[dict[str, Any]]:
    """Groups of the parts, and of the objective's own weights at the stage's learning rate."""
    stage = plan.stage
    groups = parameter_groups(
        plan.model, stage.parts, learning_rate=stage.learning_rate, weight_decay=stage.weight_decay
    )
    groups += split_by_decay(objective.heads, "heads", stage.learning_rate, stage.weight_decay)
    own = [p for p in objective.parameters(recurse=False) if p.requires_grad]
    if own:
        groups.append({"params": own, "weight_decay": 0.0, "lr": stage.learning_rate, "part": "objective"})
    return groups


def save_stage(plan: StagePlan, objective: Objective, trainer: StageTrainer, folder: Path) -> None:
    """Publish `model` (whole, adapters merged), `adapter` (what was trained alone) and `heads`; then the history."""
    state = gather_state(trainer, objective)
    if trainer.args.should_save:
        model = (
            trainer.accelerator.unwrap_model(trainer.model).model if state is None else rebuild(plan, state)
        )
        with publish(folder / "model") as partial:
            if has_lora(model):
                save_adapter(model, plan.stage.parts, partial / "adapter")
                merge_lora(model)
            if len(objective.heads):
                heads = {
                    name: tensor.detach().cpu().contiguous()
                    for name, tensor in objective.heads.state_dict().items()
                }
                save_file(heads, partial / "heads.safetensors")
                write_json(
                    partial / "heads.json", {"objective": plan.stage.objective, "labels": list(plan.labels)}
                )
            model.save_pretrained(partial)
            plan.processor.save_pretrained(partial)
            plan.trained_on.write(partial)
            write_lines(partial / "history.jsonl", trainer.state.log_history)
    trainer.accelerator.wait_for_everyone()


def gather_state(trainer: StageTrainer, objective: Objective) -> dict[str, Tensor] | None:
    """The whole weights of a sharded model on the first process; None where every process has them anyway."""
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        state: dict[str, Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        build_models_whole()
        return state
    return None


def rebuild(plan: StagePlan, state: dict[str, Tensor]) -> MedMVLForConditionalGeneration:
    """A plain copy of the model with gathered weights."""
    with fresh_weights(plan.recipe.seed):
        model = MedMVLForConditionalGeneration(plan.model.config)
        apply_tuning(model, plan.stage.parts)
    own = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
    missing, unexpected = model.load_state_dict(own, strict=False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    assert not unexpected and set(missing) <= tied, (missing, unexpected)
    return model
