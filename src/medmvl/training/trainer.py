"""The Trainer of transformers with six things its own way: optimizer groups, order, validation, losses, checkpoints, progress.

Everything else, DDP, FSDP2 and DeepSpeed among it, is transformers and accelerate as they are.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from medmvl.atomic_files import write_json
from medmvl.data.sampler import Group, Mixture, epoch_order
from medmvl.errors import UserError
from medmvl.training.checkpoints import checkpoint_path, keep_newest, partial_path, publish_now
from medmvl.training.interruption import Interruption
from medmvl.training.objectives import Objective
from medmvl.training.recipe import Distributed, Stage
from medmvl.training.sharding import (
    gather_parts_by_hand,
    gather_whole,
    in_fixed_order,
    outside_llm,
    shard_on_cpu,
    sharding_arguments,
)

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
RUNNING_LOSS = "running_loss.json"


def processes() -> PartialState:
    """The processes of this run; started by `torchrun`, they speak gloo on a CPU."""
    return PartialState() if torch.cuda.is_available() else PartialState(cpu=True)


class TrainingOrder(Sampler[int]):
    """The samples of a whole stage in order: global batch after global batch, the same for any number of processes.

    The last batch of an epoch is filled up from the epoch's own beginning, so every step has a full batch.
    """

    def __init__(self, mixture: Mixture, stage: Stage, seed: int) -> None:
        self.mixture = mixture
        self.batch_size = stage.batch_size
        self.group: Group = stage.group
        self.seed = seed
        self.steps_per_epoch = math.ceil(len(self._epoch(0)) / self.batch_size)
        self.num_steps = stage.max_steps or math.ceil((stage.epochs or 0) * self.steps_per_epoch)

    def _epoch(self, epoch: int) -> list[int]:
        order = epoch_order(
            self.mixture, seed=self.seed, epoch=epoch, batch_size=self.batch_size, group=self.group
        )
        missing = -len(order) % self.batch_size
        return order + [order[index % len(order)] for index in range(missing)]

    def __len__(self) -> int:
        return self.num_steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        left, epoch = len(self), 0
        while left:
            order = self._epoch(epoch)[:left]
            yield from order
            left -= len(order)
            epoch += 1


def computes_in_bfloat16(stage: Stage) -> bool:
    """Whether a stage casts to bfloat16 on this machine."""
    on_gpu = torch.cuda.is_available()
    return stage.precision == "bfloat16" or (
        stage.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported()
    )


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies matrices in bfloat16 itself."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def training_arguments(
    stage: Stage, folder: Path, order: TrainingOrder, seed: int, distributed: Distributed
) -> TrainingArguments:
    """Translate a `Stage` into `TrainingArguments`."""
    on_gpu = torch.cuda.is_available()
    if computes_in_bfloat16(stage) and not on_gpu and not cpu_has_bfloat16():
        logger.warning(
            "stage '%s': this CPU has no instructions for bfloat16 (AMX or AVX512-BF16), so a step takes many times as "
            "long as in float32; set stages.%s.precision=float32",
            stage.name,
            stage.name,
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not on_gpu,
        ddp_backend="gloo" if processes().num_processes > 1 and not on_gpu else None,
        ddp_find_unused_parameters=True,  # a part may hold weights that its features do not need, such as a pooler
        bf16=computes_in_bfloat16(stage),
        seed=seed,
        max_steps=order.num_steps,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="constant_with_warmup" if stage.schedule == "constant" else stage.schedule,
        warmup_steps=stage.warmup,
        max_grad_norm=stage.max_grad_norm,
        logging_steps=stage.log_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="no" if stage.eval_steps is None else "steps",
        eval_steps=stage.eval_steps,
        save_strategy="steps",
        save_steps=stage.save_steps or math.ceil(order.num_steps / 10),
        dataloader_num_workers=stage.num_workers,
        dataloader_persistent_workers=stage.num_workers > 0,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        **sharding_arguments(distributed),
    )
    micro, accumulation = stage.share(arguments.world_size)
    arguments.per_device_train_batch_size = micro
    arguments.per_device_eval_batch_size = stage.eval_batch_size or micro
    arguments.gradient_accumulation_steps = accumulation
    return arguments


class StageTrainer(Trainer):
    """Trains one objective in the order given, with a learning rate a part."""

    def __init__(
        self,
        objective: Objective,
        args: TrainingArguments,
        *,
        groups: list[dict[str, Any]],
        order: TrainingOrder,
        train_dataset: Dataset[Any],
        eval_dataset: Dataset[Any] | None,
        eval_question_types: Sequence[str | None],
        collate: Callable[[Sequence[Any]], dict[str, Any]],
        collate_validation: Callable[[Sequence[Any]], dict[str, Any]],
        keep_checkpoints: int,
        trackers: list[TrainerCallback],
        title: str,
        interruption: Interruption,
    ) -> None:
        callbacks = [Progress(title), *trackers, interruption, _RunningLoss(self)]
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
        prepared = super()._prepare_for_training(*given, **more)
        if self._is_zero3:
            gather_parts_by_hand(self.model)
        return prepared

    @property
    def _is_zero3(self) -> bool:
        return self.is_deepspeed_enabled and bool(self.model_wrapped.zero_optimization_partition_weights())

    def compute_loss(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
        """The objective's loss; with ZeRO, gradients come in the same order on all ranks."""
        if self._is_zero3:
            gather_whole(outside_llm(self.model))
        order = in_fixed_order(outside_llm(self.model)) if self.is_deepspeed_enabled else None
        loss = super().compute_loss(model, inputs, *given, **more)
        return loss if order is None else loss + order

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over the groups of the stage."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer: Any = optimizer_class(self.groups, **options)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order

    data_collator: Any

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Validation batches: each sample has a row of its own."""
        training, self.data_collator = self.data_collator, self.collate_validation
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
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
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def batch_totals(self, batch: Any) -> Tensor:
        """A row of sums per sample of a validation batch."""
        with torch.no_grad():
            rows: Tensor = self.model(**self._prepare_inputs(batch))["totals"]
        return rows

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
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

    def _get_output_dir(self, trial: Any) -> str:
        """Checkpoints are written under a name that marks them unfinished."""
        folder = Path(self.args.output_dir)
        if not self._saving:
            return str(folder)
        return str(partial_path(checkpoint_path(folder, self.state.global_step)))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Everything a restart needs, from all ranks; then one rank gives the folder its name."""
        self._saving = True
        super()._save_checkpoint(model, trial)
        self._saving = False
        losses = self.accelerator.gather(self._tr_loss.reshape(1)).tolist()
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self.args.output_dir)
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
            Path(output_dir or self.args.output_dir).mkdir(parents=True, exist_ok=True)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Only what changes during the stage; the rest is the model that the stage began with."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = changing_state(self.model) if state_dict is None else state_dict
        tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    def train(self, resume_from_checkpoint: Any = None, **more: Any) -> Any:
        """Train, from a checkpoint where one is named; the running loss goes on, too."""
        if resume_from_checkpoint is not None:
            text = (Path(resume_from_checkpoint) / RUNNING_LOSS).read_text(encoding="utf-8")
            self.running_loss = json.loads(text)
        done = super().train(resume_from_checkpoint=resume_from_checkpoint, **more)
        self.check_losses()
        return done

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
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


class _RunningLoss(TrainerCallback):
    """Begins a resumed training with the loss summed since the last log, which transformers forgets."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the sum back where the number of processes is the same."""
        kept = self.trainer.running_loss
        if kept is not None and len(kept["sums"]) == args.world_size:
            self.trainer._tr_loss.fill_(kept["sums"][args.process_index])
            self.trainer._globalstep_last_logged = kept["since"]


class Progress(TrainerCallback):
    """One line: the stage, how far it is, its loss and the last validation."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start where the run is."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, leave=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Show the numbers that matter."""
        for name, value in (logs or {}).items():
            if name in ("loss", "reward") or (name.startswith("eval_") and "/" not in name):
                self.shown[name.removeprefix("eval_") if name != "eval_loss" else "val loss"] = f"{value:.3g}"
        if self.bar is not None:
            self.bar.set_postfix(self.shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the finished line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
