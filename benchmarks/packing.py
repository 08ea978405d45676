"""A training step of `group: study`: padded, packed, and packed with what samples share, beside the commit before (295bc4a).

The claims: packed, a step takes 1 / 1.25 of the time of the padded one; with its scan's tokens once per study it takes 1 / 1.5
of that, and with the 490 tokens of a chest CT 1 / 2.5. A batch holds two studies with three short questions and a report each,
`--visual` tokens before every text, of an LLM with 4 layers; encoders are left out, as all sides run them alike. The loss and
the norm of its gradient are printed: they are the same. The floor is 6 FLOPs per weight and token that is computed.

    python benchmarks/packing.py [--repeats 3] [--visual 64]
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
WORDS = (20, 26, 24, 200, 18, 32, 22, 220)
"""Tokens of question and answer of four samples of each of two studies."""
ANSWERS = (3, 3, 6, 180, 3, 6, 3, 200)
PER_STUDY = 4
SIDES = ("before", "padded", "packed", "shared")


def measure(side: str, visual: int) -> dict[str, float]:
    """CPU and wall seconds of a step, its loss, and the norm of the gradient."""
    import torch
    from transformers import AutoConfig

    from medmvl import MedMVLConfig, MedMVLForConditionalGeneration
    from medmvl.models.visuals import ProcessedSample

    if side == "before":  # where it was then
        from medmvl.models.visuals import collate
    else:
        from medmvl.models.collation import collate
    torch.manual_seed(0)
    model = MedMVLForConditionalGeneration(
        MedMVLConfig(llm=AutoConfig.for_model(**LLM), image_token_id=3998, volume_token_id=3999)
    ).train()
    beginnings = [torch.randint(3900, (visual,)) for _ in range(len(WORDS) // PER_STUDY)]
    samples = []
    for number, (words, answer) in enumerate(zip(WORDS, ANSWERS, strict=True)):
        ids = torch.cat([beginnings[number // PER_STUDY], torch.randint(3900, (words,))])
        labels = ids.masked_fill(torch.arange(len(ids)) < len(ids) - answer, -100)
        samples.append(ProcessedSample(name="sample", input_ids=ids, labels=labels))
    if side in ("before", "padded"):
        batch = dict(collate(samples, pad_id=0))
    else:
        from medmvl.models.packing import Continuation, SharedBeginning, pack, packed_row

        studies = [
            SharedBeginning(
                samples[start],
                visual,
                [
                    Continuation(sample.input_ids[visual:], sample.labels[visual:])
                    for sample in samples[start : start + PER_STUDY]
                ],
            )
            for start in range(0, len(samples), PER_STUDY)
        ]
        batch = dict(packed_row(studies) if side == "shared" else pack(samples))
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
    parser.add_argument("--visual", type=int, default=64, help="tokens of a scan")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.visual)))
        return
    found = in_turns(__file__, SIDES, options.repeats, ("--visual", str(options.visual)))
    print_table(found, ("cpu_s", "wall_s"), to="shared")
    for side, row in found.items():
        print(f"{side:<14}loss {row['loss']:.7f}, norm of the gradient {row['gradient']:.7f}")
    width = LLM["hidden_size"]
    weights = LLM["num_hidden_layers"] * (2 * width**2 * 4 // 3 + 3 * width * LLM["intermediate_size"])
    studies = len(WORDS) // PER_STUDY
    tokens = {
        "padded": len(WORDS) * (options.visual + max(WORDS)),
        "packed": len(WORDS) * options.visual + sum(WORDS),
        "shared": studies * options.visual + sum(WORDS),
    }
    for side, count in tokens.items():
        floor = 6 * (weights * count + LLM["vocab_size"] * width * sum(ANSWERS))
        print(f"{side:<14}floor {floor / 1e9:.0f} GFLOP for {count} tokens")


if __name__ == "__main__":
    main()
