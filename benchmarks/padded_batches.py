"""A training step of a right-padded batch of long rows: without a stored mask, beside the commit before (295bc4a).

The claim: at 3,400 tokens a step takes 1 / 1.7 of the time, and attention takes a quarter of its memory, as causal attention
needs no mask of `(B, 1, L, L)` for padding on the right. Memory of attention is what the largest resident memory of a process
grows by. The floor is 6 FLOPs per weight and token, and 6 per pair of tokens and feature of attention.

    python benchmarks/padded_batches.py [--repeats 3] [--length 3400] [--rows 2]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from both_builds import in_turns, print_table

LLM: dict[str, Any] = {
    "model_type": "qwen2", "vocab_size": 2000, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip


def step(length: int, rows: int) -> dict[str, float]:
    """CPU and wall seconds of one step, the peak memory of the process in MiB, and the loss."""
    import torch
    from transformers import AutoConfig

    from medmvl import MedMVLConfig, MedMVLForConditionalGeneration

    torch.manual_seed(0)
    model = MedMVLForConditionalGeneration(
        MedMVLConfig(llm=AutoConfig.for_model(**LLM), image_token_id=1998, volume_token_id=1999)
    ).train()
    ids = torch.randint(1900, (rows, length))
    real = (
        torch.arange(length)[None]
        < torch.tensor([length - row * length // 8 for row in range(rows)])[:, None]
    )
    labels = ids.masked_fill(~real | (torch.rand(ids.shape) > 0.05), -100)
    batch = {"input_ids": ids, "attention_mask": real.long(), "labels": labels, "use_cache": False}
    model(**{name: value[:, :16] if name != "use_cache" else value for name, value in batch.items()})
    cpu, wall = time.process_time(), time.perf_counter()
    loss = model(**batch).loss
    loss.backward()
    return {
        "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, "loss": loss.item(),
    }  # fmt: skip


def attention(length: int, rows: int, masked: bool) -> dict[str, float]:
    """The same of the attention of one layer alone, as transformers calls it for this LLM in the two builds.

    Where there is a mask, keys and values are repeated for the heads that share them.
    """
    from types import SimpleNamespace

    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    heads, shared = LLM["num_attention_heads"], LLM["num_key_value_heads"]
    query, key, value = (
        torch.randn(rows, count, length, LLM["hidden_size"] // heads, requires_grad=True)
        for count in (heads, shared, shared)
    )
    layer: Any = SimpleNamespace(num_key_value_groups=heads // shared, is_causal=True)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    mask = None
    if masked:
        real = torch.ones(rows, length, dtype=torch.bool)
        real[1:, -length // 8 :] = False
        mask = sdpa_mask(rows, length, length, attention_mask=real)
    sdpa_attention_forward(layer, query, key, value, mask)[0].sum().backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    return {
        "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "attention_mib": peak / 2**10,
    }  # fmt: skip


def main() -> None:
    """Measure both builds in turns and print ratios and floor."""
    parser = argparse.ArgumentParser(description="a step of a padded batch, beside the build before")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--length", type=int, default=3400)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="attention alone")
    parser.add_argument("--side", choices=("before", "now"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        found = (
            attention(options.length, options.rows, options.side == "before")
            if options.alone
            else step(options.length, options.rows)
        )
        print(json.dumps(found))
        return
    given = ["--length", str(options.length), "--rows", str(options.rows)]
    steps = in_turns(__file__, ("before", "now"), options.repeats, given)
    print_table(steps, ("cpu_s", "wall_s", "peak_mib"))
    alone = in_turns(__file__, ("before", "now"), options.repeats, [*given, "--alone"])
    print_table(alone, ("cpu_s", "wall_s", "attention_mib"))
    layers, width = LLM["num_hidden_layers"], LLM["hidden_size"]
    weights = layers * (2 * width**2 + 2 * width**2 // 4 + 3 * width * LLM["intermediate_size"])
    dense = 6 * weights * options.rows * options.length
    pairs = 6 * 2 * layers * width * options.rows * options.length**2 / 2
    print(f"floor: {(dense + pairs) / 1e9:.0f} GFLOP, {pairs / 1e9:.0f} of them attention's causal half")


if __name__ == "__main__":
    main()
