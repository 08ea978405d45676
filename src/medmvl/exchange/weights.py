"""The tensors of a checkpoint: safetensors or pickles, in one file or in shards. Code in a pickle is never run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medmvl.errors import UserError
from medmvl.messages import first_of

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "pretrained_ViT.bin", "pytorch_model.pt")
"""Names of a whole checkpoint in one file, the safest first; an index of shards goes before each."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MAX_LISTED = 20
_WRAPPERS = ("state_dict", "model", "model_state_dict", "module")
"""Keys under which training scripts put the weights next to optimizer and epoch."""


def has_weights(folder: Path) -> bool:
    """Whether a folder holds the weights of a checkpoint under a usual name."""
    return any((folder / f"{name}{end}").is_file() for name in WEIGHT_FILES for end in ("", ".index.json"))


def read_weights(source: Path, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, in the types they were saved in.

    Args:
        source: a folder with weights under a usual name, or one file.
        trust_pickle: run the code that a pickle may hold, if it cannot be read without.

    Raises:
        UserError: no weights, a shard is missing or damaged, or a pickle needs code to be read.
    """
    if source.is_file():
        return _read_file(source, trust_pickle)
    for name in WEIGHT_FILES:
        index = source / f"{name}.index.json"
        if index.is_file():
            return _read_shards(index, trust_pickle)
        if (source / name).is_file():
            return _read_file(source / name, trust_pickle)
    raise UserError(f"{source} holds no weights; expected one of {', '.join(WEIGHT_FILES)}, or their shards.")


def _read_shards(index: Path, trust_pickle: bool) -> dict[str, Tensor]:
    try:
        places = json.loads(index.read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no index of shards: {error}") from None
    shards = sorted(set(places.values()))
    if outside := [shard for shard in shards if Path(shard).name != shard]:
        raise UserError(f"{index} names files outside its folder: {_listed(outside)}")
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise UserError(
            f"{index.parent}: {len(missing)} of {len(shards)} shards are missing: {_listed(missing)}"
        )
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= _read_file(index.parent / shard, trust_pickle)
    if lost := [name for name in places if name not in tensors]:
        raise UserError(f"{index}: {len(lost)} tensors are in no shard: {_listed(lost)}")
    return tensors


def _read_file(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged: {error}") from None
    if path.suffix not in _PICKLES:
        raise UserError(f"{path}: weights are read from .safetensors or {', '.join(_PICKLES)} files.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is a pickle that runs code when it is read, which is refused. If you trust whoever made it, allow that "
            "with --trust-pickle."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    return _tensors(loaded, path)


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what was loaded, also where a training script wrapped it."""
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    tensors = (
        {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    )
    if not tensors:
        raise UserError(f"{path} holds no named tensors.")
    return tensors


def load_exactly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module: every one has a place, every place is filled, and shapes agree.

    Args:
        module: takes the weights, in their own types.
        weights: by the module's own names.
        where: what is loaded, for the error.

    Raises:
        UserError: listing missing tensors, those without a place, and wrong shapes.
    """
    places = module.state_dict()
    missing = [name for name in places if name not in weights]
    extra = [name for name in weights if name not in places]
    wrong = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(places[name].shape)}"
        for name, tensor in weights.items()
        if name in places and tensor.shape != places[name].shape
    ]
    problems = (("missing", missing), ("without a place in it", extra), ("of wrong shape", wrong))
    found = [f"{len(names)} tensors {what}: {_listed(names)}" for what, names in problems if names]
    if found:
        raise UserError(f"{where}: the weights do not fit. " + "; ".join(found))
    module.load_state_dict(dict(weights), assign=True)


def under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _listed(names: Iterable[str]) -> str:
    return first_of(list(names), _MAX_LISTED, separator=", ")
