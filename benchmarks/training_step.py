"""A training step at vocabulary 152k: ours beside the commit before (295bc4a) and transformers' Llava of the same sizes.

The claim: with the same CLIP tower, projector and Qwen2 LLM, the same images and the same padded batch, a step (forward,
loss, backward) of ours costs less time and at most 0.3 of Llava's memory, as logits are computed at supervised positions only,
in chunks. Each model runs in a process of its own, so that the peak of its memory is its own; `step_mib` is what the peak grows
by while it trains. The floor is arithmetic: 6 FLOPs a weight and token for what all must do.

    python benchmarks/training_step.py [--repeats 5] [--batch 4] [--text 256] [--answer 32]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from typing import Any

from both_builds import in_turns, print_table

VOCABULARY = 152_000
TOWER: dict[str, Any] = {
    "model_type": "clip_vision_model", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 4, "image_size": 112, "patch_size": 14,
}  # fmt: skip
LLM: dict[str, Any] = {
    "model_type": "qwen2", "vocab_size": VOCABULARY, "hidden_size": 256, "intermediate_size": 1024,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    "max_position_embeddings": 2048,
}  # fmt: skip
IMAGE_TOKENS = (TOWER["image_size"] // TOWER["patch_size"]) ** 2
IMAGE_TOKEN_ID, VOLUME_TOKEN_ID = VOCABULARY - 1, VOCABULARY - 2


def make_batch(batch: int, text: int, answer: int) -> dict[str, Any]:
    """One image a row, rows of different length padded to the longest, the answer at the end of each."""
    import torch

    generator = torch.Generator().manual_seed(0)
    length = IMAGE_TOKENS + text
    ids = torch.randint(10, 10_000, (batch, length), generator=generator)
    ids[:, :IMAGE_TOKENS] = IMAGE_TOKEN_ID
    mask = torch.ones_like(ids)
    labels = torch.full_like(ids, -100)
    for row in range(batch):
        end = length - row * (text - answer) // (2 * batch)  # the last row is about half as long as the first
        mask[row, end:], ids[row, end:] = 0, 0
        labels[row, end - answer : end] = ids[row, end - answer : end]
    size = TOWER["image_size"]
    pixels = torch.randn(batch, 3, size, size, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pixel_values": pixels}


def build_ours(batch: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig

    from medmvl import MedMVLConfig, MedMVLForConditionalGeneration
    from medmvl.models.visual_table import VisualRow, fingerprint, to_tensor

    side = TOWER["image_size"] // TOWER["patch_size"]
    config = MedMVLConfig(
        llm=AutoConfig.for_model(**LLM),
        image_encoder={"type": "hf_vision", "config": TOWER, "layer": -2},
        image_connector={"type": "mlp"},
        image_token_id=IMAGE_TOKEN_ID, volume_token_id=VOLUME_TOKEN_ID,
        image_size=(TOWER["image_size"],) * 2,
    )  # fmt: skip
    batch["visual_table"] = to_tensor(
        [
            VisualRow(
                row=row,
                start=0,
                length=IMAGE_TOKENS,
                kind=0,
                index=row,
                tiles=1,
                grid_depth=1,
                grid_height=side,
                grid_width=side,
                fingerprint=int(fingerprint(pixels[None])),
                **({"segment": 0} if "segment" in VisualRow._fields else {}),  # a column of the earlier build
            )
            for row, pixels in enumerate(batch["pixel_values"])
        ]
    )
    torch.manual_seed(0)
    return MedMVLForConditionalGeneration(config)


def build_llava(batch: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=AutoConfig.for_model(**TOWER),
        text_config=AutoConfig.for_model(**LLM),
        image_token_id=IMAGE_TOKEN_ID,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config)


BUILDERS = {"before": build_ours, "Llava": build_llava, "now": build_ours}


def run(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Time one model in this process."""
    batch = make_batch(options.batch, options.text, options.answer)
    model = BUILDERS[name](batch).train()
    before = peak_mib()
    seconds, cpu = [], []
    for turn in range(options.repeats + 1):
        model.zero_grad(set_to_none=True)
        start, used = time.perf_counter(), time.process_time()
        loss = model(**batch).loss
        loss.backward()
        if turn:  # the first step warms up
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
    weights = sum(weight.numel() for weight in model.parameters())
    body = weights - VOCABULARY * LLM["hidden_size"]
    floor = 6 * (
        body * batch["input_ids"].numel() + VOCABULARY * LLM["hidden_size"] * options.batch * options.answer
    )
    return {
        "cpu_s": statistics.median(cpu), "wall_s": statistics.median(seconds), "peak_mib": peak_mib(),
        "step_mib": peak_mib() - before,
        "loss": loss.item(), "weights": weights, "floor_gflop": floor / 1e9,
    }  # fmt: skip


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Measure the sides in turns and print ratios."""
    parser = argparse.ArgumentParser(
        description="a training step, beside the build before and transformers' Llava"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1, help="processes per side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--text", type=int, default=256)
    parser.add_argument("--answer", type=int, default=32)
    parser.add_argument("--side", choices=list(BUILDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run(options.side, options)))
        return
    print(f"batch {options.batch}, {IMAGE_TOKENS} visual + up to {options.text} text tokens, {options.answer} supervised, "
          f"vocabulary {VOCABULARY}, median of {options.repeats}")  # fmt: skip
    found = in_turns(__file__, list(BUILDERS), options.turns, sys.argv[1:])
    print_table(found, ("cpu_s", "wall_s", "peak_mib", "step_mib"))


if __name__ == "__main__":
    main()
