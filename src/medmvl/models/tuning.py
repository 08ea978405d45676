"""What of a model is trained: each part is `frozen`, `full`, `last_k`, `lora`, `dora` or `qlora`, with its own learning rate.

LoRA (Hu et al., arXiv 2106.09685) and DoRA (Liu et al., arXiv 2402.09353) go through peft, into one part at a time: no other
part is ever adapted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatchcase
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError
from medmvl.models.four_bits import four_bits, leave_four_bits, merged_layer, num_values
from medmvl.models.part_names import PARTS
from medmvl.models.part_tuning import FROZEN, PartTuning, Tuning
from medmvl.models.visuals import digest

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

ADAPTER_WEIGHTS = "adapter.safetensors"
ADAPTER_CONFIG = "adapter.json"
_BASE = "base"
"""Entry of an adapter's metadata: digest of the weights that it was trained next to."""
ParameterGroup = dict[str, Any]
"""Parameters with their settings of the optimizer, as torch takes them."""


class TuningRow(NamedTuple):
    """One line of the table that is shown before the first step."""

    part: str
    mode: str
    learning_rate: float | None
    num_trained: int
    num_parameters: int


def apply_tuning(model: nn.Module, tuning: Tuning, *, heads: bool = False) -> None:
    """Freeze, unfreeze and adapt the parts of `model` in place; a part that is not named is frozen.

    Args:
        model: gets its trainable weights marked.
        tuning: by part.
        heads: something trains that is not of the model, so that all of it may be frozen.

    Raises:
        RecipeError: a part the model does not have, one without the layers or weights to train, or nothing to train.
    """
    for name in tuning:
        _part(model, name)
    model.requires_grad_(False)
    for name, settings in tuning.items():
        part = _part(model, name)
        if settings.mode == "full":
            _require(
                any(True for _ in part.parameters()),
                f"{name} has no weights of its own to train"
                " (a shared encoder is trained through image_encoder)",
            )
            part.requires_grad_(True)
        elif settings.mode == "last_k":
            _train_last(name, part, settings.layers or 1)
        elif settings.adapts:
            layers = lora_targets(model, part)
            with four_bits(part, layers) if settings.mode == "qlora" else nullcontext():
                _inject_lora(name, part, layers, settings)
    _require(
        heads or any(p.requires_grad for p in model.parameters()),
        f"nothing would train: {_modes(tuning)}; set a part to full, last_k, lora or dora",
    )


def _modes(tuning: Tuning) -> str:
    return ", ".join(f"{name} {settings.mode}" for name, settings in tuning.items()) or "no part is named"


def _part(model: nn.Module, name: str) -> nn.Module:
    """The part called `name`. Raises RecipeError where there is none."""
    present = [part for part in PARTS if isinstance(getattr(model, part, None), nn.Module)]
    if name not in present:
        raise RecipeError(f"part '{name}' is not in this model; its parts are {', '.join(present)}")
    part = getattr(model, name)
    assert isinstance(part, nn.Module)
    return part


def has_weights(model: nn.Module, name: str) -> bool:
    """Whether the model has this part, and the part weights of its own: slices through a shared encoder have none."""
    part = getattr(model, name, None)
    return isinstance(part, nn.Module) and any(True for _ in part.parameters())


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


def _train_last(name: str, part: nn.Module, count: int) -> None:
    """Train the blocks of a part that run last, what is between them, and the norms that follow them."""
    stacks = dict(_stacks(part))
    _require(bool(stacks), f"{name}: it is no stack of blocks, so last_k means nothing here; use full")
    _require(
        len(stacks) == 1,
        f"{name}: it has {len(stacks)} stacks of blocks ({', '.join(stacks)}), so its last blocks are not known; use full, or "
        "lora with targets",
    )
    ((place, stack),) = stacks.items()
    blocks = _blocks(stack)
    _require(count <= len(blocks), f"{name}: last_k of {count} layers, but it has {len(blocks)}")
    first = {id(weight) for weight in blocks[-count].parameters()}
    for weight in dropwhile(lambda weight: id(weight) not in first, stack.parameters()):
        weight.requires_grad_(True)
    children = list(part.get_submodule(place.rpartition(".")[0]).children())
    for child in children[[child is stack for child in children].index(True) + 1 :]:
        if "norm" in type(child).__name__.lower():
            child.requires_grad_(True)


def _stacks(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists of like blocks in a module, by name."""
    for key, child in module.named_children():
        parallel = isinstance(child, nn.ModuleList) and isinstance(
            next(child.children(), None), nn.Sequential
        )
        if isinstance(child, nn.ModuleList) and _is_alike(child) and not parallel:
            yield f"{path}{key}", child
        else:
            yield from _stacks(child, f"{path}{key}.")


def _blocks(stack: nn.ModuleList) -> list[nn.Module]:
    """The blocks of a stack in the order in which they run; where it is one of stages, the blocks of all stages."""
    rows = [
        [row for row in stage.children() if isinstance(row, nn.ModuleList | nn.Sequential) and _is_alike(row)]
        for stage in stack
    ]
    if any(len(found) != 1 for found in rows):
        return list(stack)
    return [block for (row,) in rows for block in row.children()]


def _is_alike(row: nn.Module) -> bool:
    """Whether modules in a row are blocks: of one class, and made of others."""
    blocks = list(row.children())
    return len({type(block) for block in blocks}) == 1 and all(list(block.children()) for block in blocks)


def _inject_lora(name: str, part: nn.Module, layers: list[str], settings: PartTuning) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    options = settings.lora
    wanted = options.targets or ("*",)
    unknown = [target for target in wanted if not any(_names(target, layer) for layer in layers)]
    known = sorted({layer.rpartition(".")[2] for layer in layers})
    _require(bool(layers), f"{name}: it has no linear layer that {settings.mode} could adapt; use full")
    _require(
        not unknown,
        f"{name}: no linear layer is called {', '.join(unknown)}; there are {', '.join(known)}",
    )
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=[layer for layer in layers if any(_names(target, layer) for target in wanted)],
        bias="none",
        use_dora=settings.mode == "dora",
    )
    inject_adapter_in_model(config, part)


def _names(target: str, layer: str) -> bool:
    return target == layer.rpartition(".")[2] or fnmatchcase(layer, target)


def lora_targets(model: nn.Module, part: nn.Module) -> list[str]:
    """Names, within `part`, of the linear layers that LoRA may adapt.

    Left out are the LLM's head, and layers inside attention that reads their weight without calling them.
    """
    from transformers.pytorch_utils import Conv1D

    find_head = getattr(model, "get_output_embeddings", None)
    head = find_head() if find_head is not None else None
    inside = {
        id(child)
        for module in part.modules()
        if isinstance(module, nn.MultiheadAttention)
        for child in module.modules()
    }
    return [
        name
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and id(module) not in inside
    ]


def parameter_groups(
    model: nn.Module, tuning: Tuning, *, learning_rate: float, weight_decay: float
) -> list[ParameterGroup]:
    """Groups for an optimizer: each part with its own learning rate, split into what decays and the rest.

    Args:
        model: as `apply_tuning` left it.
        tuning: the stage's parts.
        learning_rate: for parts without one.
        weight_decay: for parts without one.
    """
    groups = []
    for name, settings in tuning.items():
        if settings.mode == "frozen":
            continue
        rate = settings.learning_rate or learning_rate
        decay = weight_decay if settings.weight_decay is None else settings.weight_decay
        groups += split_by_decay(_part(model, name), name, rate, decay)
    return groups


def split_by_decay(
    module: nn.Module, name: str, learning_rate: float, weight_decay: float
) -> list[ParameterGroup]:
    """One group of trained matrices, which decay, and one of norms, biases and embeddings."""
    decayed = {id(weight) for weight in _decaying_weights(module)}
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return [{**group, "lr": learning_rate, "part": name} for group in groups if group["params"]]


def _decaying_weights(module: nn.Module) -> Iterator[nn.Parameter]:
    """Matrices and kernels that something is multiplied by; a tied embedding and head count as embedding."""
    embeddings = {
        id(p) for owner in module.modules() if isinstance(owner, nn.Embedding) for p in owner.parameters()
    }
    for name, weight in module.named_parameters():
        if weight.ndim >= 2 and name.endswith("weight") and id(weight) not in embeddings:
            yield weight


def tuning_table(model: nn.Module, tuning: Tuning, learning_rate: float) -> list[TuningRow]:
    """What trains, a row per part, counted on the model itself."""
    rows = []
    for name in PARTS:
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            continue
        settings = tuning.get(name, FROZEN)
        trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
        rate = (settings.learning_rate or learning_rate) if trained else None
        rows.append(TuningRow(name, settings.mode, rate, trained, sum(map(num_values, part.parameters()))))
    return rows


def has_lora(model: nn.Module) -> bool:
    """Whether some layer carries an adapter."""
    return any(True for _ in _lora_layers(model))


def merge_lora(model: nn.Module) -> None:
    """Add every adapter to the weights it adapts and remove it: `model` has its original layers again, none in 4 bits."""
    for parent, name, layer in list(_lora_layers(model)):
        setattr(parent, name, merged_layer(layer))
    leave_four_bits(model)
    for module in model.modules():
        if "peft_config" in module.__dict__:
            del module.peft_config


def _lora_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, LoraLayer]]:
    from peft.tuners.lora import LoraLayer

    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, LoraLayer):
                yield parent, name, child


def save_adapter(model: nn.Module, tuning: Tuning, folder: Path) -> None:
    """Write what a stage trained and nothing else: adapters, and parts trained whole with their buffers."""
    trained = {name: settings for name, settings in tuning.items() if settings.mode != "frozen"}
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in _trained_state(model, trained).items()
    }
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt", _BASE: _base_digest(model)})
    write_json(
        folder / ADAPTER_CONFIG,
        {name: settings.model_dump(mode="json") for name, settings in trained.items()},
    )


def load_adapter(model: nn.Module, folder: Path) -> dict[str, PartTuning]:
    """Put what `save_adapter` wrote onto the model that stage began with, and return the tuning.

    Raises:
        RecipeError: the model's layers, or their weights, are not those the adapter was trained on.
    """
    stored = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    tuning = {name: PartTuning.model_validate(settings) for name, settings in stored.items()}
    apply_tuning(model, tuning)
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    expected = {name: tensor.shape for name, tensor in _trained_state(model, tuning).items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    _require(
        not wrong,
        f"{folder}: made for another model; {len(wrong)} weights differ in name or shape, first {wrong[:1]}",
    )
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        base = (file.metadata() or {}).get(_BASE)
    _require(
        base in (None, _base_digest(model)),
        f"{folder}: made for another model; names and shapes are equal, but the weights that were frozen next to it are "
        "others. Its base is the model that its stage began with, not the one that the stage made, which has the adapter in it",
    )
    with torch.no_grad():
        for name, tensor in _trained_state(model, tuning).items():
            tensor.copy_(tensors[name])
    return tuning


def _base_digest(model: nn.Module) -> str:
    """Digest of the values that do not train, whatever their type; without 4 bits, which devices may round differently."""
    total = hashlib.sha256()
    for name, weight in model.named_parameters():
        if not weight.requires_grad and getattr(weight, "quant_state", None) is None:
            total.update(f"{name} {digest(weight.float())}".encode())
    return total.hexdigest()


def _trained_state(model: nn.Module, tuning: Tuning) -> dict[str, Tensor]:
    """Trained parameters, and the saved buffers of parts trained whole; a tied weight once."""
    state: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name, settings in tuning.items():
        if settings.mode == "full":
            part = _part(model, name)
            buffers = {id(buffer): f"{name}.{key}" for key, buffer in part.named_buffers()}
            saved = part.state_dict(keep_vars=True).values()
            state |= {buffers[id(tensor)]: tensor for tensor in saved if id(tensor) in buffers}
    return state
