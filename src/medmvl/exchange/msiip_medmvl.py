"""Models of MSIIP/MedM-VL (`model_type: lvlm`): configuration, prompts and preprocessing, exactly as it runs them.

Its checkpoints name the configurations of LLM and encoder by path or hub id and hold every weight. One encoder and connector
read images and the slices of volumes; native 3D encoders stand alone. Source: github.com/MSIIP/MedM-VL, commit 225fc0f.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from medmvl.errors import UserError
from medmvl.exchange.imported import Components, Imported
from medmvl.exchange.msiip_medmvl_weights import check_names, connector_weights, language_weights
from medmvl.exchange.remote import named_by_checkpoint
from medmvl.exchange.weights import load_exactly, read_weights, under
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.assemble import fit_vocabulary, settle_generation
from medmvl.models.configuration import SHARED_VOLUME_ENCODER, MedMVLConfig, VisualParts
from medmvl.models.encoders.hf_vision import HFVision, HFVisionConfig
from medmvl.models.encoders.medm_clip import MedMCLIP, medm_clip_settings, medm_clip_weights
from medmvl.models.encoders.vit3d import ViT3D, ViT3DConfig, m3d_clip_settings, m3d_clip_weights
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_warnings, without_weight_bars
from medmvl.models.tokenizers import read_tokenizer
from medmvl.models.volume_conventions import MEDM_CLIP_MEAN, MEDM_CLIP_STD

END_OF_TURN = {
    "llama": "</s>",
    "llama3": "<|eot_id|>",
    "phi": "<|endoftext|>",
    "phi3": "<|endoftext|>",
    "qwen2": "<|im_end|>",
}
"""Text that its templates put after an answer, by `lvlm_llm_type`."""
SLICES = 32
VOLUME_SIZE = (32, 256, 256)
"""What its transforms stretch volumes to for 3D encoders."""
_CONNECTORS = ("mlp", "spatial_pooling", "attn_pooling")


class _Recipe(NamedTuple):
    """Everything but weights."""

    parts: JsonObject
    image_processor: JsonObject | None
    volume_processor: JsonObject | None
    notes: tuple[str, ...]


def recognise(source: Path, components: Components) -> bool:
    """Whether a folder holds a configuration of model_type lvlm."""
    return source.is_dir() and _json(source / "config.json").get("model_type") == "lvlm"


@without_weight_bars()
def read(source: Path, components: Components) -> Imported:
    """Read a whole checkpoint, of any stage.

    Raises:
        UserError: what it names is not on this machine, a part is unknown, or tensors are missing or of wrong shape.
    """
    config = _json(source / "config.json")
    if not recognise(source, components):
        raise UserError(
            f"{source} is no checkpoint of MSIIP/MedM-VL: its config.json has no model_type lvlm."
        )
    weights = read_weights(source, trust_pickle=components.trust_pickle)
    check_names(weights, source)
    llm_folder = named_by_checkpoint(_named(config, "llm"), source, components.llm, "llm")
    recipe = _visual_recipe(config, weights, source, components)
    processor = _processor(config, recipe, source, llm_folder)
    model = _model(recipe, processor, llm_folder, language_weights(under(weights, "llm."), source))
    _load_visual_parts(model, weights, source)
    fit_vocabulary(model, processor)
    settle_generation(model, processor)
    return Imported(model.eval(), processor, recipe.notes)


def _json(path: Path) -> JsonObject:
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _named(config: JsonMapping, part: str) -> str:
    name = config.get(f"lvlm_{part}_name_or_path")
    if not name:
        raise UserError(f"config.json names no {part} (lvlm_{part}_name_or_path).")
    return str(name)


def _visual_recipe(
    config: JsonMapping, weights: Mapping[str, Tensor], source: Path, components: Components
) -> _Recipe:
    """Encoders, connectors and preprocessing. An image encoder also reads volumes, slice by slice."""
    if config.get("lvlm_encoder_image_type") is not None:
        folder = named_by_checkpoint(
            _named(config, "encoder_image"), source, components.image_encoder, "image-encoder"
        )
        return _by_images(config, weights, folder)
    if config.get("lvlm_encoder_image3d_type") is not None:
        folder = named_by_checkpoint(
            _named(config, "encoder_image3d"), source, components.volume_encoder, "volume-encoder"
        )
        return _by_volumes(config, weights, folder)
    raise UserError(f"{source}: config.json names neither an image encoder nor a volume encoder.")


def _by_images(config: JsonMapping, weights: Mapping[str, Tensor], folder: Path) -> _Recipe:
    encoder_type = str(config["lvlm_encoder_image_type"])
    if encoder_type not in ("siglip", "clip"):
        raise UserError(f"unknown lvlm_encoder_image_type {encoder_type!r}; MedM-VL has siglip and clip.")
    encoder = _tower_settings(config, folder, has_class_token=encoder_type == "clip")
    connector = _connector_settings(config, "image", weights)
    settings = _json(folder / "preprocessor_config.json")
    if not settings:
        raise UserError(f"{folder} has no preprocessor_config.json, which says how images are resized.")
    image_processor = ImageProcessor.from_huggingface(settings)
    parts: JsonObject = {"image_encoder": encoder, "image_connector": connector}
    volume_processor, notes = None, list(_unused_volume_encoder(config))
    if encoder_type == "siglip":
        volume_processor, note = _slices(parts, image_processor, int(config["lvlm_llm_max_length"]))
        notes += [note]
    if volume_processor is not None:
        parts |= {"volume_encoder": dict(SHARED_VOLUME_ENCODER), "volume_connector": connector}
    return _Recipe(parts, image_processor.model_dump(mode="json"), volume_processor, tuple(notes))


def _unused_volume_encoder(config: JsonMapping) -> tuple[str, ...]:
    if config.get("lvlm_encoder_image3d_type") is None:
        return ()
    return ("its volume encoder is left out: MedM-VL never runs one beside an image encoder",)


def _tower_settings(config: JsonMapping, folder: Path, *, has_class_token: bool) -> JsonObject:
    """The image tower up to the selected layer. SigLIP has no class token: there `patch` drops the first patch."""
    select = config.get("lvlm_encoder_image_select_feature")
    patches = select == "patch"
    return HFVisionConfig(
        config={k: v for k, v in _json(folder / "config.json").items() if k != "_name_or_path"},
        layer=int(config["lvlm_encoder_image_select_layer"]),
        select="patch" if patches or not has_class_token else "cls_patch",
        skip_first_patch=patches and not has_class_token,
    ).to_dict()


def _slices(
    parts: JsonMapping, image_processor: ImageProcessor, max_length: int
) -> tuple[JsonObject | None, str]:
    """Settings for volumes read slice by slice, where the tokens of all slices fit."""
    size = (SLICES, *image_processor.size)
    whole = {
        **parts,
        "volume_encoder": dict(SHARED_VOLUME_ENCODER),
        "volume_connector": parts["image_connector"],
    }
    visual = VisualParts.from_settings(whole)
    tokens = visual.num_tokens("volume", visual.grid("volume", size))
    if tokens > max_length:
        return (
            None,
            f"reads images only: {tokens} tokens of {SLICES} slices do not fit its length of {max_length}",
        )
    if len(set(image_processor.mean)) > 1 or len(set(image_processor.std)) > 1:
        return None, "reads images only: slices normalised by colour are not supported"
    settings = {
        "size": size,
        "convention": "medm_vl_slices",
        "mean": image_processor.mean[0],
        "std": image_processor.std[0],
    }
    return settings | _RAW, f"reads images, and volumes as {SLICES} slices through the same encoder"


_RAW = {"plane": "axial", "raw_units": "HU"}
"""Bare arrays are taken as they lie, in HU; scans of known orientation in canonical order."""


def _by_volumes(config: JsonMapping, weights: Mapping[str, Tensor], folder: Path) -> _Recipe:
    encoder_type = str(config["lvlm_encoder_image3d_type"])
    theirs, layer = _json(folder / "config.json"), int(config["lvlm_encoder_image3d_select_layer"])
    if not theirs:
        raise UserError(f"{folder} has no config.json of the volume encoder.")
    select: Literal["patch", "cls_patch"] = (
        "patch" if config.get("lvlm_encoder_image3d_select_feature") == "patch" else "cls_patch"
    )
    if encoder_type == "medmclip":
        encoder = medm_clip_settings(theirs, layer, select)
        volume_processor = {"convention": "medm_vl_medm_clip", "mean": MEDM_CLIP_MEAN, "std": MEDM_CLIP_STD}
    elif encoder_type == "m3dclip":
        encoder = m3d_clip_settings(theirs, layer, select)
        volume_processor = {"convention": "medm_vl_m3d_clip", "mean": 0.0, "std": 1.0}
    else:
        raise UserError(
            f"unknown lvlm_encoder_image3d_type {encoder_type!r}; MedM-VL has m3dclip and medmclip."
        )
    parts: JsonObject = {
        "volume_encoder": encoder,
        "volume_connector": _connector_settings(config, "image3d", weights),
    }
    return _Recipe(parts, None, {"size": VOLUME_SIZE, **volume_processor} | _RAW, ("reads volumes only",))


def _connector_settings(config: JsonMapping, kind: str, weights: Mapping[str, Tensor]) -> JsonObject:
    name, form = config.get(f"lvlm_connector_{kind}_type"), str(config.get(f"lvlm_connector_{kind}_name"))
    depth = re.fullmatch(r"mlp(\d+)x_gelu", form)
    if depth is None or name not in _CONNECTORS:
        raise UserError(
            f"unknown connector {name!r} with {form!r}; MedM-VL has {', '.join(_CONNECTORS)} with mlpNx_gelu."
        )
    layers = {"num_layers": max(1, int(depth.group(1)))}
    if name == "mlp":
        return {"type": "mlp", **layers}
    if name == "spatial_pooling":
        return {"type": "spatial_pooling", "factors": [2, 2, 2], "remainder": "drop", **layers}
    query = weights.get(f"connector_{kind}.query")
    if query is None:
        raise UserError(
            f"connector_{kind}.query is missing: attn_pooling cannot be read without its queries."
        )
    return {"type": "attention_pooling", "num_queries": len(query), "num_heads": 8, **layers}


def _processor(config: JsonMapping, recipe: _Recipe, source: Path, llm_folder: Path) -> MedMVLProcessor:
    llm_type = str(config.get("lvlm_llm_type"))
    if llm_type not in END_OF_TURN:
        raise UserError(f"unknown lvlm_llm_type {llm_type!r}; MedM-VL has {', '.join(END_OF_TURN)}.")
    folder = source if (source / "tokenizer_config.json").is_file() else llm_folder
    try:
        with without_warnings():  # of the model type, which transformers does not know
            tokenizer = read_tokenizer(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{folder}: the tokenizer cannot be read: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token if llm_type == "llama3" else tokenizer.unk_token
    tokenizer = _as_it_is(tokenizer)
    return MedMVLProcessor(
        tokenizer,
        parts=recipe.parts,
        image_processor=recipe.image_processor,
        volume_processor=recipe.volume_processor,
        max_length=int(config["lvlm_llm_max_length"]),
        template_kwargs={},
        chat_template=chat_template(tokenizer, END_OF_TURN[llm_type]),
        suffix_before_words=True,
        split_at_placeholders=True,
    )


def _as_it_is(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same tokenizer in the class that saves and loads its rules unchanged; LLaMA's own forgets `legacy`."""
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: text for name in names if (text := getattr(tokenizer, name)) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **special)


def chat_template(tokenizer: PreTrainedTokenizerFast, end_of_turn: str) -> str:
    """The Vicuna-style template that MedM-VL uses for every LLM, with this one's begin and end tokens.

    Raises:
        UserError: the end of turn is no token of the tokenizer.
    """
    if end_of_turn not in tokenizer.get_vocab():
        raise UserError(f"the tokenizer has no token {end_of_turn}, which ends the answers of this LLM type.")
    first = tokenizer("test string")["input_ids"][0]
    begin = tokenizer.bos_token if first == tokenizer.bos_token_id else ""
    text = resources.files("medmvl.models").joinpath("templates/medm_vl.jinja").read_text("utf-8")
    return text.replace('"BEGIN"', json.dumps(begin)).replace('"END"', json.dumps(end_of_turn))


def _model(
    recipe: _Recipe, processor: MedMVLProcessor, llm_folder: Path, weights: dict[str, Tensor]
) -> MedMVLForConditionalGeneration:
    """The model with its LLM's weights; the weights decide whether the head is tied, not the configuration."""
    from transformers import AutoConfig

    try:
        llm = AutoConfig.from_pretrained(llm_folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{llm_folder}: no configuration of an LLM: {str(error).splitlines()[0]}") from error
    llm._name_or_path = ""
    llm.tie_word_embeddings = "lm_head.weight" not in weights
    model = MedMVLForConditionalGeneration(
        MedMVLConfig(
            llm=llm,
            **recipe.parts,
            image_token_id=processor.image_token_id,
            volume_token_id=processor.volume_token_id,
            image_size=processor.image_processor.size if processor.image_processor else None,
            volume_size=processor.volume_processor.size if processor.volume_processor else None,
        )
    )
    embedding = weights.get("model.embed_tokens.weight")
    if llm.tie_word_embeddings and embedding is not None:
        weights = {**weights, "lm_head.weight": embedding}
    load_exactly(model.llm, weights, "llm")
    model.llm.tie_weights()
    return model


def _load_visual_parts(
    model: MedMVLForConditionalGeneration, weights: Mapping[str, Tensor], source: Path
) -> None:
    if isinstance(model.image_encoder, HFVision):
        prefix = "encoder_image.encoder."
        theirs = under(weights, f"{prefix}vision_model.") or under(weights, prefix)
        _load_tower(model.image_encoder.tower, theirs, f"{source}: encoder_image")
        connector = connector_weights(under(weights, "connector_image."))
        for part in (model.image_connector, model.volume_connector):
            if part is not None:
                copies = {name: tensor.clone() for name, tensor in connector.items()}
                load_exactly(part, copies, f"{source}: connector_image")
    theirs = under(weights, "encoder_image3d.")
    if isinstance(model.volume_encoder, MedMCLIP):
        ours = medm_clip_weights(theirs, model.volume_encoder.settings)
    elif isinstance(model.volume_encoder, ViT3D):
        assert isinstance(model.volume_encoder.part_config, ViT3DConfig)
        ours = m3d_clip_weights(theirs, model.volume_encoder.part_config)
    else:
        return
    load_exactly(model.volume_encoder, ours, f"{source}: encoder_image3d")
    assert model.volume_connector is not None
    connector = connector_weights(under(weights, "connector_image3d."))
    load_exactly(model.volume_connector, connector, f"{source}: connector_image3d")


def _load_tower(tower: nn.Module, theirs: Mapping[str, Tensor], where: str) -> None:
    """Load the tower's weights up to the selected layer; later ones were never read."""
    wanted = tower.state_dict()
    load_exactly(tower, {name: theirs[name] for name in wanted if name in theirs}, where)
