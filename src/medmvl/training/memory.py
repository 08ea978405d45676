"""Bytes that one GPU holds while training: weights, gradients, moments and activations."""

from __future__ import annotations

from torch import nn

from medmvl.models.encoders.base import EncoderConfig
from medmvl.models.encoders.slices import BoundSlicesConfig
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.training.operations import Work, passes_gradient
from medmvl.training.recipe import Recipe, Stage

TRAINED_BYTES = 16
"""Bytes per trained parameter: float32 weight, gradient and two moments of AdamW, 4 each."""
FROZEN_BYTES = 2
"""Bytes per frozen parameter, in bfloat16."""
FOUR_BITS_BYTES = 0.52
"""Bytes per frozen parameter in NF4 with scales that are quantised, too."""
LAYER_BYTES = 34
"""Bytes of activations per transformer layer, token and channel, without the attention matrix, which fused attention does not
keep (Korthikanti et al. 2022, arXiv 2205.05198, equation 1)."""
LOGIT_BYTES = 8
"""Bytes per logit of a supervised token, with its gradient, in float32."""


def peak_bytes(
    recipe: Recipe, stage: Stage, model: MedMVLForConditionalGeneration, work: Work, gpus: int
) -> float:
    """Memory per GPU at its peak: weights, gradients and moments as they are sharded, and activations."""
    shared = recipe.distributed.shared_bytes
    llm = {id(p) for p in model.llm.parameters()}
    states = 0.0
    for weight in model.parameters():
        whole = TRAINED_BYTES if weight.requires_grad else FROZEN_BYTES
        divided = min(whole, shared) if weight.requires_grad else FROZEN_BYTES * (shared == TRAINED_BYTES)
        states += weight.numel() * (whole - divided + divided / gpus)
        if stage.holds_reference and weight.requires_grad:
            states += 4 * weight.numel()
        if id(weight) not in llm and recipe.distributed.shards_weights:
            states += weight.numel() * FROZEN_BYTES  # gathered whole for each pass
    return states + _activations(model, stage, work, gpus)


def _activations(model: MedMVLForConditionalGeneration, stage: Stage, work: Work, gpus: int) -> float:
    """Bytes that one GPU holds for the backward pass of a micro batch; only a layer at a time where nothing is kept."""
    micro = stage.micro_batch_size or max(1, stage.batch_size // gpus)
    total = 0.0
    for name in ("image_encoder", "volume_encoder", "llm"):
        if name not in work.tokens or not stage.runs(name):
            continue
        width, layers = _width_and_layers(model, name)
        rows = micro * stage.answers_per_sample if name == "llm" else micro
        layer = rows * work.tokens[name] * width * LAYER_BYTES
        kept = (
            layers * rows * work.tokens[name] * width * 2 if stage.gradient_checkpointing else layers * layer
        )
        total += layer + (kept if passes_gradient(model, name) else 0)
    if not stage.runs("llm"):
        return total
    vocabulary = int(model.config.get_text_config().vocab_size)
    return total + micro * stage.answers_per_sample * work.text_tokens * vocabulary * LOGIT_BYTES


def _width_and_layers(model: MedMVLForConditionalGeneration, name: str) -> tuple[int, int]:
    if name == "llm":
        config = model.config.get_text_config()
        return int(config.hidden_size), int(config.num_hidden_layers)
    settings: EncoderConfig = getattr(model, name).part_config
    if isinstance(settings, BoundSlicesConfig):
        settings = settings.image
    return int(settings.widths[0]), int(getattr(settings, "num_layers", 12))


def spared_bytes(model: MedMVLForConditionalGeneration, name: str) -> float:
    """Bytes that frozen matrices do without in 4 bits."""
    part = getattr(model, name)
    matrices = [layer for layer in part.modules() if isinstance(layer, nn.Linear)]
    frozen = sum(layer.weight.numel() for layer in matrices if not layer.weight.requires_grad)
    return frozen * (FROZEN_BYTES - FOUR_BITS_BYTES)
