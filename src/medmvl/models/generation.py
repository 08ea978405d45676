"""Decoding with visuals: pixels go in with the prompt and never again, and beams share them."""

from __future__ import annotations

from typing import Any

import torch
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
    """What `generate` of transformers must know of visuals.

    transformers annotates `self` of these methods with a class that no model derives from.
    """

    def prepare_inputs_for_generation(
        self, input_ids: torch.LongTensor, *given: Any, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Pixels go in with the prompt and never again: afterwards their tokens are in the cache."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(  # type: ignore[misc]  # see above
            input_ids, *given, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in _VISUAL_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.LongTensor, dict[str, Any]]:
        """Repeat rows for beams and return sequences; of the visuals only the table is repeated."""
        visual = {name: kwargs.pop(name) for name in _VISUAL_INPUTS if kwargs.get(name) is not None}
        expanded, kwargs = super()._expand_inputs_for_generation(  # type: ignore[misc]  # see above
            expand_size, is_encoder_decoder, input_ids, **kwargs
        )
        if expand_size > 1 and "visual_table" in visual:
            visual["visual_table"] = repeat_rows(visual["visual_table"], expand_size)
            for name in ("visual_tokens", "question_ids"):
                if name in visual:
                    visual[name] = [block for block in visual[name] for _ in range(expand_size)]
        return expanded, {**kwargs, **visual}
