"""A training step of `group: study`, padded and packed: today's build beside the commit before (295bc4a).

The claim: packed, a step takes 1 / 1.25 of the time of the padded one. A batch holds two studies with three short questions and
a report each, 64 visual tokens before every text, of an LLM with 4 layers; encoders are left out, as both sides run them alike.
The loss and the norm of its gradient are printed: they are the same. The floor is 6 FLOPs per weight and real token.

    python benchmarks/packing.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from both_builds import in_turns, print_table

LLM: dict[str, Any] = {
    "model_type": "qwen2", "vocab_size": 4000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
LENGTHS = (84, 90, 88, 264, 82, 96, 86, 284)
ANSWERS = (3, 3, 6, 180, 3, 6, 3, 200)


def measure(side: str) -> dict[str, float]:
    """CPU and wall seconds of a step, its loss, and the norm of the gradient."""
    import torch
    from transformers import AutoConfig

    from medmvl import MedMVLConfig, MedMVLForConditionalGeneration
    from medmvl.models.collation import collate
    from medmvl.models.visuals import ProcessedSample

    torch.manual_seed(0)
    model = MedMVLForConditionalGeneration(
        MedMVLConfig(llm=AutoConfig.for_model(**LLM), image_token_id=3998, volume_token_id=3999)
    ).train()
    samples = []
    for length, answer in zip(LENGTHS, ANSWERS, strict=True):
        ids = torch.randint(3900, (length,))
        labels = ids.masked_fill(torch.arange(length) < length - answer, -100)
        samples.append(ProcessedSample(name="sample", input_ids=ids, labels=labels))
    if side == "packed":
        from medmvl.models.packing import pack

        batch = dict(pack(samples))
    else:
        batch = dict(collate(samples, pad_id=0))
    for turn in range(4):
        if turn == 1:  # the first step warms up
            cpu, wall = time.process_time(), time.perf_counter()
        model.zero_grad()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
    norm = torch.stack([weight.grad.norm() for weight in model.parameters()]).norm()
    return {
        "cpu_s": (time.process_time() - cpu) / 3, "wall_s": (time.perf_counter() - wall) / 3,
        "loss": loss.item(), "gradient": norm.item(),
    }  # fmt: skip


def main() -> None:
    """Measure the sides in turns and print ratios and floor."""
    parser = argparse.ArgumentParser(description="a step, padded and packed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=("before", "padded", "packed"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side)))
        return
    found = in_turns(__file__, ("before", "padded", "packed"), options.repeats)
    print_table(found, ("cpu_s", "wall_s"), to="packed")
    for side, row in found.items():
        print(f"{side:<14}loss {row['loss']:.7f}, norm of the gradient {row['gradient']:.7f}")
    width = LLM["hidden_size"]
    weights = LLM["num_hidden_layers"] * (2 * width**2 * 4 // 3 + 3 * width * LLM["intermediate_size"])
    floor = 6 * (weights * sum(LENGTHS) + LLM["vocab_size"] * width * sum(ANSWERS))
    print(
        f"floor: {floor / 1e9:.0f} GFLOP; {sum(LENGTHS)} real tokens of {len(LENGTHS) * max(LENGTHS)} padded ones"
    )


if __name__ == "__main__":
    main()
