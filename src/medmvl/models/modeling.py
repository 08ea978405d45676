"""MedMVLForConditionalGeneration: encode, connect, scatter, LLM. This is the heart of the project.

Outside it keeps the contract of transformers; inside it is plain PyTorch. The five parts are attributes whose names are the
weight prefixes: `image_encoder`, `image_connector`, `volume_encoder`, `volume_connector`, `llm`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, Cache, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from medmvl.json_types import JsonObject
from medmvl.models.answer_logprobs import Sampling
from medmvl.models.answer_loss import supervised_positions as find_supervised
from medmvl.models.answer_output import AnswerOutput, answer_output
from medmvl.models.causal_attention import Packed, mask_of
from medmvl.models.collation import Batch
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.connectors import Connector, build_connector
from medmvl.models.encoders import Encoder, build_image_encoder, build_volume_encoder
from medmvl.models.features import VisualFeatures
from medmvl.models.generation import VisualGenerationMixin
from medmvl.models.parts import reset_weights
from medmvl.models.scattering import check_lengths, check_placeholders, put_in_place
from medmvl.models.visual_inputs import Positions, VisualInputs
from medmvl.models.visual_table import KINDS, VisualRow, to_rows
from medmvl.models.visual_towers import VisualTowers
from medmvl.models.visuals import ProcessedVisual
from medmvl.models.weight_types import saved_types
from medmvl.models.whole_weights import check_whole


class MedMVLForConditionalGeneration(VisualTowers, VisualGenerationMixin):
    """A medical large vision-language model.

    `forward` takes what `MedMVLProcessor` makes: `input_ids` `(B, L)` with one placeholder per visual token, `pixel_values`
    `(tiles, C, H, W)`, or a list of `(C, H, W)` where their sizes differ, `pixel_values_volumes`, a list of `(C, D, H, W)`,
    and the `visual_table` that binds them.
    """

    config_class = MedMVLConfig
    config: MedMVLConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]  # transformers' own models have tuples, too
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement: set[str] | list[str] | None = ["past_key_values"]  # noqa: RUF012  (typed as in its base)

    llm: PreTrainedModel

    def __init__(self, config: MedMVLConfig) -> None:
        super().__init__(config)
        self.llm = AutoModelForCausalLM.from_config(config.llm)
        width = self.get_input_embeddings().embedding_dim
        self.image_encoder = build_image_encoder(config.image_encoder) if config.image_encoder else None
        self.volume_encoder = (
            build_volume_encoder(config.volume_encoder, self.image_encoder)
            if isinstance(config.volume_encoder, dict)
            else None
        )
        self.image_connector = self._connector(config.image_connector, self.image_encoder, width)
        self.volume_connector = self._connector(config.volume_connector, self.volume_encoder, width)
        self._llm_selects_logits = "logits_to_keep" in inspect.signature(self.llm.forward).parameters
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers'. Where no `dtype` is asked for, every weight of a local folder keeps the type it was saved in.

        A frozen LLM may be bfloat16 next to float32 parts that are trained; transformers would cast all to one type.

        Raises:
            RecipeError: the folder lacks weights, which transformers would make of random numbers.
        """
        found, asked = {}, kwargs.pop("output_loading_info", False)
        kwargs["output_loading_info"] = True
        if kwargs.get("dtype", kwargs.get("torch_dtype")) in (None, "auto"):
            found = saved_types(Path(str(pretrained_model_name_or_path), kwargs.get("subfolder") or ""))
        if found:
            kwargs.pop("torch_dtype", None)
            common = set(found.values())
            kwargs["dtype"] = common.pop() if len(common) == 1 else torch.float32
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model, loading = loaded
        check_whole(model, loading["missing_keys"], f"the model in {str(pretrained_model_name_or_path)!r}")
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data.to(found.get(name, parameter.dtype))
        return (model, loading) if asked else model

    @staticmethod
    def _connector(config: JsonObject | None, encoder: Encoder | None, width: int) -> Connector | None:
        return build_connector(config, encoder.widths, width) if config and encoder is not None else None

    def _init_weights(self, module: nn.Module) -> None:
        reset_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        """The LLM's token embedding."""
        return cast(nn.Embedding, self.llm.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the LLM's token embedding."""
        self.llm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The LLM's head."""
        head: nn.Module | None = self.llm.get_output_embeddings()
        return head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        pixel_values: Tensor | Sequence[Tensor] | None = None,
        pixel_values_volumes: Sequence[Tensor] | None = None,
        volume_positions_mm: Sequence[Positions] | None = None,
        volume_kept: Sequence[Tensor] | None = None,
        visual_table: Tensor | Sequence[Sequence[int]] | None = None,
        question_ids: Sequence[Tensor] | None = None,
        visual_tokens: Sequence[Tensor] | None = None,
        visual_features: Sequence[VisualFeatures] | None = None,
        features_kept: Sequence[Tensor] | None = None,
        visuals_to_keep: Sequence[ProcessedVisual | None] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        return_logits: bool | None = None,
        supervised_positions: Tensor | None = None,
        packed: Packed | None = None,
        sampling: Sampling | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model: encode the visuals, put their tokens among the text's, run the LLM, and compare with the labels.

        Args:
            input_ids: `(B, L)`, one placeholder per visual token.
            attention_mask: `(B, L)`, 0 where padded.
            position_ids: `(B, L)`; default is from 0; `generate` counts from the first token that is not padding.
            past_key_values: the LLM's cache.
            inputs_embeds: `(B, L, width)` instead of `input_ids`; visual tokens are still put into their places.
            labels: `(B, L)` with -100 where nothing is learned. With labels an `AnswerOutput` comes back: `loss` is the mean
                cross entropy of the supervised tokens.
            pixel_values: this and what follows up to `visuals_to_keep` describe the visuals, as `encode` takes them.
            pixel_values_volumes: see `encode`.
            volume_positions_mm: see `encode`.
            volume_kept: see `encode`.
            visual_table: see `encode`.
            question_ids: see `encode`.
            visual_tokens: what an earlier `encode` gave, instead of pixels.
            visual_features: see `encode`.
            features_kept: see `encode`.
            visuals_to_keep: see `encode`.
            use_cache: whether the LLM returns its cache.
            logits_to_keep: without labels: how many last positions, or which, get logits; 0 for all.
            num_items_in_batch: divisor of the summed loss: supervised tokens over all ranks and accumulation steps.
            return_logits: with labels: whether `logits` holds those that predict the supervised tokens, `(supervised tokens,
                vocabulary)`; None: not while training. Without them the loss is computed in chunks.
            supervised_positions: with labels: result of `answer_loss.supervised_positions`; None: it is computed, and the host
                waits for it.
            packed: with labels and one row: the samples that are packed into it; each sees itself and what it shares, and
                `position_ids` count from 0 in each.
            sampling: with labels: return log-probabilities of the supervised tokens under this distribution, as
                `token_logprobs`, and no loss.
            **kwargs: for the LLM.

        Raises:
            ValueError: a visual block does not fit its place in the table; this LLM was not tested with packed samples.
        """
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        rows = to_rows(visual_table) if visual_table is not None else []
        visuals = VisualInputs.collect(
            rows, pixel_values, pixel_values_volumes, volume_positions_mm, visual_features, visuals_to_keep
        )
        if rows and visual_tokens is None:
            visual_tokens = self.encode_rows(visuals, question_ids, volume_kept, features_kept)
        if rows and visual_tokens is not None:
            inputs_embeds = self.scatter(input_ids, inputs_embeds, visual_tokens, rows)
        elif past_key_values is None or not past_key_values.get_seq_length():
            self._check_placeholders(input_ids, rows)
        kwargs.update(inputs_embeds=self._touched(inputs_embeds, rows), attention_mask=attention_mask)
        kwargs.update(position_ids=position_ids, past_key_values=past_key_values, use_cache=use_cache)
        if labels is None:
            kwargs |= {"logits_to_keep": logits_to_keep} if self._llm_selects_logits else {}
            outputs: CausalLMOutputWithPast = self.llm(**kwargs)
            return outputs
        return self._answers(
            kwargs, labels, supervised_positions, packed, num_items_in_batch, return_logits, sampling
        )

    def _answers(
        self,
        inputs: Batch,
        labels: Tensor,
        positions: Tensor | None,
        packed: Packed | None,
        num_items_in_batch: Tensor | int | None,
        return_logits: bool | None,
        sampling: Sampling | None,
    ) -> AnswerOutput:
        """Run the LLM on embeddings, and compare with the labels; arguments as of `forward`."""
        mask = mask_of(self.llm.config, inputs["inputs_embeds"], inputs["attention_mask"], packed)
        return answer_output(
            self.llm,
            {**inputs, "attention_mask": mask},
            labels,
            find_supervised(labels) if positions is None else positions,
            num_items_in_batch,
            with_logits=sampling is None and (not self.training if return_logits is None else return_logits),
            selects_logits=self._llm_selects_logits,
            sampling=sampling,
        )

    def scatter(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor,
        visual_tokens: Sequence[Tensor],
        rows: Sequence[VisualRow],
    ) -> Tensor:
        """Put every visual's tokens in its own place; each block is checked against the table, not only totals."""
        check_lengths(rows, visual_tokens)
        self._check_placeholders(input_ids, rows)
        return put_in_place(inputs_embeds, visual_tokens, rows)

    def _check_placeholders(self, input_ids: Tensor | None, rows: Sequence[VisualRow]) -> None:
        if input_ids is not None:
            ids = {"image": self.config.image_token_id, "volume": self.config.volume_token_id}
            check_placeholders(input_ids, rows, ids, training=self.training)

    def _touched(self, embeddings: Tensor, rows: Sequence[VisualRow]) -> Tensor:
        """The embeddings; while training their gradient reaches the parts that this batch does not use, too, as zero."""
        if not (self.training and torch.is_grad_enabled()):
            return embeddings
        return embeddings + self.touch_idle_parts({KINDS[row.kind] for row in rows}).to(embeddings.dtype)


AutoModelForImageTextToText.register(MedMVLConfig, MedMVLForConditionalGeneration, exist_ok=True)
