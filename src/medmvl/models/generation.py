"""Decoding with visuals: pixels go in with the prompt and never again, and beams share them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import GenerationMixin

from medmvl.models.visual_table import repeat_rows

_VISUAL_INPUTS = (
    "pixel_values",
    "pixel_values_volumes",
    "volume_positions_mm",
    "volume_kept",
    "visual_table",
    "question_ids",
    "visual_tokens",
    "visual_features",
    "features_kept",
    "visuals_to_keep",
)


class VisualGenerationMixin(GenerationMixin):
    """What `generate` of transformers must know of visuals."""

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Pixels go in with the prompt and never again: afterwards their tokens are in the cache."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in _VISUAL_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Repeat rows for beams and return sequences; of the visuals only the table is repeated."""
        visual = {name: kwargs.pop(name) for name in _VISUAL_INPUTS if kwargs.get(name) is not None}
        input_ids, kwargs = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **kwargs
        )
        if expand_size > 1 and "visual_table" in visual:
            visual["visual_table"] = repeat_rows(visual["visual_table"], expand_size)
            for name in ("visual_tokens", "question_ids"):
                if name in visual:
                    visual[name] = [block for block in visual[name] for _ in range(expand_size)]
        return input_ids, {**kwargs, **visual}
