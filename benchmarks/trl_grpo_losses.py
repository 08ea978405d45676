"""Losses and gradients of trl's GRPO trainer on a tiny text model, as the numbers that a test compares ours with.

    pip install --no-deps trl==1.16.0 datasets pyarrow pandas dill multiprocess xxhash  # not among our requirements
    python benchmarks/trl_grpo_losses.py tests/training/trl_grpo_losses.json

The loss is trl's own code; the model below it gives plain log-probabilities. Advantages are the formulas of trl's trainer,
which has no function for them.
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

PROMPTS = (4, 6)
"""Tokens of each prompt."""
ANSWERS = ((3, 6, 2), (5, 1, 6))
"""Tokens of the answers to each."""
REWARDS = ((0.0, 1.0, 0.25), (0.9, 0.1, 0.1))
LONGEST = 6
GRPO: dict[str, Any] = {
    "loss_type": "grpo",
    "beta": 0.0,
    "low": 0.2,
    "high": 0.2,
    "divide": True,
    "temperature": 1.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": GRPO,
    "grpo, kl": GRPO | {"beta": 0.3},
    "grpo, second update": GRPO | {"moved": 0.5},
    "dapo": GRPO | {"loss_type": "dapo", "high": 0.28},
    "dapo, second update": GRPO | {"loss_type": "dapo", "high": 0.28, "moved": 0.5},
    "dapo, truncated masked": GRPO | {"loss_type": "dapo", "high": 0.28, "masked": True},
    "grpo, truncated masked": GRPO | {"masked": True},
    "dr_grpo": GRPO | {"loss_type": "dr_grpo", "divide": False},
    "dr_grpo, kl, second update": GRPO | {"loss_type": "dr_grpo", "divide": False, "beta": 0.1, "moved": 0.5},
    "dapo, temperature 0.7, kl": GRPO | {"loss_type": "dapo", "temperature": 0.7, "beta": 0.2},
}


def groups() -> list[tuple[list[int], list[list[int]]]]:
    """Each prompt with its answers, as token ids."""
    generator = torch.Generator().manual_seed(3)

    def ids(count: int) -> list[int]:
        return torch.randint(1, 48, (count,), generator=generator).tolist()

    return [
        (ids(prompt), [ids(n) for n in answers]) for prompt, answers in zip(PROMPTS, ANSWERS, strict=True)
    ]


def noise(scale: float, seed: int) -> list[Tensor]:
    """A number per token of each answer."""
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, generator=generator) for answers in ANSWERS for n in answers]


def advantages(divide: bool) -> Tensor:
    """`(answers,)`, as trl's trainer computes them for `scale_rewards` group and none."""
    rewards = torch.tensor(REWARDS)
    above = rewards - rewards.mean(1, keepdim=True)
    return (above / (rewards.std(1, keepdim=True) + 1e-4) if divide else above).flatten()


def is_masked(variant: dict[str, Any], length: int) -> bool:
    """Whether an answer was cut off, and does not train for that."""
    return bool(variant.get("masked")) and length == LONGEST


def logprobs_of(
    model: Any, ids: Tensor, attention: Tensor, keep: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of the last `keep` tokens of padded rows."""
    positions = (attention.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=attention, position_ids=positions).logits[:, -keep - 1 : -1]
    spread = (logits / temperature).log_softmax(-1)
    return spread.gather(-1, ids[:, -keep:, None])[..., 0], -(spread.exp() * spread).sum(-1).detach()


def trl_loss(model: Any, variant: dict[str, Any]) -> Tensor:
    """Trl's loss of the groups."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    rows = [(prompt, answer) for prompt, answers in groups() for answer in answers]
    count, widest = len(rows), max(PROMPTS)
    ids, mask = torch.zeros(count, widest + LONGEST, dtype=torch.long), torch.zeros(count, widest + LONGEST)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, widest - len(prompt) : widest + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, widest - len(prompt) : widest + len(answer)] = 1
    attention, answered = mask.long(), mask[:, widest:].clone()
    for row, (_, answer) in enumerate(rows):
        if is_masked(variant, len(answer)):
            answered[row] = 0
    temperature = variant["temperature"]
    with torch.no_grad():
        first, _ = logprobs_of(model, ids, attention, LONGEST, temperature)
    inputs = {
        "prompt_ids": ids[:, :widest], "prompt_mask": attention[:, :widest], "completion_ids": ids[:, widest:],
        "completion_mask": answered.long(), "advantages": advantages(variant["divide"]), "num_items_in_batch": answered.sum(),
    }  # fmt: skip
    for name, scale, seed in (
        ("old_per_token_logps", variant.get("moved", 0.0), 1),
        ("ref_per_token_logps", 0.3, 2),
    ):
        moved = first.clone()
        for row, one in enumerate(noise(scale, seed)):
            moved[row, : len(one)] += one
        inputs[name] = moved
    if "moved" not in variant:
        del inputs["old_per_token_logps"]
    same = SimpleNamespace(
        device="cpu", num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
    )
    trainer = SimpleNamespace(
        model=model, accelerator=same, aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=variant["beta"], loss_type=variant["loss_type"], epsilon_low=variant["low"],
        epsilon_high=variant["high"], use_vllm=False, current_gradient_accumulation_steps=1, max_completion_length=LONGEST,
        _entropy_bonus_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        _get_per_token_logps_and_entropies=lambda model, ids, attention, keep, **more: (
            *logprobs_of(model, ids, (ids != 0).long(), keep, temperature), None,
        ),
    )  # fmt: skip
    return GRPOTrainer._compute_loss(trainer, model, inputs)


if __name__ == "__main__":
    write_numbers(Path(sys.argv[1]), VARIANTS, trl_loss)
