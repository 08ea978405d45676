"""Names of MSIIP/MedM-VL's tensors: what is needed, what may be left out, what must not be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from medmvl.errors import UserError

_PREFIXES = ("llm.", "encoder_image.", "connector_image.", "encoder_image3d.", "connector_image3d.")
_ADAPTERS = ("lora_A", "lora_B", "base_layer", "base_model.model")


def check_names(weights: Mapping[str, Tensor], source: Path) -> None:
    """Refuse tensors that belong to no part, and adapters that were never merged.

    Raises:
        UserError: listing them.
    """
    adapters = [name for name in weights if any(mark in name for mark in _ADAPTERS)]
    if adapters:
        raise UserError(
            f"{source} was saved in the middle of LoRA training: its adapters are not merged ({len(adapters)} tensors, such as "
            f"{adapters[0]}), and the checkpoint does not say their scale. Import the checkpoint that the training wrote at "
            "its end."
        )
    strange = [name for name in weights if not name.startswith(_PREFIXES)]
    if strange:
        raise UserError(
            f"{source}: {len(strange)} tensors belong to no known part: {', '.join(strange[:20])}"
        )


def language_weights(weights: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The LLM's tensors; a head that equals the embedding is dropped, so that its absence says `tied`.

    Raises:
        UserError: there are none.
    """
    if not weights:
        raise UserError(f"{source} holds no tensors named llm.*")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("rotary_emb.inv_freq")}
    head, embedding = kept.get("lm_head.weight"), kept.get("model.embed_tokens.weight")
    if head is None or embedding is None or "lm_head.bias" in kept:
        return kept
    if head.shape == embedding.shape and torch.equal(head, embedding):
        del kept["lm_head.weight"]
    return kept


def connector_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A connector's tensors by our names: `connector.*` is the MLP, `attn.*` the attention."""
    return {
        re.sub(r"^connector\.", "mlp.", re.sub(r"^attn\.", "attention.", n)): t for n, t in theirs.items()
    }
