"""The Trainer of transformers with six things its own way: optimizer groups, order, validation, losses, checkpoints, progress.

Everything else, DDP, FSDP2 and DeepSpeed among it, is transformers and accelerate as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainingArguments
from transformers.trainer_utils import TrainOutput

from medmvl.atomic_files import write_json
from medmvl.errors import UserError
from medmvl.models.collation import Batch
from medmvl.models.tuning import ParameterGroup
from medmvl.training.checkpoints import checkpoint_path, keep_newest, partial_path, publish_now
from medmvl.training.interruption import Interruption
from medmvl.training.objectives import Objective
from medmvl.training.sharding import (
    gather_parts_by_hand,
    gather_whole,
    in_fixed_order,
    outside_llm,
    shard_on_cpu,
)
from medmvl.training.stage_data import Collator, StageDataset
from medmvl.training.trainer_callbacks import Progress, RunningLoss, Until
from medmvl.training.training_order import TrainingOrder

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
RUNNING_LOSS = "running_loss.json"

Loss = Tensor | tuple[Tensor, Any]
"""A loss, or with `return_outputs` the loss and what the objective's `forward` gave."""
Trial = Any
"""Trial of a search over hyperparameters by another library, which no stage makes."""


class StageTrainer(Trainer):
    """Trains one objective in the order given, with a learning rate per part."""

    model: nn.Module
    data_collator: Collator

    def __init__(
        self,
        objective: Objective,
        args: TrainingArguments,
        *,
        groups: list[ParameterGroup],
        order: TrainingOrder,
        train_dataset: StageDataset,
        eval_dataset: StageDataset | None,
        eval_question_types: Sequence[str | None],
        collate: Collator,
        collate_validation: Collator,
        keep_checkpoints: int,
        trackers: list[TrainerCallback],
        title: str,
        interruption: Interruption,
        until: Mapping[str, float],
    ) -> None:
        callbacks = [Progress(title), *trackers, interruption, RunningLoss(self), Until(until)]
        super().__init__(objective, args, collate, train_dataset, eval_dataset, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        self.groups = groups
        self.order = order
        self.eval_question_types = eval_question_types
        self.keep_checkpoints = keep_checkpoints
        self.collate_validation = collate_validation
        self.running_loss: dict[str, Any] | None = None
        self._failed: Tensor | None = None
        self._saving = False

    def create_accelerator_and_postprocess(self) -> None:
        """Build the Accelerator; on a CPU it shards as on a GPU."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp_plugin_args is not None:
            shard_on_cpu(self.accelerator, FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args))
            self.is_fsdp_enabled = getattr(self.accelerator.state, "fsdp_plugin", None) is not None

    def _prepare_for_training(self, *given: Any, **more: Any) -> Any:
        """Wrap the model and load a checkpoint."""
        prepared = super()._prepare_for_training(*given, **more)  # type: ignore[no-untyped-call]  # not annotated there
        if self._is_zero3:
            gather_parts_by_hand(self.model)
        return prepared

    @property
    def _is_zero3(self) -> bool:
        engine: Any = self.model_wrapped
        return self.is_deepspeed_enabled and bool(engine.zero_optimization_partition_weights())

    def compute_loss(self, model: nn.Module, inputs: Batch, *given: Any, **more: Any) -> Loss:
        """The objective's loss; with ZeRO, gradients come in the same order on all ranks."""
        if self._is_zero3:
            gather_whole(outside_llm(self.model))
        order = in_fixed_order(outside_llm(self.model)) if self.is_deepspeed_enabled else None
        loss: Loss = super().compute_loss(model, inputs, *given, **more)
        if order is None:
            return loss
        return (loss[0] + order, *loss[1:]) if isinstance(loss, tuple) else loss + order

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """AdamW over the groups of the stage."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer: Optimizer = optimizer_class(self.groups, **options)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self.order

    def get_eval_dataloader(self, eval_dataset: str | Dataset[Any] | None = None) -> DataLoader[Batch]:
        """Validation batches: each sample has a row of its own."""
        training, self.data_collator = self.data_collator, self.collate_validation
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Sum the totals of every validation sample once, whatever the number of processes, and log the metrics."""
        self.model.eval()
        totals: list[Tensor] = []
        for batch in self.get_eval_dataloader(eval_dataset):
            if self._is_zero3:
                gather_whole(outside_llm(self.model))
            totals.append(self.accelerator.gather_for_metrics(self.batch_totals(batch)).cpu())
        objective = self.accelerator.unwrap_model(self.model)
        metrics = objective.metrics(torch.cat(totals), self.eval_question_types)
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(named)
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, named
        )
        return named

    def batch_totals(self, batch: Batch) -> Tensor:
        """A row of sums per sample of a validation batch."""
        with torch.no_grad():
            rows: Tensor = self.model(**self._prepare_inputs(batch))["totals"]
        return rows

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro batch. Whether its loss is a number is asked where the host waits for the device anyway."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self._failed is None:
            self._failed = loss.new_full((2,), -1.0, dtype=torch.float64)
        now = torch.stack([torch.full_like(loss, self.state.global_step + 1), loss]).double()
        self._failed = torch.where((self._failed[0] < 0) & ~loss.isfinite(), now, self._failed)
        return loss

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        control = self.control
        if control.should_log or control.should_save or control.should_evaluate:
            self.check_losses()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def check_losses(self) -> None:
        """Raise UserError where a loss since the last check was no number, naming the step; the host waits for the device."""
        step, value = (-1.0, 0.0) if self._failed is None else self._failed.tolist()
        if step >= 0:
            raise UserError(
                f"the loss is {value} at step {step:.0f}; lower the learning rate, lengthen the warmup, or train in float32"
            )

    @property
    def _folder(self) -> Path:
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)

    def _get_output_dir(self, trial: Trial) -> str:
        """Checkpoints are written under a name that marks them unfinished."""
        folder = self._folder
        if not self._saving:
            return str(folder)
        return str(partial_path(checkpoint_path(folder, self.state.global_step)))

    def _save_checkpoint(self, model: nn.Module, trial: Trial) -> None:
        """Everything a restart needs, from all ranks; then one rank gives the folder its name."""
        self._saving = True
        super()._save_checkpoint(model, trial)
        self._saving = False
        losses = self.accelerator.gather(self._tr_loss.reshape(1)).tolist()
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = self._folder
            target = checkpoint_path(folder, self.state.global_step)
            partial = partial_path(target)
            write_json(
                partial / target.name / RUNNING_LOSS, {"sums": losses, "since": self._globalstep_last_logged}
            )
            publish_now(partial / target.name, target)
            partial.rmdir()
            keep_newest(folder, self.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights of a checkpoint. Where they are sharded, FSDP and DeepSpeed write them next to the optimizer's state."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            Path(output_dir or self._folder).mkdir(parents=True, exist_ok=True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Only what changes during the stage; the rest is the model that the stage began with."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = changing_state(self.model) if state_dict is None else state_dict
        tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *given: Any, **more: Any
    ) -> TrainOutput:
        """Train, from a checkpoint where one is named; the running loss goes on, too."""
        if resume_from_checkpoint is not None:
            assert isinstance(resume_from_checkpoint, str), resume_from_checkpoint
            text = (Path(resume_from_checkpoint) / RUNNING_LOSS).read_text(encoding="utf-8")
            self.running_loss = json.loads(text)
        done = super().train(resume_from_checkpoint, *given, **more)
        self.check_losses()
        return done

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        stored = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        state = changing_state(self.model)
        if stored.keys() != state.keys():
            differing = sorted(stored.keys() ^ state.keys())
            raise UserError(
                f"{resume_from_checkpoint} does not fit this stage: {len(differing)} names differ, {differing[:3]}"
            )
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.copy_(stored[name])


def changing_state(objective: torch.nn.Module) -> dict[str, Tensor]:
    """Trained parameters, each tied one once, and saved buffers."""
    parameters: dict[str, Tensor] = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    saved = {id(tensor) for tensor in objective.state_dict(keep_vars=True).values()}
    return parameters | {name: buffer for name, buffer in objective.named_buffers() if id(buffer) in saved}
