"""A tiny random model that reads images and volumes, with its processor, and conversations to ask it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medmvl.imaging import MedicalImage
from medmvl.schema import Sample

TEXTS = (
    "Is there a nodule? Yes. No. Which lobe? right upper lobe, left lower lobe. Is the heart enlarged?",
    "Describe the findings. There is a pleural effusion on the left side. The lungs are clear.",
    "有没有结节？有。没有。在哪一侧？左侧，右侧。心脏增大吗？是。否。请写一份简短的报告。",
)


@cache
def tiny_engine(seed: int = 0, thinking: bool = False) -> Any:
    """An engine around a random model of some ten thousand parameters; answers are noise, but always the same."""
    from medmvl.engine import Engine

    return Engine(*_assemble(seed, thinking))


def writes(engine: Any, text: str) -> Any:
    """A `forward` with which an engine's model writes a text and ends its turn, whatever it is asked, as far as it is let."""
    ids = engine.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [*ids, engine.processor.stop_token_ids[0]]
    step = 0

    def scripted(*arguments: Any, **inputs: Any) -> Any:
        nonlocal step
        outputs = type(engine.model).forward(engine.model, *arguments, **inputs)
        step = 0 if inputs["input_ids"].shape[1] > 1 else step + 1
        outputs.logits[:, -1, ids[min(step, len(ids) - 1)]] = 100.0
        return outputs

    return scripted


def save_tiny_model(folder: Path, seed: int = 0, thinking: bool = False) -> Path:
    """Save such a model as training would."""
    model, processor = _assemble(seed, thinking)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _assemble(seed: int, thinking: bool = False) -> tuple[Any, Any]:
    import transformers.models.auto.modeling_auto  # noqa: F401  (registers our classes)

    from medmvl.models.assemble import assemble
    from medmvl.models.model_recipe import ModelRecipe

    connector = {"type": "mlp"}
    vit = {"width": 16, "num_layers": 1, "num_heads": 2}
    recipe = ModelRecipe.model_validate(
        {
            "llm": {
                "config": {
                    "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512,
                },
                "tokenizer_vocab_size": 400,
            },
            "image_encoder": {"type": "vit2d", "size": [16, 16], "patch_size": [8, 8], **vit},
            "volume_encoder": {"type": "vit3d", "size": [4, 16, 16], "patch_size": [2, 8,
            8], **vit}, "image_connector": connector,
            "volume_connector": connector,
            "image_processor": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.25]},
            "volume_processor": {"size": [4, 16, 16]},
            "max_length": 512,
            **({"thinking": True} if thinking else {}),
        }
    )  # fmt: skip
    return assemble(recipe, texts=TEXTS, seed=seed)


def image_of(block: Any) -> MedicalImage:
    """Pixels that depend on the block's path only: a load function without files. A path `broken` is an error."""
    if "broken" in block.path:
        raise OSError(f"{block.path}: truncated file")
    rng = np.random.default_rng(sum(block.path.encode()))
    if block.type == "volume":
        array = rng.integers(-1000, 400, (4, 16, 16)).astype(np.int16)
        return MedicalImage(
            array=array, kind="volume", units="HU", source_format="numpy", spacing_mm=(5.0, 2.0, 2.0)
        )
    return MedicalImage(
        array=rng.integers(0, 255, (16, 16)).astype(np.uint8),
        kind="image",
        units="display",
        source_format="png",
    )


def visual_of(block: Any) -> Any:
    """What `tiny_engine` sees of a block's `image_of`."""
    return tiny_engine().processor.process_visual(image_of(block))


def question(name: str, text: str, *visuals: str, answer: str | None = None, **fields: Any) -> Sample:
    """A sample that asks about `visuals`: names starting with `ct` are volumes, others images."""
    blocks: list[dict[str, str]] = []
    for visual in visuals:
        kind = "volume" if visual.startswith("ct") else "image"
        blocks.append({"type": kind, kind: visual})
    messages: list[dict[str, Any]] = [{"role": "user", "content": [*blocks, {"type": "text", "text": text}]}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return Sample.model_validate({"id": name, "messages": messages, **fields})
