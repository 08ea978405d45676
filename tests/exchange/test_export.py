"""Exported models give the logits of the model they come from, in plain transformers too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from medmvl.digests import first_damage
from medmvl.errors import UserError
from medmvl.exchange.export import Export, export
from medmvl.exchange.hf_llava import read
from medmvl.exchange.imported import Components, write_folder
from medmvl.exchange.llava_folder import rename_for_all
from medmvl.models.assemble import load
from medmvl.models.part_tuning import PartTuning
from medmvl.models.tuning import apply_tuning, merge_lora, save_adapter
from tests.factories.exchange import CHATML, llava
from tests.factories.models import IMAGES_ONLY, tiny
from tests.factories.parts import randomise

TOWER = {"model_type": "siglip_vision_model", "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3,
         "num_attention_heads": 2, "image_size": 32, "patch_size": 8}  # fmt: skip
IMAGES: dict[str, Any] = {
    **IMAGES_ONLY,
    "image_encoder": {"type": "hf_vision", "config": TOWER, "layer": -2},
    "image_connector": {"type": "mlp", "num_layers": 2},
    "image_processor": {"size": [32, 32]},
}
WITHOUT_US = """
import sys
sys.modules["medmvl"] = None  # importing it fails
import numpy, torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
folder, image, out = sys.argv[1:]
model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder, backend="pil")
turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there a nodule?"}]}]
text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
inputs = processor(text=[text], images=[Image.open(image)], return_tensors="pt")
with torch.no_grad():
    numpy.savez(out, ids=inputs["input_ids"], logits=model(**inputs).logits)
"""


def save(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def image_file(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "image.png"
    Image.fromarray(rng.integers(0, 255, (45, 60, 3), dtype=np.uint8)).save(path)
    return path


def ours(folder: Path, image: Path) -> tuple[Any, torch.Tensor]:
    model, processor = load(folder)
    content = [{"type": "image", "image": Image.open(image)}, {"type": "text", "text": "Is there a nodule?"}]
    turns = [{"role": "user", "content": content}]
    inputs = processor.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)
    with torch.no_grad():
        return inputs["input_ids"], model.eval()(**inputs).logits


def test_a_llava_gives_the_same_ids_and_logits_in_plain_transformers(tmp_path: Path) -> None:
    source = save(*tiny("qwen2", **IMAGES), tmp_path / "ours")
    export("llava", Export(source, tmp_path / "llava"))
    image = image_file(tmp_path)
    command = [
        sys.executable,
        "-c",
        WITHOUT_US,
        str(tmp_path / "llava"),
        str(image),
        str(tmp_path / "out.npz"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    theirs = np.load(tmp_path / "out.npz")
    ids, logits = ours(source, image)
    assert theirs["ids"].tolist() == ids.tolist()
    assert np.abs(theirs["logits"] - logits.numpy()).max() < 1e-5


@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_a_llava_has_the_names_that_all_its_readers_know(tower: str, tmp_path: Path) -> None:
    llava(tmp_path / "first", tower, CHATML)
    write_folder(read(tmp_path / "first", Components()).save, tmp_path / "ours")
    out = tmp_path / "llava"
    export("llava", Export(tmp_path / "ours", out))
    names = set(load_file(out / "model.safetensors"))
    towers = {name for name in names if name.startswith("vision_tower.")}
    assert towers and all(name.startswith("vision_tower.vision_model.") for name in towers)
    config, text = json.loads((out / "config.json").read_text()), "text_config"
    assert config["image_seq_length"] == 16 and config["torch_dtype"] == config["dtype"]
    assert config[text]["rope_theta"] == config[text]["rope_parameters"]["rope_theta"]
    settings = json.loads((out / "processor_config.json").read_text())
    assert "image_processor" not in settings
    image_settings = json.loads((out / "preprocessor_config.json").read_text())
    assert (
        image_settings["image_processor_type"]
        == {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[tower]
    )
    assert first_damage(out) is None


def test_weights_in_several_files_are_renamed_with_their_index(tmp_path: Path) -> None:
    model, processor = llava(tmp_path / "whole", "siglip", CHATML)
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    processor.save_pretrained(tmp_path / "parts")
    rename_for_all(tmp_path / "parts", processor)
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    again, found = LlavaForConditionalGeneration.from_pretrained(tmp_path / "parts", output_loading_info=True)
    assert not any(found.values())
    state = again.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_import_export_import_changes_nothing(tower: str, tmp_path: Path) -> None:
    llava(tmp_path / "first", tower, CHATML)
    write_folder(read(tmp_path / "first", Components()).save, tmp_path / "ours")
    export("llava", Export(tmp_path / "ours", tmp_path / "second"))
    write_folder(read(tmp_path / "second", Components()).save, tmp_path / "again")
    image = image_file(tmp_path)
    (ids, logits), (ids_again, logits_again) = ours(tmp_path / "ours", image), ours(tmp_path / "again", image)
    assert ids.tolist() == ids_again.tolist()
    assert torch.equal(logits, logits_again)


def test_every_part_that_llava_cannot_have_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = save(*tiny("gemma2"), tmp_path / "ours")
    with pytest.raises(UserError) as raised:
        export("llava", Export(source, tmp_path / "llava"))
    for part in ("volume_encoder:", "image_encoder:", "image_processor:", "llm: gemma2"):
        assert part in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    source = save(*tiny(), tmp_path / "ours")
    with pytest.raises(UserError, match="not an empty folder"):
        export("merged", Export(source, source))


def test_merged_and_cast_weights_answer_alike(tmp_path: Path) -> None:
    source = save(*tiny("qwen2", **IMAGES), tmp_path / "ours")
    export("merged", Export(source, tmp_path / "merged", torch.bfloat16))
    model, _ = load(tmp_path / "merged")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    image = image_file(tmp_path)
    (_, expected), (_, found) = ours(source, image), ours(tmp_path / "merged", image)
    assert (expected - found.float()).abs().max() < 0.1 * expected.abs().max()
    assert "## Parts" in (tmp_path / "merged" / "README.md").read_text("utf-8")
    assert str(tmp_path) not in (tmp_path / "merged" / "README.md").read_text("utf-8")


def test_an_adapter_alone_and_its_base_make_the_model_again(tmp_path: Path) -> None:
    base = save(*tiny("qwen2", **IMAGES), tmp_path / "base")
    model, processor = load(base)
    tuning = {"llm": PartTuning(mode="lora"), "image_connector": PartTuning(mode="full")}
    apply_tuning(model, tuning)
    randomise(model, 3)
    stage = tmp_path / "run" / "stages" / "01-tune"
    base_model, _ = load(base)
    for name, weight in model.named_parameters():  # frozen weights are those of the base
        if not weight.requires_grad:
            plain = name.replace("base_layer.", "")
            weight.data.copy_(dict(base_model.named_parameters())[plain])
    save_adapter(model, tuning, stage / "model" / "adapter")
    merge_lora(model)
    trained = save(model, processor, stage / "model")
    export("adapter", Export(trained, tmp_path / "adapter"))
    size = sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir())
    assert size < (trained / "model.safetensors").stat().st_size
    with pytest.raises(UserError, match="--base"):
        export("merged", Export(tmp_path / "adapter", tmp_path / "merged"))
    with pytest.raises(UserError, match="has the adapter in it"):
        export("merged", Export(tmp_path / "adapter", tmp_path / "merged", base=trained))
    export("merged", Export(tmp_path / "adapter", tmp_path / "merged", base=base))
    image = image_file(tmp_path)
    assert (ours(trained, image)[1] - ours(tmp_path / "merged", image)[1]).abs().max() < 1e-5


def test_the_card_tells_the_run_and_its_results_but_no_path(tmp_path: Path) -> None:
    run = tmp_path / "run"
    source = save(*tiny(), run / "stages" / "01-tune" / "model")
    (run / "recipe.yaml").write_text(
        "seed: 7\nstages: [{name: tune, parts: {llm: full}, learning_rate: 0.001}]\n"
    )
    (run / "data.json").write_text(
        '{"sources": [{"source": {"path": "/secret/x.jsonl"}, "digest": "abc123"}]}'
    )
    interval = '{"value": 0.5, "low": 0.4, "high": 0.6, "n": 20}'
    (tmp_path / "results.json").write_text(
        '{"rows": [{"modality": "ct", "question_type": "yes_no", "language": "en", "metric": "accuracy", '
        f'"score": {interval}, "majority": {interval}, "no_image": null}}]}}'
    )
    export("merged", Export(source, tmp_path / "merged", results=tmp_path / "results.json"))
    card = (tmp_path / "merged" / "README.md").read_text("utf-8")
    assert "| tune | llm (full) | 0.001 |" in card and "Seed 7" in card and "abc123" in card
    assert "| ct | yes_no | en | accuracy | 20 | 0.500 (0.400 to 0.600) |" in card
    assert "secret" not in card and str(tmp_path) not in card
