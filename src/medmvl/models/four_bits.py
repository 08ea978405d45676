"""Frozen weights in 4 bits, for QLoRA (Dettmers et al., arXiv 2305.14314): NF4 with double quantisation, through bitsandbytes.

Only what is frozen is quantised, in memory and while a stage trains. Merging gives ordinary layers with the values that the 4
bits stood for, so the saved model is the one that was trained, and needs no bitsandbytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medmvl.errors import RecipeError

if TYPE_CHECKING:
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora import LoraLayer


@contextmanager
def four_bits(part: nn.Module, layers: Sequence[str]) -> Iterator[None]:
    """Put the named linear layers of a part into 4 bits, and let peft know while it adapts them in the block.

    Raises:
        RecipeError: bitsandbytes is not installed.
    """
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise RecipeError(
            f"qlora: bitsandbytes cannot be imported ({error}); pip install -e '.[qlora]' in the clone, or use lora"
        ) from error
    for name in layers:
        layer = part.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            continue  # GPT-2's Conv1D, which bitsandbytes does not have: it stays as it is
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=layer.weight.dtype,
            quant_type="nf4",
            device="meta",
        )
        small.weight = Params4bit(layer.weight.detach().clone(), requires_grad=False, quant_type="nf4")
        small.bias = layer.bias
        # moving quantises
        part.set_submodule(name, small.to(layer.weight.device))
    part.is_loaded_in_4bit = True  # type: ignore[assignment]
    yield
    del part.is_loaded_in_4bit


def merged_layer(layer: LoraLayer) -> nn.Module:
    """The layer that an adapted one is: base and update in one weight."""
    base = layer.get_base_layer()
    if not is_small(base):
        layer.merge()
        merged: nn.Module = layer.get_base_layer()
        return merged
    plain = plain_layer(base)
    with torch.no_grad():
        for adapter in layer.active_adapters:
            plain.weight += layer.get_delta_weight(adapter).to(plain.weight)
    return plain


def leave_four_bits(model: nn.Module) -> None:
    """Give every layer in 4 bits ordinary weights of the same values."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if is_small(child):
                setattr(parent, name, plain_layer(child))


def plain_layer(small: Linear4bit) -> nn.Linear:
    """An ordinary layer with the values of one in 4 bits, which bitsandbytes computes with."""
    values = weight_of(small).to(small.compute_dtype)
    plain = nn.Linear(values.shape[1], values.shape[0], bias=small.bias is not None, device="meta")
    plain.weight = nn.Parameter(values, requires_grad=False)
    if small.bias is not None:
        plain.bias = small.bias
    return plain


def weight_of(small: Linear4bit) -> Tensor:
    """The values that the 4 bits stand for."""
    from bitsandbytes.functional import dequantize_4bit

    values: Tensor = dequantize_4bit(small.weight.data, small.weight.quant_state)
    return values


def is_small(module: nn.Module) -> bool:
    """Whether a layer is in 4 bits; peft's layer around one has the same name."""
    layer_class = type(module)
    return layer_class.__name__ == "Linear4bit" and layer_class.__module__.startswith("bitsandbytes")


def num_values(parameter: nn.Parameter) -> int:
    """Values of a parameter; 4 bits are packed in pairs."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())
