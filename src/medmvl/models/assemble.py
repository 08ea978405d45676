"""From the `model` section of a recipe to a model and its processor: pretrained parts, fresh parts, or a saved model."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

from medmvl.errors import RecipeError
from medmvl.json_types import JsonObject
from medmvl.models.checkpoint_images import warn_of_other_normalisation
from medmvl.models.configuration import SHARED_VOLUME_ENCODER, MedMVLConfig, VisualParts
from medmvl.models.encoders import IMAGE_ENCODERS, VOLUME_ENCODERS
from medmvl.models.encoders.base import ImageEncoder
from medmvl.models.encoders.saved import (
    load_encoder,
    processor_settings,
    saved_settings,
    warn_of_other_processor,
)
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.parts import part_class
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars
from medmvl.models.saved_folder import check_model_folder
from medmvl.models.tokenizers import read_tokenizer, train_tokenizer
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.volume_processing import VolumeProcessor
from medmvl.models.whole_weights import load_whole
from medmvl.schema import ImageBlock, Message, TextBlock, VolumeBlock

logger = logging.getLogger(__name__)

SLICE_READERS = ("encoder", "slices")
"""Keys and attributes of the encoder inside a volume encoder that reads its slices; an image encoder may be deeper inside."""


@without_weight_bars()
def assemble(
    recipe: ModelRecipe, *, texts: Iterable[str] = (), seed: int = 0
) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """Build the model and processor of a recipe.

    Args:
        recipe: the parts.
        texts: training text, read only where a tokenizer is to be learned.
        seed: seed for the fresh weights.

    Raises:
        RecipeError: parts that do not exist or do not fit together.
    """
    if recipe.init is not None:
        model, _ = load(recipe.init)
        return model, assemble_processor(recipe)
    torch.manual_seed(seed)
    assert recipe.llm is not None
    processor = assemble_processor(recipe, texts=texts)
    processor.chat.check_teachable()
    config = _config(recipe, processor)
    _check_fit(config, processor)
    model = MedMVLForConditionalGeneration(config)
    _load_pretrained_parts(model, recipe)
    _warn_of_other_pixels(recipe, processor)
    fit_vocabulary(model, processor)
    settle_generation(model, processor)
    return model, processor


def settle_generation(model: MedMVLForConditionalGeneration, processor: MedMVLProcessor) -> None:
    """Set the stop tokens, and forbid placeholder tokens in generated text."""
    model.generation_config.eos_token_id = processor.stop_token_ids
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.suppress_tokens = [processor.image_token_id, processor.volume_token_id]


@without_weight_bars()
def load(folder: str | Path) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """Load a saved model and its processor from a folder, offline, every weight in the type it was saved in.

    Raises:
        UserError: the folder is not a complete saved model, or a file of it is damaged.
    """
    path = Path(folder)
    check_model_folder(path)
    model = MedMVLForConditionalGeneration.from_pretrained(path, local_files_only=True)
    return model, MedMVLProcessor.from_pretrained(path, local_files_only=True)


def assemble_processor(recipe: ModelRecipe, *, texts: Iterable[str] = ()) -> MedMVLProcessor:
    """The processor of a recipe, without building or loading any weights."""
    if recipe.init is not None:
        said: JsonObject = {"thinking": recipe.thinking} if "thinking" in recipe.model_fields_set else {}
        saved: MedMVLProcessor = MedMVLProcessor.from_pretrained(recipe.init, local_files_only=True, **said)
        if recipe.thinking:
            saved.chat.check_teachable()
        return saved
    assert recipe.llm is not None
    if recipe.llm.tokenizer_vocab_size is not None:
        tokenizer = train_tokenizer(texts, recipe.llm.tokenizer_vocab_size)
    else:
        if recipe.llm.path is not None:
            refuse_gguf(recipe.llm.path)
        tokenizer = _tokenizer(str(recipe.llm.tokenizer or recipe.llm.path))
    return MedMVLProcessor(
        tokenizer,
        parts=_parts(recipe),
        image_processor=recipe.image_processor,
        volume_processor=processor_settings(recipe.volume_processor),
        max_length=recipe.max_length,
        template_kwargs=recipe.llm.template_kwargs,
        chat_template=recipe.llm.chat_template,
        thinking=recipe.thinking,
    )


def refuse_gguf(path: str) -> None:
    """Raise RecipeError where an LLM is a GGUF file, or a folder with such files and no configuration."""
    place = Path(path)
    if place.is_dir():
        files = [] if (place / "config.json").is_file() else sorted(place.glob("*.gguf"))
    else:
        files = [place] if place.is_file() and _is_gguf(place) else []
    if files:
        raise RecipeError(
            f"llm: {files[0]} is a GGUF file, mostly quantised weights for inference. Make a folder of it first and name that: "
            f"medmvl import {files[0]} FOLDER"
        )


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


def _tokenizer(path: str) -> PreTrainedTokenizerFast:
    try:
        return read_tokenizer(path)
    except (OSError, ValueError) as error:
        raise RecipeError(f"llm: no tokenizer at {path!r}: {error}") from error


def preprocessor_of(recipe: ModelRecipe) -> VisualPreprocessor:
    """What the model of a recipe will see of images and volumes; no tokenizer, no weights.

    Raises:
        RecipeError: parts that do not fit together, as in `assemble`.
    """
    if recipe.init is not None:
        return assemble_processor(recipe).visual_preprocessor
    images, volumes = recipe.image_processor, processor_settings(recipe.volume_processor)
    preprocessor = VisualPreprocessor(
        VisualParts.from_settings(_parts(recipe)),
        ImageProcessor.from_settings(images) if images is not None else None,
        VolumeProcessor.from_settings(volumes) if volumes is not None else None,
    )
    for kind in ("image", "volume"):
        preprocessor.check(kind)
    return preprocessor


def _parts(recipe: ModelRecipe) -> JsonObject:
    """The encoder and connector settings as the configuration keeps them: pretrained ones by their own config."""
    volume = SHARED_VOLUME_ENCODER if recipe.volume_encoder == "shared" else recipe.volume_encoder
    return {
        "image_encoder": _resolved(recipe.image_encoder),
        "image_connector": recipe.image_connector,
        "volume_encoder": _resolved(volume),
        "volume_connector": recipe.volume_connector,
    }


def _resolved(encoder: JsonObject | None) -> JsonObject | None:
    """An encoder's settings with the configuration of the checkpoint it names, also inside slice-wise ones."""
    if encoder is None:
        return None
    inner = {key: _resolved(encoder[key]) for key in SLICE_READERS if isinstance(encoder.get(key), dict)}
    if inner:
        return {**encoder, **inner}
    if "path" not in encoder:
        return encoder
    name = str(encoder.get("type"))
    if name in VOLUME_ENCODERS:
        return saved_settings(encoder["path"], encoder)
    return part_class(name, IMAGE_ENCODERS, "image encoder").pretrained_settings(encoder)


def _config(recipe: ModelRecipe, processor: MedMVLProcessor) -> MedMVLConfig:
    assert recipe.llm is not None
    if recipe.llm.path is not None:
        llm = _llm_config(recipe.llm.path)
    else:
        settings = dict(recipe.llm.config or {})
        settings.setdefault("vocab_size", len(processor.tokenizer))
        llm = AutoConfig.for_model(settings.pop("model_type"), **settings)
    return MedMVLConfig(
        llm=llm,
        **_parts(recipe),
        image_token_id=processor.image_token_id,
        volume_token_id=processor.volume_token_id,
        image_size=processor.image_processor.size if processor.image_processor else None,
        volume_size=processor.volume_processor.size if processor.volume_processor else None,
    )


def _llm_config(path: str) -> PreTrainedConfig:
    refuse_gguf(path)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise RecipeError(f"llm: no checkpoint at {path!r}: {error}") from error
    config._name_or_path = ""  # a saved model is complete and keeps no path of this machine
    return config


def _load_pretrained_parts(model: MedMVLForConditionalGeneration, recipe: ModelRecipe) -> None:
    """Put pretrained weights into the parts that name a path."""
    assert recipe.llm is not None
    if recipe.llm.path is not None:
        model.llm = load_whole(AutoModelForCausalLM, recipe.llm.path, "llm", dtype="auto")
    _load_encoders(model.image_encoder, recipe.image_encoder)
    _load_encoders(model.volume_encoder, recipe.volume_encoder)


def _warn_of_other_pixels(recipe: ModelRecipe, processor: MedMVLProcessor) -> None:
    """Warn where a pretrained encoder is given other pixels than it was trained with."""
    if isinstance(recipe.volume_encoder, dict) and "path" in recipe.volume_encoder:
        settings = processor_settings(recipe.volume_processor) or {}
        warn_of_other_processor(recipe.volume_encoder["path"], settings)
    encoder, images = recipe.image_encoder or {}, processor.image_processor
    if images is not None and "path" in encoder and encoder.get("type") == "hf_vision":
        warn_of_other_normalisation(encoder["path"], (images.mean, images.std))


def _load_encoders(module: nn.Module | None, settings: object) -> None:
    """Put pretrained weights into an encoder, or into those inside it, whose settings name a path."""
    if module is None or not isinstance(settings, dict):
        return
    if "path" in settings and settings.get("type") in VOLUME_ENCODERS:
        load_encoder(module, settings["path"])
    elif "path" in settings:
        cast(ImageEncoder, module).load_pretrained(settings["path"])
    for key in SLICE_READERS:
        _load_encoders(getattr(module, key, None), settings.get(key))


def fit_vocabulary(model: MedMVLForConditionalGeneration, processor: MedMVLProcessor) -> None:
    """Give the placeholders their own rows of the embedding; never shrink a vocabulary."""
    needed, found = len(processor.tokenizer), int(model.get_input_embeddings().num_embeddings)
    if needed > found:
        model.llm.resize_token_embeddings(needed, mean_resizing=False)
        model.config.get_text_config().vocab_size = needed


def _check_fit(config: MedMVLConfig, processor: MedMVLProcessor) -> None:
    """Refuse before any weight is made what could not run: sizes, channels and lengths are all known."""
    context = getattr(config.llm, "max_position_embeddings", None)
    if context is not None and processor.max_length > context:
        raise RecipeError(
            f"max_length {processor.max_length} is more than the LLM's context of {context} tokens; lower it."
        )
    for kind, settings in (("image", processor.image_processor), ("volume", processor.volume_processor)):
        encoder = processor.visual_parts.encoders[kind]
        if settings is None or encoder is None:
            continue
        if settings.channels not in (1, encoder.channels):
            raise RecipeError(
                f"{kind}_processor makes {settings.channels} channels, but the {kind} encoder reads {encoder.channels}; "
                "make 1 or as many."
            )
        processor.visual_preprocessor.check(kind)
        text, visual = processor.count_tokens(_shortest_conversation(kind), f"a question about one {kind}")
        if text + visual > processor.max_length:
            raise RecipeError(
                f"one {kind} takes {visual} tokens, and the shortest question about it with an answer {text}: "
                f"that leaves no room within max_length {processor.max_length}, and the LLM's context is "
                f"{context or 'not known'}. Use a connector that gives fewer tokens, or raise max_length."
            )


def _shortest_conversation(kind: str) -> list[Message]:
    block = ImageBlock(image="one") if kind == "image" else VolumeBlock(volume="one")
    question = Message(role="user", content=(block, TextBlock(text="?")))
    return [question, Message(role="assistant", content=(TextBlock(text="."),))]
