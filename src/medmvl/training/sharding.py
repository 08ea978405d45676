"""Sharding: FSDP2 and DeepSpeed's ZeRO through accelerate, and what parts need that some ranks do not use.

The LLM is sharded layer by layer. Encoders, connectors and heads differ from rank to rank in order and number of runs, as one
rank holds text and another volumes; collectives that follow them would wait forever, or add up gradients of different
weights. So they are gathered whole (FSDP2: with the root; ZeRO-3: before each pass), and their gradients are reduced in one
fixed order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.json_types import JsonObject
from medmvl.training.recipe import Distributed

AUTO = "auto"
FROM_RECIPE = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
)  # fmt: skip
"""Keys of DeepSpeed that follow from a stage."""


def sharding_arguments(distributed: Distributed) -> JsonObject:
    """The `TrainingArguments` that shard, nothing where the recipe shards nothing."""
    if distributed.fsdp is not None:
        return {"fsdp": True, "fsdp_config": dict(distributed.fsdp)}
    if distributed.deepspeed is not None:
        return {"deepspeed": deepspeed_config(distributed.deepspeed)}
    return {}


def deepspeed_config(said: JsonObject) -> JsonObject:
    """DeepSpeed's configuration with all that the recipe decides left to it.

    Without these keys accelerate would clip at 1.0 and could not gather the weights of stage 3.

    Raises:
        RecipeError: DeepSpeed is not installed.
    """
    use_deepspeed()
    zero = {"stage3_gather_16bit_weights_on_model_save": True, **said.get("zero_optimization", {})}
    return {
        **dict.fromkeys(FROM_RECIPE, AUTO),
        "bf16": {"enabled": AUTO},
        **said,
        "zero_optimization": zero,
    }


def use_deepspeed() -> None:
    """Prepare DeepSpeed for this machine.

    Raises:
        RecipeError: DeepSpeed is not installed.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError as error:
        raise RecipeError(
            f"distributed.deepspeed: DeepSpeed cannot be imported ({error}); "
            "pip install -e '.[deepspeed]' in the clone, or use fsdp"
        ) from error
    if not torch.cuda.is_available():
        # Compiled at the first use, and a process that is killed meanwhile leaves a lock that later ones wait for; gloo serves.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def build_models_whole() -> None:
    """End transformers' habit of sharding every model that is built while a configuration of ZeRO-3 is known."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def shard_on_cpu(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin | None) -> None:
    """Let accelerate shard over gloo: it takes FSDP for accelerators alone, and drops the plugin elsewhere without a word."""
    state = accelerator.state
    if plugin is None or state.distributed_type != DistributedType.MULTI_CPU:
        return
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    state.fsdp_plugin = plugin
    state.distributed_type = DistributedType.FSDP
    for shared in (AcceleratorState, PartialState):
        shared._shared_state["distributed_type"] = DistributedType.FSDP


def outside_llm(objective: nn.Module) -> Iterator[nn.Parameter]:
    """Weights that some ranks may not use in a step: all but the LLM's."""
    inside = {id(parameter) for parameter in objective.model.llm.parameters()}  # type: ignore[union-attr]
    yield from (parameter for parameter in objective.parameters() if id(parameter) not in inside)


def gather_parts_by_hand(objective: nn.Module) -> None:
    """Take ZeRO-3's hooks off all parts but the LLM: it demands that every rank runs the same modules in the same order."""
    own = {id(objective), id(objective.model), *map(id, objective.model.llm.modules())}  # type: ignore[union-attr, arg-type]
    for module in objective.modules():
        if id(module) not in own:
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key, hook in list(hooks.items()):
                    if hook.__module__.startswith("deepspeed"):
                        del hooks[key]


def gather_whole(parameters: Iterable[nn.Parameter]) -> None:
    """ZeRO-3: gather weights on every rank before a pass; the end of the backward pass shards all again."""
    sharded: list[Any] = [p for p in parameters if p.ds_status.name == "NOT_AVAILABLE"]  # type: ignore[attr-defined]
    if sharded:
        sharded[0].all_gather(sharded)


def in_fixed_order(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Zero, to be added to a loss: made before the forward pass, so that these gradients come last, in this order.

    ZeRO reduces gradients in the order in which they become complete, and never compares whose they are.
    """
    parameters = list(parameters)
    order: Tensor = _InFixedOrder.apply(*[p for p in parameters if p.requires_grad])  # type: ignore[no-untyped-call]
    return order


class _InFixedOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        ctx.like = [(tuple(p.shape), p.dtype, p.device) for p in parameters]
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.zeros((), dtype=dtype, device=device).expand(shape) for shape, dtype, device in ctx.like
        )
