"""Answers of a batch about images: this build beside the commit before the decoding loop was our own (295bc4a).

The claim: with equal tokens in float32, a batch of 8 questions about 8 images costs at most 1 / 1.5 of the CPU time, the
first token of one question about a new image (nothing cached) at most 1 / 1.15. The model is a SigLIP-like tower of 93 M
weights and a Llama of 62 M with random weights, so that no answer ends early and both sides decode the same number of tokens;
`--stop-early` gives every question a limit of its own, as real answers have. The floor is arithmetic and bytes: two FLOPs per
weight and token of the prompt at the speed of a matrix product measured here, and the LLM's weights once per further token
at the speed of reading. One thread per side; the sides take turns.

    python benchmarks/generation.py [--repeats 3] [--batch 8] [--tokens 64] [--dtype float32|bfloat16] [--stop-early]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import both_builds

TOWER = {
    "model_type": "siglip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 256, "patch_size": 16,
}  # fmt: skip
LLM = {
    "model_type": "llama", "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 49152, "tie_word_embeddings": True,
    "max_position_embeddings": 2048,
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "llm": {"config": LLM, "tokenizer_vocab_size": 400},
    "image_encoder": {"type": "hf_vision", "config": TOWER},
    "image_connector": {"type": "mlp"},
    "image_processor": {"size": [256, 256], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3},
    "max_length": 2048,
}  # fmt: skip
QUESTION = "Is there a pleural effusion, and on which side is it? Describe the heart, the lungs and the bones in short."


def side(batch: int, tokens: int, dtype: str, stop_early: bool) -> None:
    """One side: answer with the seed on each line of the input; write CPU and wall seconds and a digest of the texts."""
    import numpy as np
    import torch
    import transformers.models.auto.modeling_auto  # noqa: F401  (registers our classes)

    from medmvl.engine import Engine, GenerationOptions, Request
    from medmvl.imaging import MedicalImage
    from medmvl.models.assemble import ModelRecipe, assemble  # where the earlier build has both
    from medmvl.schema import ImageBlock, Message, TextBlock

    torch.set_num_threads(1)
    model, processor = assemble(ModelRecipe.model_validate(RECIPE), texts=[QUESTION], seed=0)
    engine = Engine(model.to(getattr(torch, dtype)), processor)

    visual_loader = getattr(
        processor, "visual_loader", lambda read: read
    )  # the earlier build took the image itself

    def load(block: Any) -> Any:
        array = np.random.default_rng(int(block.path)).integers(0, 255, (256, 256)).astype(np.uint8)
        return MedicalImage(array=array, kind="image", units="display", source_format="png")

    def answers(seed: int, size: int, limits: list[int]) -> list[Any]:
        blocks = [(ImageBlock(image=str(seed * 1000 + i)), TextBlock(text=QUESTION[i:])) for i in range(size)]
        requests = [
            Request((Message(role="user", content=content),), visual_loader(load)) for content in blocks
        ]
        prepared = [engine.prepare(request) for request in requests]
        options = [GenerationOptions(max_new_tokens=limit) for limit in limits]
        now = hasattr(engine, "decode_sequences")  # else the names before
        new, decode = (
            (engine.new_sequence, engine.decode_sequences) if now else (engine.row, engine.decode_rows)
        )
        sequences = [new(one) for one in options]
        decode(prepared, sequences)
        return sequences

    limits = [tokens * (i + 1) // batch if stop_early else tokens for i in range(batch)]
    for line in sys.stdin:
        seed, took = int(line), {}
        for name, arguments in (("batch", (seed, batch, limits)), ("first token", (seed + 500, 1, [1]))):
            cpu, wall = time.process_time(), time.perf_counter()
            found = answers(*arguments)
            took[name] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            took[name]["texts"] = hashlib.sha256(json.dumps([s.tokens for s in found]).encode()).hexdigest()
        print(json.dumps(took), flush=True)


def floor(batch: int, tokens: int) -> float:
    """Seconds that arithmetic and bytes alone would take, from a matrix product and a copy measured here."""
    import torch

    torch.set_num_threads(1)
    a, source = torch.randn(1024, 1024), torch.randn(32_000_000)
    product = min(_seconds(lambda: a @ a) for _ in range(5)) / (2 * 1024**3)
    copied = min(_seconds(source.sum) for _ in range(3)) / source.nbytes
    tower, llm, head = 86e6, 12 * (512 * 512 * 3 + 3 * 512 * 1408), 512 * 49152
    prompt = 2 * batch * (256 * tower + (256 + 60) * llm) * product
    return prompt + (tokens - 1) * max((llm + head) * 4 * copied, 2 * batch * (llm + head) * product)


def _seconds(call: Any) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Time both sides in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description="answers of a batch, this build and the one before")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--stop-early", action="store_true")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side(options.batch, options.tokens, options.dtype, options.stop_early)
        return
    with tempfile.TemporaryDirectory() as name:
        sources = {"before": both_builds.before(Path(name)), "now": both_builds.ROOT / "src"}
        took = {label: [] for label in sources}
        sides = {label: _start(source) for label, source in sources.items()}
        for seed in range(options.repeats + 1):
            for label, process in sides.items():
                took[label].append(_ask(process, seed))
        for process in sides.values():
            process.stdin.close()
            process.wait()
    least = floor(options.batch, options.tokens)
    print(
        f"batch {options.batch}, {options.tokens} tokens, {options.dtype}; floor of the batch {least:.2f} s"
    )
    for case in ("batch", "first token"):
        equal = all(a[case]["texts"] == b[case]["texts"] for a, b in zip(*took.values(), strict=True))
        for clock in ("cpu", "wall"):
            before, now = (
                statistics.median(one[case][clock] for one in took[label][1:]) for label in sources
            )
            print(
                f"{case:12} {clock:4} before {before:7.2f} s  now {now:7.2f} s  {before / now:.2f} x  equal tokens: {equal}"
            )


def _start(source: Path) -> Any:
    command = [sys.executable, __file__, "--side", *sys.argv[1:]]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ask(process: Any, seed: int) -> Any:
    process.stdin.write(f"{seed}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


if __name__ == "__main__":
    main()
