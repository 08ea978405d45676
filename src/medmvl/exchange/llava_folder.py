"""The files of an exported LLaVA, in names that transformers 4.46 and 5.23 and vLLM all read.

transformers 5 writes `vision_tower.embeddings...` and reads the longer `vision_tower.vision_model.embeddings...`, too;
vLLM 0.32 and transformers 4.46 know the longer names alone. Settings that were renamed are written under both names.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import ProcessorMixin

from medmvl.atomic_files import write_json
from medmvl.json_types import JsonObject

LONGER = ("clip_vision_model", "siglip_vision_model")
"""Towers whose weights have `vision_model.` in their names for the others."""
_TOWER = "vision_tower."
_INDEX = "model.safetensors.index.json"


def rename_for_all(folder: Path, processor: ProcessorMixin) -> None:
    """Rename weights and settings of a folder that transformers 5 wrote."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["vision_config"]["model_type"] in LONGER:
        _rename_weights(folder)
    write_json(folder / "config.json", _with_older_names(config))
    _write_older_files(folder, processor)


def _rename_weights(folder: Path) -> None:
    for path in sorted(folder.glob("*.safetensors")):
        save_file({_longer(name): t for name, t in load_file(path).items()}, path, metadata={"format": "pt"})
    index = folder / _INDEX
    if index.is_file():
        listed = json.loads(index.read_text("utf-8"))
        listed["weight_map"] = {_longer(name): file for name, file in listed["weight_map"].items()}
        write_json(index, listed)


def _longer(name: str) -> str:
    return f"{_TOWER}vision_model.{name.removeprefix(_TOWER)}" if name.startswith(_TOWER) else name


def _with_older_names(config: JsonObject) -> JsonObject:
    """A configuration, and those in it, with `torch_dtype`, `rope_theta` and `rope_scaling`."""
    found = {
        key: _with_older_names(value) if key.endswith("_config") else value for key, value in config.items()
    }
    if "dtype" in found:
        found["torch_dtype"] = found["dtype"]
    rope = found.get("rope_parameters")
    if rope and "rope_theta" in rope:
        found["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            found["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return found


def _write_older_files(folder: Path, processor: ProcessorMixin) -> None:
    """The image processor and the chat template in files of their own, and a tokenizer class that all know."""
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text("utf-8").replace('ImageProcessorPil"', 'ImageProcessor"'))
    write_json(folder / "preprocessor_config.json", settings.pop("image_processor"))
    write_json(path, settings)
    write_json(folder / "chat_template.json", {"chat_template": processor.chat_template})
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings["model_input_names"] = ["input_ids", "attention_mask"]  # the class would add token_type_ids
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_json(path, settings)
