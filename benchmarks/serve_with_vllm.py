"""Serve an exported 2D model with vLLM's CPU build and compare its greedy tokens with our engine's.

    python benchmarks/serve_with_vllm.py /tmp/vllm/venv/bin/python [--questions 12] [--model FOLDER]

The first argument is the Python of an environment that holds vLLM (docs/how-to/serve-with-vllm.md says how one is made).
Without --model, two small models with random weights are asked, one with a CLIP and one with a SigLIP tower.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.exchange.export import Export, export
from medmvl.models.assemble import assemble
from medmvl.models.model_recipe import ModelRecipe
from medmvl.schema import ImageBlock, Message, TextBlock

NEW_TOKENS = 12
TEXTS = (
    "Is there a nodule? Yes. No.",
    "Which side is the effusion on? Left. Right.",
    "Describe the findings.",
)
TOWER = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2,
         "image_size": 64, "patch_size": 16}  # fmt: skip
OPERATORS = """
# A sitecustomize, for all processes: torchvision's operators do not load next to a CPU torch; declared, they are not missed.
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor",
             "roi_align(Tensor a, Tensor b, float c, int d, int e, int f, bool g) -> Tensor",
             "_roi_align_backward(Tensor a, Tensor b, float c, int d, int e, int f, int g, int h, int i, int j, bool k)"
             " -> Tensor"):
    library.define(name)
"""
THEIRS = '''
"""Runs in vLLM's environment: answers questions with greedy tokens."""
import json, sys
import torch
import vllm
from PIL import Image
asked = json.load(open(sys.argv[1]))
llm = vllm.LLM(asked["model"], dtype="float32", max_model_len=512, enforce_eager=True, limit_mm_per_prompt={"image": 1})
never = {token: -100.0 for token in asked["never"]}  # as the model's generation_config says, which vLLM leaves out
settings = vllm.SamplingParams(temperature=0, max_tokens=asked["tokens"], stop_token_ids=asked["stops"], logit_bias=never)
prompts = [{"prompt": q["prompt"], "multi_modal_data": {"image": Image.open(q["image"])}} for q in asked["questions"]]
found = [list(answer.outputs[0].token_ids) for answer in llm.generate(prompts, settings)]
import transformers
json.dump({"tokens": found, "vllm": vllm.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
          open(sys.argv[2], "w"))
'''


def main() -> None:
    """Print, for each model, how many questions got the same tokens."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="Python of an environment with vLLM.")
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = (
            {"given": options.model} if options.model else {t: small(root / t, t) for t in ("clip", "siglip")}
        )
        for name, model in models.items():
            out = root / f"{name}-llava"
            export("llava", Export(model, out))
            different += compare(name, model, out, options.python, questions(root, options.questions))
    sys.exit(different)


def small(folder: Path, tower: str) -> Path:
    """A model with random weights and heads of 32 and 64, which vLLM's CPU kernels take."""
    llm = {"model_type": "qwen2", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
           "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}  # fmt: skip
    kind = {
        "model_type": f"{tower}_vision_model",
        **TOWER,
        **({"vision_use_head": False} if tower == "siglip" else {}),
    }
    recipe = ModelRecipe.model_validate({
        "llm": {"config": llm, "tokenizer_vocab_size": 400},
        "image_encoder": {"type": "hf_vision", "config": kind, "layer": -1, "select": "patch"},
        "image_connector": {"type": "mlp"},
        "image_processor": {"size": [64, 64], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3},
        "max_length": 512,
    })  # fmt: skip
    model, processor = assemble(recipe, texts=TEXTS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # larger than fresh ones, so that images decide tokens
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def questions(root: Path, count: int) -> list[tuple[Path, str]]:
    """Images of noise, each with one of the questions."""
    found = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = root / f"{number}.png"
        Image.fromarray(pixels).save(path)
        found.append((path, TEXTS[number % len(TEXTS)].partition("?")[0] + "?"))
    return found


def compare(name: str, model: Path, exported: Path, python: str, asked: list[tuple[Path, str]]) -> int:
    """How many questions get other tokens."""
    from transformers import AutoProcessor

    engine = Engine.load(model, "cpu", "float32")
    template = AutoProcessor.from_pretrained(exported)
    stops, placeholders = (
        engine.processor.stop_token_ids,
        [engine.processor.image_token_id, engine.processor.volume_token_id],
    )
    limit = GenerationOptions(max_new_tokens=NEW_TOKENS)
    ours, told = [], []
    for image, text in asked:
        blocks = (ImageBlock(image=str(image)), TextBlock(text=text))
        request = Request((Message(role="user", content=blocks),), engine.scans.wrap(BlockLoader(Path.cwd())))
        ours.append(_before_stop(engine.answer([request], limit)[0].tokens, stops))
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        prompt = template.apply_chat_template(turns, add_generation_prompt=True)
        told.append({"prompt": prompt, "image": str(image)})
    theirs = _vllm(
        python,
        {
            "model": str(exported),
            "tokens": NEW_TOKENS,
            "questions": told,
            "stops": stops,
            "never": placeholders,
        },
    )
    found = [_before_stop(tokens, stops) for tokens in theirs.pop("tokens")]
    same = sum(a == b for a, b in zip(ours, found, strict=True))
    kinds = len({tuple(tokens) for tokens in ours})
    print(
        json.dumps(
            {
                "model": name,
                "questions": len(asked),
                "same tokens": same,
                "different answers": kinds,
                **theirs,
            }
        )
    )
    return len(asked) - same


def _before_stop(tokens: Iterable[int], stops: Sequence[int]) -> list[int]:
    return list(itertools.takewhile(lambda token: token not in stops, tokens))


def _vllm(python: str, asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        script, task, answer = (Path(folder) / name for name in ("theirs.py", "task.json", "answer.json"))
        script.write_text(THEIRS)
        (Path(folder) / "sitecustomize.py").write_text(OPERATORS)
        task.write_text(json.dumps(asked))
        environment = {
            **os.environ,
            "PYTHONPATH": folder,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }
        subprocess.run([python, str(script), str(task), str(answer)], check=True, env=environment)
        found: dict[str, Any] = json.loads(answer.read_text())
        return found


if __name__ == "__main__":
    main()
