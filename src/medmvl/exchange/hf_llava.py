"""Models of transformers' `LlavaForConditionalGeneration`: in exactly, weights and prompts and pixels.

transformers itself reads the folder, so that every name its checkpoints ever had is understood.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from torch import nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from medmvl.errors import UserError
from medmvl.exchange.imported import Components, Imported
from medmvl.exchange.weights import has_weights, load_exactly
from medmvl.json_types import JsonObject
from medmvl.models.assemble import fit_vocabulary, settle_generation
from medmvl.models.checkpoint_images import saved_image_processor
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.encoders.hf_families import FAMILIES
from medmvl.models.encoders.hf_vision import HFVision, HFVisionConfig
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.placeholders import IMAGE_TOKEN
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars
from medmvl.models.tokenizers import read_tokenizer

_TYPED = """\
{%- set ns = namespace(messages=[], content=[]) -%}
{%- for message in messages -%}
    {%- set ns.content = [] -%}
    {%- for piece in message["content"].split("PLACEHOLDER") -%}
        {%- if not loop.first -%}{%- set ns.content = ns.content + [{"type": "image"}] -%}{%- endif -%}
        {%- if piece -%}{%- set ns.content = ns.content + [{"type": "text", "text": piece}] -%}{%- endif -%}
    {%- endfor -%}
    {%- set ns.messages = ns.messages + [{"role": message["role"], "content": ns.content}] -%}
{%- endfor -%}
{%- set messages = ns.messages -%}
""".replace("PLACEHOLDER", IMAGE_TOKEN)
"""Gives a template that reads lists of typed blocks what it expects, from text with placeholders."""


def recognise(source: Path, components: Components) -> bool:
    """Whether a folder holds a configuration of model_type llava."""
    try:
        config = json.loads((source / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "llava"


@without_weight_bars()
def read(source: Path, components: Components) -> Imported:
    """Read a LLaVA model.

    Raises:
        UserError: a tower or projector that ours cannot be, missing weights, or no tokenizer or image processor.
    """
    theirs, tokenizer = _load_theirs(source, components)
    config = theirs.config
    encoder = _encoder_settings(config)
    image_processor = ImageProcessor.from_huggingface(_image_processor(source))
    connector = {"type": "mlp", "num_layers": 2}
    _check_projector(config)
    parts: JsonObject = {"image_encoder": encoder.to_dict(), "image_connector": connector}
    template, suffix = _chat_template(source, tokenizer)
    processor = MedMVLProcessor(
        tokenizer,
        parts=parts,
        image_processor=image_processor.model_dump(mode="json"),
        max_length=int(getattr(config.text_config, "max_position_embeddings", 0) or 4096),
        template_kwargs={},
        chat_template=template,
        visual_suffix=suffix,
        suffix_before_words=True,
    )
    model = MedMVLForConditionalGeneration(
        MedMVLConfig(
            llm=config.text_config,
            **parts,
            image_token_id=processor.image_token_id,
            volume_token_id=processor.volume_token_id,
            image_size=image_processor.size,
        )
    )
    _load(model, theirs, str(source))
    fit_vocabulary(model, processor)
    settle_generation(model, processor)
    return Imported(model.eval(), processor, ("reads images only",))


def _load_theirs(source: Path, components: Components) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model as transformers loads it, whole, and its tokenizer."""
    if not has_weights(source):
        raise UserError(f"{source} holds no weights.")
    try:
        loaded: Any = LlavaForConditionalGeneration.from_pretrained(
            source,
            local_files_only=True,
            output_loading_info=True,
            dtype="auto",
            weights_only=not components.trust_pickle,
        )
        tokenizer = read_tokenizer(source, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{source}: {str(error).splitlines()[0]}") from error
    theirs, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"{source}: {len(missing)} tensors are missing: {', '.join(missing[:20])}")
    if strange := sorted(name for name in found["unexpected_keys"] if not _may_be_left_out(name)):
        raise UserError(
            f"{source}: {len(strange)} tensors have no place in LLaVA's projector or LLM, and the model would not be the one "
            f"that was trained without them: {', '.join(strange[:20])}"
        )
    return theirs, tokenizer


def _may_be_left_out(name: str) -> bool:
    """Whether a tensor without a place is of the tower, whose heads are not used, or is computed anyway."""
    return "vision_tower." in name or name.endswith("rotary_emb.inv_freq")


def _encoder_settings(config: Any) -> HFVisionConfig:
    """The tower up to LLaVA's feature layer; `default` drops the first token, whatever it is."""
    layer, tower = config.vision_feature_layer, config.vision_config.to_dict()
    if not isinstance(layer, int):
        raise UserError(
            f"vision_feature_layer {layer}: towers of which several layers are joined are not supported."
        )
    tower_type = tower.get("model_type")
    if tower_type not in FAMILIES or FAMILIES[tower_type].stages is not None:
        raise UserError(f"vision tower {tower_type!r} is not supported; known: {', '.join(FAMILIES)}.")
    drops_first = config.vision_feature_select_strategy == "default"
    has_class_token = FAMILIES[tower_type].class_token
    return HFVisionConfig(
        config={key: value for key, value in tower.items() if key != "_name_or_path"},
        layer=layer,
        select="patch" if drops_first or not has_class_token else "cls_patch",
        skip_first_patch=drops_first and not has_class_token,
    )


def _check_projector(config: Any) -> None:
    if config.projector_hidden_act != "gelu" or not getattr(config, "multimodal_projector_bias", True):
        raise UserError(
            f"projector with {config.projector_hidden_act} and bias {config.multimodal_projector_bias}: only LLaVA 1.5's, two "
            "linear layers with biases and GELU between them, is supported."
        )


def _image_processor(source: Path) -> JsonObject:
    settings = saved_image_processor(source)
    if settings is None:
        raise UserError(f"{source} has no preprocessor_config.json, which says how images are resized.")
    return settings


def _chat_template(source: Path, tokenizer: PreTrainedTokenizerFast) -> tuple[str | None, str]:
    """The checkpoint's template with our placeholder, and the text after a placeholder.

    A template that reads typed blocks is given them, and writes around images what it likes.
    """
    template = tokenizer.chat_template
    for name in ("chat_template.json", "chat_template.jinja"):
        if (source / name).is_file():
            text = (source / name).read_text("utf-8")
            template = text if name.endswith("jinja") else str(json.loads(text)["chat_template"])
    if template is None:
        return None, "\n"
    ours = template.replace("<image>", IMAGE_TOKEN)
    typed = _TYPED + ours
    turns = [{"role": "user", "content": f"{IMAGE_TOKEN}words"}]
    try:
        shown = tokenizer.apply_chat_template(turns, chat_template=typed, tokenize=False)
    except (TemplateError, TypeError, ValueError):
        shown = ""
    return (typed, "") if IMAGE_TOKEN in shown and "words" in shown else (ours, "\n")


def _load(model: MedMVLForConditionalGeneration, theirs: LlavaForConditionalGeneration, where: str) -> None:
    assert isinstance(model.image_encoder, HFVision) and model.image_connector is not None
    tower = model.image_encoder.tower
    whole = theirs.model.vision_tower
    weights = getattr(whole, "vision_model", whole).state_dict()
    wanted = {name: weights[name] for name in tower.state_dict() if name in weights}
    load_exactly(tower, wanted, f"{where}: vision_tower")
    projector = theirs.model.multi_modal_projector.state_dict()
    renamed = {
        name.replace("linear_1", "mlp.0").replace("linear_2", "mlp.2"): tensor
        for name, tensor in projector.items()
    }
    load_exactly(model.image_connector, renamed, f"{where}: multi_modal_projector")
    language = {f"model.{name}": tensor for name, tensor in theirs.model.language_model.state_dict().items()}
    head: nn.Module = theirs.lm_head
    language |= {f"lm_head.{name}": tensor for name, tensor in head.state_dict().items()}
    load_exactly(model.llm, language, f"{where}: language_model")
    model.llm.tie_weights()
