"""One stage: a plan that is checked before anything trains, then the training, then the finished model."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from medmvl.atomic_files import write_json
from medmvl.data.feature_cache import precision_of
from medmvl.models.causal_attention import is_purely_causal
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.tuning import (
    ParameterGroup,
    apply_tuning,
    has_lora,
    merge_lora,
    parameter_groups,
    save_adapter,
    split_by_decay,
)
from medmvl.training.answer_alignment import AnswerAlignment
from medmvl.training.checkpoints import checkpoints, publish, remove_leftovers, set_damaged_aside
from medmvl.training.history import write_lines
from medmvl.training.interruption import Interruption
from medmvl.training.objectives import Classification, Contrastive, LanguageModelling, Objective
from medmvl.training.policy import GroupRelativePolicy
from medmvl.training.policy_data import CollatePrompts
from medmvl.training.policy_stage import learn_from_rollouts
from medmvl.training.policy_trainer import PolicyTrainer
from medmvl.training.preference import REFERENCE, DirectPreference, keep_reference
from medmvl.training.preference_data import CollatePairs, PairDataset
from medmvl.training.recipe import Preference
from medmvl.training.run_folder import HEADS_ABOUT, HEADS_FILE
from medmvl.training.sharding import build_models_whole
from medmvl.training.stage_data import (
    Collate,
    describe_reasoning,
)
from medmvl.training.stage_features import keep_features
from medmvl.training.stage_plan import StagePlan, fresh_weights
from medmvl.training.trackers import open_trackers
from medmvl.training.trainer import StageTrainer
from medmvl.training.trainer_arguments import processes, training_arguments

logger = logging.getLogger(__name__)


def run_stage(plan: StagePlan, folder: Path) -> None:
    """Train from the newest complete checkpoint, or from the start, and publish the finished model."""
    state = processes()
    if state.is_main_process:
        _log_plan(plan)
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
        plan.recipe,
        plan.stage,
        plan.model,
        plan.processor,
        [data for data in (plan.train, plan.validation) if data is not None],
        precision_of(trainer.args.device, in_bfloat16=trainer.args.bf16),
        sharded=trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled,
    )
    if state.is_main_process and plan.train.samples.num_studies:
        logger.info("  %s", kept)
    if isinstance(objective, DirectPreference):
        keep_stage_reference(plan, objective, trainer, folder)
    if isinstance(trainer, PolicyTrainer):
        learn_from_rollouts(trainer, plan)
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


def _log_plan(plan: StagePlan) -> None:
    """Log what will train on how much, and what may not be what was meant."""
    logger.info("%s", plan.describe())
    if plan.watched[0]:
        logger.warning(
            "%d of %d validation patients were trained on, here or before: the validation loss of stage %s flatters",
            *plan.watched,
            plan.stage.name,
        )
    said, doubtful = describe_reasoning(plan.stage, plan.train, thinking=plan.processor.thinking)
    if said:
        logger.log(logging.WARNING if doubtful else logging.INFO, "  reasoning %s", said)
    if plan.train.samples.num_studies:
        logger.info("%s", plan.describe_reading())


def _validated_at(trainer: StageTrainer, step: int) -> bool:
    """Whether the last step was validated already, as `eval_steps` asked for."""
    return any(record["step"] == step and "eval_loss" in record for record in trainer.state.log_history)


def build_objective(plan: StagePlan) -> Objective:
    """The module that trains, with heads that depend on the seed alone."""
    with fresh_weights(plan.recipe.seed):
        if plan.stage.objective == "classification":
            return Classification(plan.model, plan.labels)
        if plan.stage.objective == "contrastive":
            return Contrastive(plan.model, plan.stage.temperature)
        if plan.stage.objective == "answer_alignment":
            return AnswerAlignment(plan.model, plan.stage.temperature)
        if plan.stage.objective == "dpo":
            return DirectPreference(plan.model, plan.stage.dpo or Preference())
        if plan.stage.objective == "grpo":
            never = (plan.processor.image_token_id, plan.processor.volume_token_id)
            return GroupRelativePolicy(plan.model, plan.stage.policy, never)
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
        until=stage.until,
    )


def optimizer_groups(plan: StagePlan, objective: Objective) -> list[ParameterGroup]:
    """Groups of the parts, and of the objective's own weights at the stage's learning rate."""
    stage = plan.stage
    groups = parameter_groups(
        plan.model, stage.parts, learning_rate=stage.learning_rate, weight_decay=stage.weight_decay
    )
    groups += split_by_decay(objective.heads, "heads", stage.learning_rate, stage.weight_decay)
    own = [
        parameter
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad and not name.startswith(("model.", "heads."))
    ]
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
                heads = _heads_of(objective.state_dict() if state is None else state)
                save_file(heads, partial / HEADS_FILE)
                write_json(
                    partial / HEADS_ABOUT, {"objective": plan.stage.objective, "labels": list(plan.labels)}
                )
            model.save_pretrained(partial)
            plan.processor.save_pretrained(partial)
            plan.trained_on.write(partial)
            write_lines(partial / "history.jsonl", trainer.state.log_history)
    trainer.accelerator.wait_for_everyone()


def _heads_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the heads by their own names, from those of the whole objective."""
    prefix = "heads."
    return {
        name.removeprefix(prefix): tensor.detach().cpu().contiguous()
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


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
        apply_tuning(model, plan.stage.parts, heads=plan.stage.has_heads)
    own = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
    missing, unexpected = model.load_state_dict(own, strict=False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    assert not unexpected and set(missing) <= tied, (missing, unexpected)
    return model
