"""A LLaVA of transformers and what is made of it give the same prompts, pixels and logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medmvl.errors import UserError
from medmvl.exchange.formats import read_checkpoint
from medmvl.exchange.hf_llava import read, recognise
from medmvl.exchange.imported import Components, write_folder
from medmvl.imaging.in_memory import as_medical_image
from medmvl.models.assemble import load
from tests.factories.exchange import CHATML, LLAVA_15, llava

WAYS: dict[str, dict[str, Any]] = {
    "clip": {"tower": "clip"},
    "siglip": {"tower": "siglip"},
    "clip with class token": {
        "tower": "clip",
        "vision_feature_select_strategy": "full",
        "vision_feature_layer": -1,
    },
    "siglip without its first patch": {"tower": "siglip", "vision_feature_select_strategy": "default"},
    "tied": {"tied": True},
    "positive layer": {"vision_feature_layer": 1},
    "LLaVA 1.5's template": {"template": LLAVA_15},
}


def pil_images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 9 * n, 52, 3), dtype=np.uint8)) for n in range(count)]


def their_inputs(processor: Any, questions: list[list[Any]]) -> Any:
    turns = [[{"role": "user", "content": blocks}] for blocks in questions]
    text = [processor.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns]
    images = [block["image"] for blocks in questions for block in blocks if block["type"] == "image"]
    return processor(text=text, images=images, return_tensors="pt", padding=True, padding_side="left")


def asked(*images: Image.Image, text: str) -> list[Any]:
    return [*({"type": "image", "image": image} for image in images), {"type": "text", "text": text}]


@pytest.mark.parametrize("way", WAYS)
def test_ids_pixels_logits_and_greedy_answers_are_theirs(way: str, tmp_path: Path) -> None:
    theirs, their_processor = llava(tmp_path / "llava", **WAYS[way])
    write_folder(read(tmp_path / "llava", Components()).save, tmp_path / "ours")
    model, processor = load(tmp_path / "ours")
    model.eval()
    first, second, third = pil_images(3)
    questions = [asked(first, second, text="Is there a nodule?"), asked(third, text="Describe the findings.")]
    expected = their_inputs(their_processor, questions)
    ours = processor.apply_chat_template(
        [[{"role": "user", "content": blocks}] for blocks in questions],
        tokenize=True,
        add_generation_prompt=True,
    )
    image_ids = (processor.image_token_id, their_processor.image_token_id)
    same = ours["input_ids"].where(ours["input_ids"] != image_ids[0], torch.tensor(image_ids[1]))
    assert (
        same.tolist()
        == expected["input_ids"]
        .where(expected["attention_mask"].bool(), torch.tensor(processor.tokenizer.pad_token_id))
        .tolist()
    )
    assert (ours["pixel_values"] - expected["pixel_values"]).abs().max() < 1e-6
    with torch.no_grad():
        found, wanted = model(**ours).logits, theirs(**expected).logits
        answer = model.generate(**ours, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        wanted_answer = theirs.generate(
            **expected, max_new_tokens=6, min_new_tokens=6, do_sample=False, eos_token_id=processor.stop_token_ids,
            suppress_tokens=list(model.generation_config.suppress_tokens),
        )  # fmt: skip
    real = expected["attention_mask"].bool()
    assert (found[..., : wanted.shape[-1]][real] - wanted[real]).abs().max() < 1e-5
    assert answer[:, -6:].tolist() == wanted_answer[:, -6:].tolist()


def test_a_template_without_an_end_of_turn_can_be_asked_but_not_trained_with(tmp_path: Path) -> None:
    llava(tmp_path / "llava", template=LLAVA_15)
    processor = read(tmp_path / "llava", Components()).processor
    with pytest.raises(ValueError, match="end-of-turn"):
        processor.chat.check_teachable()


def test_its_format_is_told_by_its_configuration(tmp_path: Path) -> None:
    llava(tmp_path / "llava", template=CHATML)
    given = Components()
    assert recognise(tmp_path / "llava", given) and not recognise(tmp_path, given)
    assert read_checkpoint(tmp_path / "llava", Components())[0] == "hf-llava"
    assert as_medical_image(pil_images(1)[0]).kind == "image"


def test_missing_tensors_are_listed(tmp_path: Path) -> None:
    llava(tmp_path / "llava")
    path = tmp_path / "llava" / "model.safetensors"
    weights = load_file(path)
    lost = [name for name in weights if "linear_2" in name]
    save_file({name: tensor for name, tensor in weights.items() if name not in lost}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"2 tensors are missing: .*linear_2"):
        read(tmp_path / "llava", Components())


def test_tensors_without_a_place_are_listed_unless_they_are_of_the_tower(tmp_path: Path) -> None:
    """Such as an adapter next to the weights that it adapts: left out, the model would be another one."""
    llava(tmp_path / "llava")
    path = tmp_path / "llava" / "model.safetensors"
    weights = load_file(path)
    unused = {"model.vision_tower.head.bias": torch.ones(3)}
    save_file(weights | unused, path, {"format": "pt"})
    read(tmp_path / "llava", Components())
    adapter = {"model.language_model.layers.0.mlp.up_proj.lora_A.default.weight": torch.ones(2, 32)}
    save_file(weights | unused | adapter, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"1 tensors have no place .*lora_A"):
        read(tmp_path / "llava", Components())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_feature_layer": [-1, -2]}, "several layers"),
        ({"projector_hidden_act": "relu"}, "projector with relu"),
    ],
)
def test_what_ours_cannot_be_is_refused_with_the_reason(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    llava(tmp_path / "llava", **change)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "llava", Components())


def test_a_checkpoint_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    llava(tmp_path / "published" / "ckpt")
    (tmp_path / "published" / "images").mkdir()
    name, imported = read_checkpoint(tmp_path / "published", Components())
    assert name == "hf-llava" and imported.notes[0] == f"found in {tmp_path / 'published' / 'ckpt'}"
    llava(tmp_path / "published" / "other")
    with pytest.raises(UserError, match="several checkpoints: ckpt, other"):
        read_checkpoint(tmp_path / "published", Components())
