"""Floating point operations of a model, counted by PyTorch on the shapes of one sample, and the total of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medmvl.models.features import VisualFeatures
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.training.recipe import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Work:
    """Operations of the forward pass of one sample, and its tokens, per part."""

    flops: dict[str, float]
    tokens: dict[str, int]
    """Tokens that the layers of a part hold at once."""
    text_tokens: int

    @classmethod
    def of(
        cls, model: MedMVLForConditionalGeneration, preprocessor: VisualPreprocessor, text_tokens: int
    ) -> Work:
        """Count on shapes alone; of a model with images and volumes the more expensive of both."""
        flops, tokens, most = {}, {}, 0
        model.requires_grad_(False)
        for kind, settings in (
            ("image", preprocessor.image_processor),
            ("volume", preprocessor.volume_processor),
        ):
            if settings is None or preprocessor.parts.connectors[kind] is None:
                continue
            encoder, connector = getattr(model, f"{kind}_encoder"), getattr(model, f"{kind}_connector")
            pixels = torch.empty(1, settings.channels, *settings.size, device="meta")
            flops[f"{kind}_encoder"], features = _counted(encoder, pixels)
            guided = connector.part_config.guided_by_text
            question = (torch.empty(1, text_tokens, connector.output_width, device="meta"),) if guided else ()
            flops[f"{kind}_connector"], out = _counted(connector, features, *question)
            views = preprocessor.max_tokens(kind) / out.shape[1]  # tiles and crops next to the whole
            for name in (f"{kind}_encoder", f"{kind}_connector"):
                flops[name] *= views
            tokens[f"{kind}_encoder"] = round(features.streams[0].shape[1] * views)
            tokens[f"{kind}_connector"] = preprocessor.max_tokens(kind)
            most = max(most, preprocessor.max_tokens(kind))
        length = most + text_tokens
        width = model.get_input_embeddings().embedding_dim
        flops["llm"], _ = _counted(_Embedded(model.llm), torch.empty(1, length, width, device="meta"))
        return cls(flops, tokens | {"llm": length}, text_tokens)


class _Embedded(nn.Module):
    """An LLM that is given embeddings."""

    def __init__(self, llm: PreTrainedModel) -> None:
        super().__init__()
        self.llm = llm

    def forward(self, embeddings: Tensor) -> Tensor:
        """All logits."""
        length = embeddings.shape[1]
        # a whole mask: none is derived from values
        mask = torch.zeros(1, 1, length, length, device=embeddings.device)
        logits: Tensor = self.llm(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).logits
        return logits


def _counted(module: nn.Module, *given: Tensor | VisualFeatures) -> tuple[float, Any]:
    """Floating point operations of one pass, a multiplication and an addition being two, and what came out."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = module(*given)
    return float(counter.get_total_flops()), out


def _trains(model: MedMVLForConditionalGeneration, name: str) -> bool:
    part = getattr(model, name)
    weights = part.weights() if hasattr(part, "weights") else part.parameters()
    return any(p.requires_grad for p in weights)


def passes_gradient(model: MedMVLForConditionalGeneration, name: str) -> bool:
    """Whether the backward pass runs through a part: it trains, or something before it does."""
    before = [other for other in work_order(model, name) if _trains(model, other)]
    return bool(before)


def work_order(model: MedMVLForConditionalGeneration, name: str) -> list[str]:
    """A part and the parts whose output it reads."""
    if name == "llm":
        return [part for part in PARTS if getattr(model, part) is not None]
    kind = name.partition("_")[0]
    chain = [f"{kind}_encoder", f"{kind}_connector"]
    return chain[: chain.index(name) + 1]


def training_flops(model: MedMVLForConditionalGeneration, stage: Stage, work: Work) -> dict[str, float]:
    """Operations per sample and part: forward, backward where gradients pass and where weights train, recomputation."""
    total = {}
    for name, forward in work.flops.items():
        if not stage.runs(name):
            total[name] = 0.0
            continue
        passes = passes_gradient(model, name)
        total[name] = forward * (
            1 + passes + _trains(model, name) + (passes and stage.gradient_checkpointing)
        )
    if stage.objective == "grpo":  # drawing an answer, and its reference, cost a forward pass each
        forward = work.flops["llm"] * (1 + stage.holds_reference)
        total["llm"] = stage.answers_per_sample * (total["llm"] + forward)
    return total
