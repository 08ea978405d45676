"""A stage as transformers' `TrainingArguments`, and the number type it computes in."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import TrainingArguments

from medmvl.training.recipe import Distributed, Stage
from medmvl.training.sharding import (
    sharding_arguments,
)
from medmvl.training.training_order import TrainingOrder

logger = logging.getLogger(__name__)


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


def processes() -> PartialState:
    """The processes of this run; started by `torchrun`, they speak gloo on a CPU."""
    return PartialState() if torch.cuda.is_available() else PartialState(cpu=True)
