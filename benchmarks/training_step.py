"""A training step at vocabulary 152k: ours beside transformers' LlavaForConditionalGeneration of the same sizes.

The claim: with the same CLIP tower, projector and Qwen2 LLM, the same images and the same padded batch, a step (forward,
loss, backward) of ours costs less time and less memory, as logits are computed at supervised positions only. Each model
runs in a process of its own, so that the peak of its memory is its own. The floor is arithmetic: 6 FLOPs a weight and
token for what both must do. Prints the medians and ratios of one run.

    python benchmarks/training_step.py [--repeats 5] [--batch 4] [--text 256] [--answer 32]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

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
            VisualRow(row, 0, 0, IMAGE_TOKENS, 0, row, 1, 1, side, side, int(fingerprint(pixels[None])))
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


BUILDERS = {"ours": build_ours, "Llava": build_llava}


def run(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Time one model in this process."""
    batch = make_batch(options.batch, options.text, options.answer)
    model = BUILDERS[name](batch).train()
    before = peak_mib()
    seconds = []
    for turn in range(options.repeats + 1):
        model.zero_grad(set_to_none=True)
        start = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        if turn:  # the first step warms up
            seconds.append(time.perf_counter() - start)
    weights = sum(weight.numel() for weight in model.parameters())
    body = weights - VOCABULARY * LLM["hidden_size"]
    floor = 6 * (
        body * batch["input_ids"].numel() + VOCABULARY * LLM["hidden_size"] * options.batch * options.answer
    )
    return {
        "seconds": statistics.median(seconds), "peak_mib": peak_mib(), "step_mib": peak_mib() - before,
        "loss": loss.item(), "weights": weights, "floor_gflop": floor / 1e9,
    }  # fmt: skip


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description="a training step, beside transformers' Llava")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--text", type=int, default=256)
    parser.add_argument("--answer", type=int, default=32)
    parser.add_argument("--only", choices=list(BUILDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(options.only, options)))
        return
    results = {}
    for name in BUILDERS:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[name] = json.loads(done.stdout.splitlines()[-1])
    print(f"batch {options.batch}, {IMAGE_TOKENS} visual + up to {options.text} text tokens, {options.answer} supervised, "
          f"vocabulary {VOCABULARY}, {results['ours']['weights'] / 1e6:.0f} M weights, "
          f"median of {options.repeats}")  # fmt: skip
    print(f"{'':<10}{'step':>10}{'peak memory':>14}{'of the steps':>14}{'floor':>14}")
    for name, row in results.items():
        print(f"{name:<10}{row['seconds']:>9.3f}s{row['peak_mib']:>10.0f} MiB{row['step_mib']:>10.0f} MiB"
              f"{row['floor_gflop']:>8.0f} GFLOP")  # fmt: skip
    ours, llava = results["ours"], results["Llava"]
    ratios = [llava[key] / ours[key] for key in ("seconds", "peak_mib", "step_mib")]
    print(f"{'Llava/ours':<10}{ratios[0]:>9.2f}x{ratios[1]:>13.2f}x{ratios[2]:>13.2f}x")


if __name__ == "__main__":
    main()
