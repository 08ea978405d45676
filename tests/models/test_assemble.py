"""From a recipe to a model: pretrained weights arrive unchanged, fresh ones follow the seed, and nonsense is named."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tests.factories.models import LLMS, PARTS, SHARED, TEXTS, prepare, recipe, tiny
from tests.factories.parts import TOWERS, hf_vision, vit3d
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from medmvl.errors import RecipeError
from medmvl.models.assemble import assemble, assemble_processor
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.tokenizers import train_tokenizer


def weights(module: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pretrained LLM with its tokenizer and template, and a vision tower, in folders."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(5)
    tokenizer = train_tokenizer(TEXTS, 320)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    settings = {**LLMS["qwen2_tied"], "vocab_size": len(tokenizer)}
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    llm.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    settings = dict(TOWERS["siglip_vision_model"])
    tower = AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    tower.save_pretrained(folder / "tower")
    return folder, llm, tower


def pretrained(folder: Any, **changes: Any) -> ModelRecipe:
    document = {
        **PARTS, "llm": {"path": str(folder / "llm")}, "max_length": 512,
        "image_encoder": {"type": "hf_vision", "path": str(folder / "tower"), "layer": -2},
        "image_processor": {"size": [16, 16]}, **changes,
    }  # fmt: skip
    return ModelRecipe.model_validate(document)


def test_pretrained_weights_arrive_unchanged(checkpoints):
    folder, llm, tower = checkpoints
    model, processor = assemble(pretrained(folder, **SHARED))
    ours = weights(model.llm)
    for name, weight in weights(llm).items():
        assert torch.equal(ours[name][: len(weight)], weight), name
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(ours["model.embed_tokens.weight"]) == len(processor.tokenizer) == model.config.llm.vocab_size
    theirs = weights(tower)
    kept = weights(model.image_encoder.tower)
    assert kept
    assert all(torch.equal(theirs[name], weight) for name, weight in kept.items())
    assert processor.tokenizer.chat_template.startswith("{% for m in messages %}[{{ m.role }}]")


def test_pixels_of_another_brightness_than_the_tower_was_trained_with_are_warned_of(
    checkpoints: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _, _ = checkpoints
    tower = shutil.copytree(folder / "tower", tmp_path / "tower")
    clip: dict[str, Any] = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    encoder = {"type": "hf_vision", "path": str(tower)}
    for said in ({}, clip, {**clip, "do_normalize": False, "rescale_factor": 1 / 127.5}):
        (tower / "preprocessor_config.json").write_text(json.dumps({**said, "size": 16}))
        own = {"mean": clip["image_mean"], "std": clip["image_std"]} if said == clip else {}
        own = own or ({"mean": [0.0] * 3, "std": [0.5] * 3} if said else {})
        assemble(pretrained(folder, image_encoder=encoder, image_processor={"size": [16, 16], **own}))
        assert not caplog.records
    assemble(pretrained(folder, image_encoder=encoder))
    assert (
        "pixels of mean [0.0, 0.0, 0.0] and std [0.5, 0.5, 0.5], and image_processor says mean [0.5"
        in caplog.text
    )


def test_a_pretrained_model_forgets_its_paths_when_saved(checkpoints, tmp_path):
    """The saved folder holds everything: it loads when the checkpoints it was made from are gone."""
    folder, _, _ = checkpoints
    model, processor = assemble(pretrained(folder))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for file in tmp_path.glob("*.json"):
        assert str(folder) not in file.read_text(), file.name
    other, _ = assemble(ModelRecipe(init=str(tmp_path)))
    assert equal(weights(other), weights(model))


def test_a_tower_of_its_own_reads_the_slices(checkpoints):
    folder, _, tower = checkpoints
    slices = {"type": "slices", "encoder": {"type": "hf_vision", "path": str(folder / "tower")}}
    model, _ = assemble(pretrained(folder, volume_encoder=slices))
    theirs = weights(tower)
    kept = weights(model.volume_encoder.encoder.tower)
    assert kept
    assert all(torch.equal(theirs[name], weight) for name, weight in kept.items())
    assert model.volume_encoder.encoder is not model.image_encoder


def test_a_tower_inside_volume_and_slices_is_pretrained(checkpoints):
    folder, _, tower = checkpoints
    slices = {"type": "slices", "encoder": {"type": "hf_vision", "path": str(folder / "tower")}}
    both = {"type": "volume_and_slices", "volume": vit3d(), "slices": slices}
    model, _ = assemble(
        pretrained(folder, volume_encoder=both, volume_connector={"type": "text_guided_slices"})
    )
    theirs = weights(tower)
    kept = weights(model.volume_encoder.slices.encoder.tower)
    assert kept and all(torch.equal(theirs[name], weight) for name, weight in kept.items())


def test_a_shared_encoder_is_one_encoder(checkpoints):
    folder, _, _ = checkpoints
    model, processor = assemble(pretrained(folder, **SHARED))
    assert not [name for name, _ in model.named_parameters() if name.startswith("volume_encoder.encoder")]
    batch = processor.collate([prepare(processor, "ct:a", answer="Yes.")])
    model.train()
    model(**batch).loss.backward()
    assert any(weight.grad.any() for weight in model.image_encoder.parameters())


def test_fresh_weights_follow_the_seed():
    first, second, third = (assemble(recipe(), texts=TEXTS, seed=seed)[0] for seed in (1, 1, 2))
    assert equal(weights(first), weights(second))
    assert not equal(weights(first), weights(third))


def test_init_starts_from_a_saved_model(tmp_path):
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    other, _ = assemble(ModelRecipe(init=str(tmp_path)))
    assert equal(weights(other), weights(model))
    assert assemble_processor(ModelRecipe(init=str(tmp_path))).to_dict() == processor.to_dict()


def test_the_placeholders_have_their_own_embeddings():
    model, processor = tiny()
    assert processor.image_token_id != processor.volume_token_id
    assert model.get_input_embeddings().num_embeddings >= len(processor.tokenizer)
    assert (
        max(processor.image_token_id, processor.volume_token_id) < model.get_input_embeddings().num_embeddings
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 1024}, "max_length 1024 is more than the LLM's context of 512"),
        ({"max_length": 16}, "one image takes 16 tokens, .* leaves no room"),
        ({"image_connector": {"type": "mpl"}}, "did you mean 'mlp'"),
        ({"volume_encoder": vit3d(deepth=3)}, "unknown key 'deepth'"),
        ({"image_encoder": {"type": "hf_vision", "path": "/no/such/folder"}}, "no checkpoint at '/no/such/folder'"),
        ({"volume_encoder": vit3d(path="somewhere")}, "volume encoder: somewhere has no encoder.json"),
        ({"volume_processor": {"size": [9, 16, 16]}}, "not a multiple of the patch size"),
        ({"image_processor": {"size": [16, 16], "channels": 3}}, "reads 1"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named_before_anything_runs(changes, message):
    with pytest.raises(RecipeError, match=message):
        assemble(recipe(**changes), texts=TEXTS)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "a model needs llm, or init"),
        ({"init": "x", "max_length": 5}, "init already says max_length"),
        ({"llm": {"path": "x"}, "image_encoder": hf_vision()}, "encoder, connector and processor come together"),
        ({"llm": {}}, "exactly one of path"),
        ({"llm": {"config": {"hidden_size": 4}, "tokenizer_vocab_size": 300}}, "model_type"),
        ({"llm": {"config": {"model_type": "qwen2"}}}, "exactly one of tokenizer and tokenizer_vocab_size"),
        ({"llm": {"path": "x"}, "image_encodr": {}}, "image_encodr"),
    ],
)  # fmt: skip
def test_recipes_that_say_nonsense_are_refused(document, message):
    with pytest.raises(ValidationError, match=message):
        ModelRecipe.model_validate(document)


def test_an_llm_that_is_not_there_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError, match="no-such-model"):
        assemble(ModelRecipe.model_validate({"llm": {"path": str(tmp_path / "no-such-model")}}))


@pytest.mark.parametrize("named", ["tiny.gguf", "weights.bin", "."])
def test_a_gguf_file_is_called_one(tmp_path, named):
    (tmp_path / ("tiny.gguf" if named == "." else named)).write_bytes(b"GGUF" + bytes(20))
    document = recipe("qwen2").model_dump(mode="json", exclude_unset=True) | {
        "llm": {"path": str(tmp_path / named)}
    }
    with pytest.raises(RecipeError, match=r"is a GGUF file.*medmvl import"):
        assemble(ModelRecipe.model_validate(document))


@pytest.mark.parametrize("part", ["llm", "tower"])
def test_a_checkpoint_that_lacks_weights_is_refused(part: str, checkpoints: Any, tmp_path: Path) -> None:
    """transformers fills them with random numbers and goes on."""
    folder, _, _ = checkpoints
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / part / "model.safetensors"
    lost = next(name for name in load_file(file) if "mlp" in name and "weight" in name and "1" in name)
    save_file({n: t for n, t in load_file(file).items() if n != lost}, file, {"format": "pt"})
    with pytest.raises(RecipeError, match=f"lacks 1 of the weights: .*{re.escape(lost[-15:])}"):
        assemble(pretrained(tmp_path / "copy"))


def test_a_checkpoint_may_lack_what_the_tower_does_not_use(checkpoints: Any, tmp_path: Path) -> None:
    folder, _, _ = checkpoints
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / "tower" / "model.safetensors"
    left = {n: t for n, t in load_file(file).items() if "head" not in n and "layers.2" not in n}
    assert len(left) < len(load_file(file))
    save_file(left, file, {"format": "pt"})
    towers = [assemble(pretrained(place))[0].image_encoder for place in (tmp_path / "copy", folder)]
    assert equal(weights(towers[0]), weights(towers[1]))


def test_a_saved_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    for name, model in (("tied", tiny("qwen2_tied")[0]), ("untied", tiny("qwen2")[0])):
        model.save_pretrained(tmp_path / name)
        type(model).from_pretrained(tmp_path / name)
        file = tmp_path / name / "model.safetensors"
        left = {n: t for n, t in load_file(file).items() if n != "volume_connector.linear.bias"}
        save_file(left, file, {"format": "pt"})
        with pytest.raises(RecipeError, match=r"lacks 1 of the weights: volume_connector\.linear\.bias"):
            type(model).from_pretrained(tmp_path / name)


def test_encoders_are_imported_first_and_without_transformers() -> None:
    """What registers our configurations with transformers imports them: in the other order neither is whole."""
    code = "import sys, medmvl.models.encoders; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
