"""A saved folder is complete: the Auto classes load it offline after `import medmvl`, and its logits are equal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from medmvl.models.assemble import load
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS
from medmvl.models.processing import MedMVLProcessor
from tests.factories.models import IMAGES_ONLY, SHARED, SLICES, VOLUMES_ONLY, prepare, tiny
from tests.factories.parts import hf_vision

TOWER = {"image_encoder": hf_vision(), "image_processor": {"size": [16, 16]}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "untied": ("qwen2", {}),
    "tied": ("qwen2_tied", {}),
    "capped": ("gemma2", SLICES),
    "shared": ("llama", SHARED),
    "tower": ("phi3", {**TOWER, **SHARED}),
    "images": ("cohere", IMAGES_ONLY),
    "volumes": ("granite", VOLUMES_ONLY),
}
LOAD = """
import sys, torch, medmvl
from transformers import AutoModelForImageTextToText, AutoProcessor
folder = sys.argv[1]
model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
batch, expected = torch.load(folder + "/batch.pt", weights_only=False)
with torch.no_grad():
    assert torch.equal(model(**batch).logits, expected), "other logits"
print(type(model).__name__, type(processor).__name__, model.dtype, processor.stop_token_ids)
"""


def save(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def batch_of(processor: MedMVLProcessor) -> Any:
    content = ["Is there a nodule?"]
    content += ["xray:a"] if processor.image_processor else []
    content += ["ct:b", "ct:c@90"] if processor.volume_processor else []
    return processor.collate([prepare(processor, *content, answer="Yes. 有")])


def logits_of(model: Any, batch: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(**batch).logits
    return logits


@pytest.mark.parametrize("name", CASES)
def test_save_and_load_give_equal_logits(name, tmp_path):
    llm, changes = CASES[name]
    model, processor = tiny(llm, **changes)
    batch = batch_of(processor)
    other, loaded_processor = load(save(tmp_path, model, processor))
    assert {k: v.tolist() for k, v in batch_of(loaded_processor).items() if k == "input_ids"} == {
        "input_ids": batch["input_ids"].tolist()
    }
    assert torch.equal(logits_of(other, batch_of(loaded_processor)), logits_of(model, batch))
    for part in PARTS[:-1]:
        assert getattr(other.config, part) == getattr(model.config, part)
    assert loaded_processor.to_dict() == processor.to_dict()
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_the_auto_classes_load_it_offline_in_a_new_process(tmp_path):
    llm, changes = CASES["tower"]
    model, processor = tiny(llm, **changes)
    batch = batch_of(processor)
    save(tmp_path, model, processor)
    torch.save((dict(batch), logits_of(model, batch)), tmp_path / "batch.pt")
    found = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    expected = f"MedMVLForConditionalGeneration MedMVLProcessor torch.float32 {processor.stop_token_ids}"
    assert found.stdout.strip() == expected


def test_weights_carry_the_names_of_the_parts_and_nothing_twice(tmp_path):
    model, processor = tiny("qwen2_tied", **SHARED)
    save(tmp_path, model, processor)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {name.split(".")[0] for name in names} == {
        "image_encoder",
        "image_connector",
        "volume_connector",
        "llm",
    }
    assert "llm.lm_head.weight" not in names, "a tied head is stored once"
    assert "llm.model.embed_tokens.weight" in names


def test_a_tied_head_stays_tied_after_loading(tmp_path):
    model, processor = tiny("qwen2_tied")
    other, _ = load(save(tmp_path, model, processor))
    assert other.get_output_embeddings().weight is other.get_input_embeddings().weight


def test_the_stop_tokens_are_saved_for_generate(tmp_path):
    model, processor = tiny()
    save(tmp_path, model, processor)
    other = MedMVLForConditionalGeneration.from_pretrained(tmp_path)
    assert other.generation_config.eos_token_id == processor.stop_token_ids
    assert (
        json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"]
        == processor.stop_token_ids
    )


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no model found \(config\.json"):
        load(tmp_path)


def test_every_part_keeps_the_type_it_was_saved_in(tmp_path):
    """A frozen LLM in half precision beside parts that were trained in full."""
    model, processor = tiny("qwen2_tied")
    for (
        weight
    ) in model.llm.parameters():  # not its buffers: transformers keeps the rotary frequencies in float32
        weight.data = weight.data.to(torch.bfloat16)
    folder = save(tmp_path, model, processor)
    other, _ = load(folder)
    expected = dict(model.named_parameters())
    for again in (other, AutoModelForImageTextToText.from_pretrained(folder)):
        for name, weight in again.named_parameters():
            assert weight.dtype == expected[name].dtype, name
            assert torch.equal(weight, expected[name]), name
    cast = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16)
    assert {weight.dtype for weight in cast.parameters()} == {torch.bfloat16}
    assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
    batch = batch_of(processor)
    assert torch.equal(logits_of(other, batch), logits_of(model, batch))
