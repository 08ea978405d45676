"""Losses and gradients of trl's DPO trainer on a tiny text model, as the numbers that a test compares ours with.

    pip install --no-deps trl==1.16.0 datasets pyarrow pandas dill multiprocess xxhash  # not among our requirements
    python benchmarks/trl_losses.py tests/training/trl_losses.json

The loss is trl's own code; the model below it gives plain log-probabilities. `aot` on one pair is conservative DPO, as one
pair needs no sorting.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from trl_reference import write_numbers

LENGTHS = ((9, 4), (12, 5), (8, 2), (11, 6))
"""Tokens of each row and of its answer: chosen, chosen, rejected, rejected."""
VARIANTS: dict[str, dict[str, Any]] = {
    "sigmoid": {"loss_types": ["sigmoid"], "beta": 0.1},
    "sigmoid, beta 0.5": {"loss_types": ["sigmoid"], "beta": 0.5},
    "smoothed": {"loss_types": ["aot"], "beta": 0.3, "label_smoothing": 0.2, "one_pair": True},
    "ipo": {"loss_types": ["ipo"], "beta": 0.4},
    "sigmoid and sft": {
        "loss_types": ["sigmoid", "sft"],
        "loss_weights": [1.0, 0.7],
        "beta": 0.1,
        "one_pair": True,
    },
    "ipo and sft": {"loss_types": ["ipo", "sft"], "loss_weights": [1.0, 0.3], "beta": 0.2, "one_pair": True},
}


def pairs(one: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, attention mask and mask of the answers `(rows, 12)`, and log-probabilities of a reference `(rows,)`."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 48, (4, 12), generator=generator)
    reference = -torch.rand(4, generator=generator) * 20 - 5
    places = torch.arange(12)
    attention = torch.stack([(places < length).long() for length, _ in LENGTHS])
    answer = torch.stack([((places < length) & (places >= length - own)).long() for length, own in LENGTHS])
    rows = torch.tensor([0, 2] if one else [0, 1, 2, 3])
    return ids[rows], attention[rows], answer[rows], reference[rows]


def trl_loss(model: Any, variant: dict[str, Any]) -> Tensor:
    """Trl's loss of the pairs."""
    from trl.trainer.dpo_trainer import DPOTrainer

    ids, attention, answer, reference = pairs(bool(variant.get("one_pair")))
    settings = {"loss_weights": [1.0] * len(variant["loss_types"]), "label_smoothing": 0.0} | variant
    same = SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value)
    trainer = SimpleNamespace(
        **settings, model=model, accelerator=same, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", use_weighting=False, _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip

    def forward(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **more: Any) -> Any:
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1]
        logprobs = logits.log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
        logprobs = logprobs.masked_fill(labels[:, 1:] == -100, 0.0)  # as trl's fused head gives them
        zeros = torch.zeros_like(logprobs)
        return SimpleNamespace(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    chosen, rejected = reference.chunk(2)
    inputs = {
        "input_ids": ids, "attention_mask": attention, "completion_mask": answer, "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }  # fmt: skip
    return DPOTrainer._compute_loss(trainer, forward, inputs, False)


if __name__ == "__main__":
    write_numbers(Path(sys.argv[1]), VARIANTS, trl_loss)
