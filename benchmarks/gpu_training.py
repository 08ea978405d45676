"""Tokens per second and share of the measured matmul peak of full-size recipes on one GPU, with random weights, in bfloat16.

    python benchmarks/gpu_training.py          # medm-vl-2d and medm-vl-ct-chest, about eight minutes on one GPU
    python benchmarks/gpu_training.py --tiny   # the same road on a CPU, to see that it runs; its numbers mean nothing

Each variant (as is, compiled, encoder's features from the cache) trains the last stage of its recipe in micro batches as
the recipe has them, on one device, in a process of its own with a time limit. Operations are counted on shapes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import torch

RECIPES = ("medm-vl-2d", "medm-vl-ct-chest")
VARIANTS = ("plain", "compiled", "cached")
LIMIT_S = 85
"""Seconds for one variant: six of them fit into ten minutes."""
TEXT_TOKENS = 128


def main() -> None:
    """Run every variant in its own process, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="tiny twins on a CPU")
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "VARIANT"), help="one variant, in this process")
    parser.add_argument("--seconds", type=float, default=25.0, help="measured per variant, after three steps")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.seconds)))
        return
    if not options.tiny and not torch.cuda.is_available():
        sys.exit("no GPU here; --tiny runs the same road on the CPU")
    print(f"measured matmul peak: {matmul_peak():.1f} TFLOP/s on {device_name()}", flush=True)
    for recipe in RECIPES:
        for variant in VARIANTS:
            name = f"{recipe}-tiny" if options.tiny else recipe
            command = [
                sys.executable,
                __file__,
                "--one",
                name,
                variant,
                "--seconds",
                str(2 if options.tiny else options.seconds),
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=300 if options.tiny else LIMIT_S
                )
            except subprocess.TimeoutExpired:
                print(f"{name:24}{variant:10} not done in time", flush=True)
                continue
            last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:]
            print(f"{name:24}{variant:10} {last[0] if last else 'nothing said'}", flush=True)


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """As the driver calls it."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "this CPU"


def synchronize() -> None:
    """Wait until the device has done all."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_peak() -> float:
    """TFLOP/s of a large product in the type that trains."""
    size, kind = (8192, torch.bfloat16) if torch.cuda.is_available() else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device(), dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        synchronize()
        start = time.perf_counter()
        torch.mm(a, b)
        synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12


def measure(name: str, variant: str, seconds: float) -> dict[str, float | str]:
    """Train the last stage of a recipe on random pixels and tokens."""
    from medmvl.models.assemble import preprocessor_of
    from medmvl.models.tuning import apply_tuning, parameter_groups
    from medmvl.training.model_shapes import build_empty, without_paths
    from medmvl.training.operations import Work, training_flops
    from medmvl.training.recipe_files import load_recipe

    recipe = load_recipe(name)
    described, _ = without_paths(recipe.model)
    preprocessor = preprocessor_of(described)
    stage = recipe.stages[-1]
    empty = build_empty(described, preprocessor)
    apply_tuning(empty, stage.parts)
    kind = "volume" if preprocessor.parts.connectors["volume"] is not None else "image"
    work = Work.of(build_empty(described, preprocessor), preprocessor, TEXT_TOKENS)
    operations = training_flops(empty, stage, work)
    tokens_per_visual = preprocessor.max_tokens(kind)

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    with device():
        model = type(empty)(empty.config).train()
    apply_tuning(model, stage.parts)
    if stage.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    micro = stage.micro_batch_size or stage.batch_size
    settings = getattr(preprocessor, f"{kind}_processor")
    vocabulary = model.config.get_text_config().vocab_size
    width = model.get_input_embeddings().embedding_dim
    weights = next(model.parameters())
    pixels = torch.randn(micro, settings.channels, *settings.size, device=device(), dtype=weights.dtype)
    text = torch.randint(3, vocabulary, (micro, TEXT_TOKENS), device=device())
    encoder, connector = getattr(model, f"{kind}_encoder"), getattr(model, f"{kind}_connector")
    if variant == "compiled":
        model.llm.compile()
    groups = parameter_groups(model, stage.parts, learning_rate=1e-5, weight_decay=0.0)
    optimizer = torch.optim.AdamW(groups, fused=torch.cuda.is_available())
    kept = torch.randn(micro, tokens_per_visual, width, device=device(), dtype=weights.dtype)

    def step() -> None:
        visual = kept if variant == "cached" else connector(encoder(pixels)).reshape(micro, -1, width)
        embeddings = torch.cat([visual, model.get_input_embeddings()(text)], dim=1)
        logits = model.llm(inputs_embeds=embeddings, use_cache=False, logits_to_keep=TEXT_TOKENS).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), text[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    synchronize()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        synchronize()
        steps += 1
    spent = (time.perf_counter() - start) / steps
    names = ["llm"] if variant == "cached" else [f"{kind}_encoder", f"{kind}_connector", "llm"]
    counted = sum(operations[name] for name in names)
    speed = counted * micro / spent / 1e12
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return {
        "tokens_per_second": round(micro * (tokens_per_visual + TEXT_TOKENS) / spent, 1),
        "tflops": round(speed, 3),
        "share_of_peak": round(speed / matmul_peak(), 3),
        "seconds_per_step": round(spent, 4),
        "micro_batch": micro,
        "peak_gib": round(peak, 1),
    }


if __name__ == "__main__":
    main()
