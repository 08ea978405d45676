"""A 2D model of ours as transformers' `LlavaForConditionalGeneration`, which vLLM and others load without our package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from medmvl.errors import UserError
from medmvl.exchange.llava_folder import rename_for_all
from medmvl.json_types import JsonObject
from medmvl.models.checkpoint_images import PIL_CODES
from medmvl.models.connectors import Connector
from medmvl.models.connectors.mlp import MLPConfig
from medmvl.models.encoders import Encoder
from medmvl.models.encoders.hf_vision import HFVision, HFVisionConfig
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.placeholders import IMAGE_TOKEN
from medmvl.models.processing import MedMVLProcessor

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

TOWERS = ("clip_vision_model", "siglip_vision_model", "dinov2")
_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
_BLOCKS = """\
{%- set ns = namespace(messages=[], text="") -%}
{%- for message in messages -%}
    {%- if message["content"] is string -%}
        {%- set ns.text = message["content"] -%}
    {%- else -%}
        {%- set ns.text = "" -%}
        {%- for block in message["content"] -%}
            {%- if block["type"] == "text" -%}
                {%- set ns.text = ns.text + block["text"] -%}
            {%- else -%}
                {%- set after = "" if loop.last else message["content"][loop.index0 + 1]["text"] or "" -%}
                {%- set words = after[:1] | trim != "" -%}
                {%- set ns.text = ns.text + IMAGE + (SUFFIX if words or ALWAYS else "") -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set ns.messages = ns.messages + [dict(message, content=ns.text)] -%}
{%- endfor -%}
{%- set messages = ns.messages -%}
"""
"""From typed blocks, which LLaVA's users give, to text with placeholders, as our processor makes it."""


def export_llava(
    model: MedMVLForConditionalGeneration, processor: MedMVLProcessor, folder: Path, dtype: torch.dtype | None
) -> None:
    """Write a folder that `LlavaForConditionalGeneration` and `AutoProcessor` load, with equal logits.

    Raises:
        UserError: listing every part that LLaVA cannot have, and why.
    """
    if reasons := obstacles(model, processor):
        raise UserError(
            "this model cannot be a LLaVA of transformers:\n" + "\n".join(f"  {r}" for r in reasons)
        )
    theirs = as_llava(model, processor)
    _check_equal(model, theirs, processor)
    if dtype is not None:
        theirs.to(dtype)  # type: ignore[arg-type]  # its decorator hides that `self` is bound
    theirs.save_pretrained(folder)
    their_processor = _processor(processor)
    their_processor.save_pretrained(folder)
    rename_for_all(folder, their_processor)


def obstacles(model: MedMVLForConditionalGeneration, processor: MedMVLProcessor) -> list[str]:
    """Why a model cannot be a LLaVA, one sentence per reason; none where it can."""
    reasons = []
    if model.volume_encoder is not None:
        reasons.append(
            "volume_encoder: LLaVA reads no volumes; only a model of images alone can be exported."
        )
    encoder, connector = model.image_encoder, model.image_connector
    if encoder is None or connector is None:
        return [*reasons, "image_encoder: there is none."]
    if not isinstance(encoder, HFVision) or encoder.settings.config["model_type"] not in TOWERS:
        reasons.append(
            f"image_encoder: LLaVA's towers are {', '.join(TOWERS)} of type hf_vision, not {_name(encoder)}."
        )
    elif encoder.settings.final_norm or encoder.settings.num_layers == 0 or encoder.settings.select == "cls":
        reasons.append(
            "image_encoder: LLaVA takes the tokens of a layer, without final_norm and not the class token alone."
        )
    projector = connector.part_config
    if not isinstance(projector, MLPConfig) or projector.num_layers != 2 or projector.norm:
        reasons.append(
            "image_connector: LLaVA's projector is an mlp of 2 layers without a norm; this one is "
            + _name(connector)
            + "."
        )
    resizing = processor.image_processor
    if (
        resizing is None
        or resizing.fit not in ("squash", "crop")
        or resizing.max_tiles > 1
        or resizing.channels != 3
    ):
        reasons.append(
            "image_processor: LLaVA's makes one image of 3 channels, by fit squash or crop, without tiles."
        )
    llm = model.llm
    scaled = [key for key in _SCALED_LOGITS if getattr(llm.config, key, None) not in (None, 1.0)]
    if (
        scaled
        or getattr(getattr(llm, "lm_head", None), "bias", None) is not None
        or not hasattr(llm, "model")
    ):
        what = ", ".join(scaled) or "a head with a bias, or no plain head"
        reasons.append(
            f"llm: {llm.config.model_type} has {what}, which LLaVA leaves out: its logits would differ."
        )
    return reasons


def _name(part: Encoder | Connector) -> str:
    """The settings of a part on one line; of those nested in them, the type alone."""
    shown = []
    for key, value in part.part_config.to_dict().items():
        shown_value = (value.get("model_type") or value.get("type")) if isinstance(value, dict) else value
        shown += [f"{key} {shown_value}"] if shown_value is not None else []
    return ", ".join(shown)


def as_llava(
    model: MedMVLForConditionalGeneration, processor: MedMVLProcessor
) -> LlavaForConditionalGeneration:
    """The same weights in transformers' class, in evaluation mode."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    assert isinstance(model.image_encoder, HFVision) and model.image_connector is not None
    settings = model.image_encoder.settings
    vision = settings.tower.to_dict() | {"num_hidden_layers": settings.num_layers, "vision_use_head": False}
    llm = model.llm
    config = LlavaConfig(
        vision_config=vision,
        text_config=llm.config.to_dict(),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy=_strategy(settings),
        projector_hidden_act="gelu",
        image_seq_length=_num_tokens(processor),
        tie_word_embeddings=bool(llm.config.tie_word_embeddings),
    )
    dtype = next(llm.parameters()).dtype
    theirs: Any = LlavaForConditionalGeneration(config)
    theirs.to(dtype)
    whole = theirs.model.vision_tower
    _take(getattr(whole, "vision_model", whole), model.image_encoder.tower.state_dict(), partly=True)
    connector = {
        n.replace("mlp.0", "linear_1").replace("mlp.2", "linear_2"): t
        for n, t in model.image_connector.state_dict().items()
    }
    _take(theirs.model.multi_modal_projector, connector)
    _take(theirs.model.language_model, llm.model.state_dict())
    _take(theirs.lm_head, llm.lm_head.state_dict())
    theirs.tie_weights()
    theirs.generation_config = model.generation_config
    theirs.eval()
    return cast("LlavaForConditionalGeneration", theirs)


def _num_tokens(processor: MedMVLProcessor) -> int:
    """Tokens of one image, which releases before 4.47 compare with what they find."""
    assert processor.image_processor is not None
    grid = processor.visual_parts.grid("image", processor.image_processor.size)
    return int(processor.visual_parts.num_tokens("image", grid))


def _take(module: nn.Module, weights: dict[str, Tensor], *, partly: bool = False) -> None:
    """Copy weights; every one must have a place. With `partly` some places keep what they have: nothing reads them."""
    found = module.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys and (partly or not found.missing_keys), found


def _strategy(settings: HFVisionConfig) -> Literal["default", "full"]:
    drops_first = settings.skip_first_patch or (settings.family.class_token and settings.select == "patch")
    return "default" if drops_first else "full"


def _processor(processor: MedMVLProcessor) -> LlavaProcessor:
    from transformers import CLIPImageProcessorPil, LlavaProcessor, SiglipImageProcessorPil

    resizing = processor.image_processor
    encoder = processor.visual_parts.encoders["image"]
    assert resizing is not None and isinstance(encoder, HFVisionConfig)
    size = {"height": resizing.size[0], "width": resizing.size[1]}
    common: JsonObject = {
        "resample": next(code for code, name in PIL_CODES.items() if name == resizing.interpolation),
        "image_mean": list(resizing.mean),
        "image_std": list(resizing.std),
    }
    images: CLIPImageProcessorPil | SiglipImageProcessorPil
    if resizing.fit == "squash":
        images = SiglipImageProcessorPil(size=size, do_convert_rgb=True, **common)
    else:
        edge = resizing.shortest_edge or min(resizing.size)
        images = CLIPImageProcessorPil(size={"shortest_edge": edge}, crop_size=size, **common)
    strategy, additional = _strategy(encoder), encoder.num_prefix_tokens
    if (
        strategy == "full" and additional == 0
    ):  # transformers 4.46 always counts a class token: one more, one less
        strategy, additional = "default", 1
    return LlavaProcessor(
        images,
        processor.tokenizer,
        patch_size=encoder.tower.patch_size,
        vision_feature_select_strategy=strategy,
        chat_template=llava_template(processor),
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=additional,
    )


def llava_template(processor: MedMVLProcessor) -> str:
    """The chat template for conversations of typed blocks, with what our processor puts around placeholders."""
    blocks = _BLOCKS.replace("IMAGE", json.dumps(IMAGE_TOKEN))
    blocks = blocks.replace("SUFFIX", json.dumps(processor.visual_suffix))
    blocks = blocks.replace("ALWAYS", "false" if processor.suffix_before_words else "true")
    settings = {
        k: v for k, v in processor.template_kwargs.items() if not processor.thinking or k != "enable_thinking"
    }
    fixed = "".join(f"{{%- set {k} = {json.dumps(v)} -%}}\n" for k, v in settings.items())
    return fixed + blocks + str(processor.tokenizer.chat_template)


@torch.no_grad()
def _check_equal(
    model: MedMVLForConditionalGeneration, theirs: LlavaForConditionalGeneration, processor: MedMVLProcessor
) -> None:
    """Compare the logits of one image, as an LLM may compute something special around its head."""
    assert processor.image_processor is not None
    pixels = torch.randn(3, *processor.image_processor.size, generator=torch.Generator().manual_seed(0))
    grid = processor.visual_parts.grid("image", processor.image_processor.size)
    count = processor.visual_parts.num_tokens("image", grid)
    ids = torch.tensor([[processor.image_token_id] * count + processor.stop_token_ids])
    dtype = next(model.parameters()).dtype
    assert model.image_encoder is not None and model.image_connector is not None
    features = model.image_encoder(pixels[None].to(dtype))
    embeddings = model.get_input_embeddings()(ids)
    embeddings[:, :count] = model.image_connector(features).to(embeddings)
    llm = model.llm
    ours = llm(inputs_embeds=embeddings).logits.float()
    found = theirs(input_ids=ids, pixel_values=pixels[None].to(dtype)).logits.float()
    if (ours - found).abs().max() > 1e-3 * max(1.0, float(ours.abs().max())):
        raise UserError(
            f"this model cannot be a LLaVA of transformers: with its LLM ({llm.config.model_type}) the logits differ by "
            f"{float((ours - found).abs().max()):.2g}."
        )
