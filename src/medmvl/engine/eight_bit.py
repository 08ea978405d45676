"""Weights of the LLM's linear layers in 8 bits, by torchao: a quarter of their float32 memory, for slightly other answers."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from medmvl.errors import MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_eight_bit() -> None:
    """Raise MissingExtraError where torchao is absent, before anything is loaded."""
    if find_spec("torchao") is None:
        raise MissingExtraError(
            "dtype int8 needs torchao; install it with: pip install -e '.[int8]' in the clone, or choose another dtype"
        )


def to_eight_bit(llm: PreTrainedModel) -> None:
    """Replace the weights of the LLM's linear layers in place, one scale per row; the sums stay in the model's dtype.

    The output head stays as it is, as it may share its weight with the embedding; so do encoders and connectors,
    which are small next to the LLM.
    """
    logging.getLogger("torchao").setLevel(
        logging.ERROR
    )  # it warns of GPU kernels that are not for this machine
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    head = llm.get_output_embeddings()

    def chosen(module: torch.nn.Module, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and module is not head

    quantize_(llm, Int8WeightOnlyConfig(), filter_fn=chosen)
