"""MedMVLForConditionalGeneration: encode, connect, scatter, LLM. This is the heart of the project.

Outside it keeps the contract of transformers; inside it is plain PyTorch. The five parts are attributes whose names are the
weight prefixes: `image_encoder`, `image_connector`, `volume_encoder`, `volume_connector`, `llm`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Cache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from medmvl.models.answer_loss import AnswerOutput, chunked_loss, head_of
from medmvl.models.answer_loss import supervised_positions as find_supervised
from medmvl.models.causal_attention import (
    CausalMask,
    is_purely_causal,
    padded_on_the_right,
    why_not_packed,
)
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.connectors import Connector, build_connector
from medmvl.models.encoders import (
    Encoder,
    ImageEncoder,
    VolumeEncoder,
    build_image_encoder,
    build_volume_encoder,
)
from medmvl.models.features import VisualFeatures
from medmvl.models.parts import reset_weights
from medmvl.models.visual_encoding import (
    Bucket,
    Keep,
    VisualInputs,
    connected,
    encode_kind,
    idle_features,
)
from medmvl.models.visual_table import KINDS, VisualRow, fingerprint, repeat_rows, to_rows
from medmvl.models.visuals import ProcessedVisual
from medmvl.models.weight_types import saved_types

Positions = Tensor | Sequence[float] | None
"""Where the slices of a volume lie: as a tensor, or as numbers in the host's memory; None where unknown."""
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


class MedMVLForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A medical large vision-language model.

    `forward` takes what `MedMVLProcessor` makes: `input_ids` `(B, L)` with one placeholder a visual token, `pixel_values`
    `(tiles, C, H, W)`, or a list of `(C, H, W)` where their sizes differ, `pixel_values_volumes`, a list of `(C, D, H, W)`,
    and the `visual_table` that binds them.
    """

    config_class = MedMVLConfig
    config: MedMVLConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    llm: Any
    image_encoder: ImageEncoder | None
    image_connector: Connector | None
    volume_encoder: VolumeEncoder | None
    volume_connector: Connector | None
    keep_features: Keep | None = None
    """Takes the features of `visuals_to_keep` when they are made."""
    each_alone: bool = True
    """True where frozen encoders read each visual alone, and idle ones not at all. Not where weights are sharded: there all
    processes call the same parts."""

    def __init__(self, config: MedMVLConfig) -> None:
        super().__init__(config)
        self.llm = AutoModelForCausalLM.from_config(config.llm)
        width = self.llm.get_input_embeddings().embedding_dim
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
        """
        found = {}
        if kwargs.get("dtype", kwargs.get("torch_dtype")) in (None, "auto"):
            found = saved_types(Path(str(pretrained_model_name_or_path), kwargs.get("subfolder") or ""))
        if not found:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        kwargs.pop("torch_dtype", None)
        common = set(found.values())
        kwargs["dtype"] = common.pop() if len(common) == 1 else torch.float32
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data.to(found.get(name, parameter.dtype))
        return loaded

    @staticmethod
    def _connector(config: dict[str, Any] | None, encoder: Encoder | None, width: int) -> Connector | None:
        return build_connector(config, encoder.widths, width) if config and encoder is not None else None

    def _init_weights(self, module: nn.Module) -> None:
        reset_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        """The LLM's token embedding."""
        embedding: nn.Embedding = self.llm.get_input_embeddings()
        return embedding

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
        sample_lengths: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model.

        Args:
            input_ids: `(B, L)`, one placeholder a visual token.
            attention_mask: `(B, L)`, 0 where padded.
            position_ids: `(B, L)`; default is from 0; `generate` counts from the first token that is not padding.
            past_key_values: the LLM's cache.
            inputs_embeds: `(B, L, width)` instead of `input_ids`; visual tokens are still put into their places.
            pixel_values: `(tiles, C, H, W)`, or `(C, H, W)` each: all tiles of all images of the batch.
            pixel_values_volumes: `(C, D, H, W)` each, all volumes of the batch.
            volume_positions_mm: `(D,)` each, where the slices of a volume lie, a tensor or numbers; None or NaN where unknown.
            volume_kept: `(kept,)` each, which of the connector's tokens of a volume stay; None where all do.
            visual_table: `(visuals, columns)` or its rows, see `medmvl.models.visual_table`.
            question_ids: `(n,)` each, one a row of the table: the question that guides its connector; None where none is.
            use_cache: whether the LLM returns its cache.
            logits_to_keep: without labels: how many last positions, or which, get logits; 0 for all.
            **kwargs: for the LLM.
            labels: `(B, L)` with -100 where nothing is learned. With labels an `AnswerOutput` comes back: `loss` is the mean
                cross entropy of the supervised tokens.
            return_logits: with labels: whether `logits` holds those that predict the supervised tokens, `(supervised tokens,
                vocabulary)`; None: not while training. Without them the loss is computed in chunks.
            supervised_positions: with labels: what `answer_loss.supervised_positions` says of them; None: it is computed, for
                which the host waits.
            sample_lengths: with labels and one row: the samples that are packed into it; each sees itself only, and
                `position_ids` count from 0 in each.
            visual_tokens: one `(length, width)` a row of the table, from an earlier `encode`, instead of pixels.
            visual_features: what frozen encoders made of some visuals before, instead of their pixels.
            features_kept: as `volume_kept` for each of `visual_features`; None where all tokens stay.
            visuals_to_keep: for every row None, or the visual that `keep_features` gets with its features.
            num_items_in_batch: what the summed loss is divided by: supervised tokens over all ranks and accumulation steps.

        Raises:
            ValueError: a visual block does not fit its place in the table; this LLM was not tested with packed samples.
        """
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        rows = to_rows(visual_table) if visual_table is not None else []
        if rows:
            if visual_tokens is None:
                visual_tokens = self.encode(
                    pixel_values,
                    pixel_values_volumes,
                    rows,
                    volume_positions_mm,
                    volume_kept,
                    question_ids,
                    visual_features,
                    features_kept,
                    visuals_to_keep,
                )
            inputs_embeds = self.scatter(input_ids, inputs_embeds, visual_tokens, rows)
        elif input_ids is not None and (past_key_values is None or not past_key_values.get_seq_length()):
            self._check_places(input_ids, torch.empty(0, dtype=torch.long, device=input_ids.device), rows)
        if self.training and torch.is_grad_enabled():
            inputs_embeds = inputs_embeds + self.touch_idle_parts({KINDS[row.kind] for row in rows}).to(
                inputs_embeds.dtype
            )
        inputs = {
            "inputs_embeds": inputs_embeds, "attention_mask": attention_mask, "position_ids": position_ids,
            "past_key_values": past_key_values, "use_cache": use_cache, **kwargs,
        }  # fmt: skip
        if labels is None:
            return (
                self.llm(**inputs, logits_to_keep=logits_to_keep)
                if self._llm_selects_logits
                else self.llm(**inputs)
            )
        inputs["attention_mask"] = self._mask(inputs_embeds, attention_mask, sample_lengths)
        positions = find_supervised(labels) if supervised_positions is None else supervised_positions
        with_logits = not self.training if return_logits is None else return_logits
        return self._supervised(inputs, labels, positions, num_items_in_batch, with_logits)

    def _supervised(
        self,
        inputs: dict[str, Any],
        labels: Tensor,
        positions: Tensor,
        num_items_in_batch: Tensor | int | None,
        return_logits: bool,
    ) -> AnswerOutput:
        """Loss, and where asked for logits, at the positions that predict a supervised token, nowhere else."""
        targets = labels.flatten().index_select(0, positions + 1)
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        head = None if return_logits else head_of(self.llm)
        if head is not None:
            outputs = self.llm.base_model(**inputs)
            hidden = outputs.last_hidden_state.flatten(0, 1).index_select(0, positions)
            loss, losses, predicted = chunked_loss(hidden, targets, head, count)
            logits = None
        else:
            keep = torch.zeros_like(labels, dtype=torch.bool).flatten().index_fill(0, positions, True)
            keep = keep.view_as(labels)
            outputs = (
                self.llm(**inputs, logits_to_keep=keep) if self._llm_selects_logits else self.llm(**inputs)
            )
            logits = outputs.logits if self._llm_selects_logits else outputs.logits[keep]
            each = functional.cross_entropy(logits.float(), targets, reduction="none")
            loss, losses, predicted = each.sum() / count, each.detach(), logits.detach().argmax(-1)
        return AnswerOutput(
            loss=loss,
            logits=logits if return_logits else None,
            token_losses=losses,
            predicted=predicted,
            **{name: outputs.get(name) for name in ("past_key_values", "hidden_states", "attentions")},
        )

    def _mask(
        self, embeddings: Tensor, attention_mask: Tensor | None, sample_lengths: Sequence[int] | None
    ) -> Tensor | None:
        """The mask for a pass without a cache: nothing is stored where causal attention alone is exact."""
        longest = embeddings.shape[1] if sample_lengths is None else max(sample_lengths)
        if not is_purely_causal(self.llm.config, longest):
            if sample_lengths is not None:
                raise ValueError(why_not_packed(self.llm.config, longest))
            return attention_mask
        if attention_mask is None or (attention_mask.ndim == 2 and padded_on_the_right(attention_mask)):
            return CausalMask.of(embeddings, sample_lengths)
        return attention_mask

    def encode(
        self,
        pixel_values: Tensor | Sequence[Tensor] | None,
        pixel_values_volumes: Sequence[Tensor] | None,
        visual_table: Tensor | Sequence[Sequence[int]],
        volume_positions_mm: Sequence[Positions] | None = None,
        volume_kept: Sequence[Tensor] | None = None,
        question_ids: Sequence[Tensor] | None = None,
        visual_features: Sequence[VisualFeatures] | None = None,
        features_kept: Sequence[Tensor] | None = None,
        visuals_to_keep: Sequence[ProcessedVisual | None] | None = None,
    ) -> list[Tensor]:
        """Turn pixels or features into visual tokens of the LLM's width: one `(length, width)` a row of the table, in order."""
        rows = to_rows(visual_table)
        self.check_pixels(rows, pixel_values, pixel_values_volumes, visual_features)
        inputs = _visual_inputs(
            rows, pixel_values, pixel_values_volumes, volume_positions_mm, visual_features, visuals_to_keep
        )
        tokens = self._connect(inputs, question_ids)
        kept = [_kept_of(row, volume_kept, features_kept) for row in rows]
        return [
            block if chosen is None else block[chosen.to(block.device)]
            for block, chosen in zip(tokens, kept, strict=True)
        ]

    def _connect(self, inputs: VisualInputs, question_ids: Sequence[Tensor] | None) -> list[Tensor]:
        """Connect every image and volume once for all rows that share it, or for each row with the row's own question."""
        tokens: list[Tensor] = []
        buckets = {kind: self._buckets(kind, inputs, connect=True) for kind in KINDS}
        if question_ids is None:
            buckets = {
                kind: [Bucket(self._connected(kind, bucket.features), bucket.places) for bucket in found]
                for kind, found in buckets.items()
            }
        for number, row in enumerate(inputs.rows):
            features = _of_row(row, buckets[KINDS[row.kind]])
            if not features.connected:
                assert question_ids is not None
                connector = getattr(self, f"{KINDS[row.kind]}_connector")
                tokens.append(connector(features, self._guide(question_ids[number], row.tiles)).flatten(0, 1))
            else:
                tokens.append(features.streams[0].flatten(0, 1))
        return tokens

    def _connected(self, kind: str, features: VisualFeatures) -> VisualFeatures:
        connector = getattr(self, f"{kind}_connector")
        return features if features.connected else connected(connector, features)

    def _buckets(self, kind: str, inputs: VisualInputs, *, connect: bool) -> list[Bucket]:
        encoder = getattr(self, f"{kind}_encoder")
        if encoder is None:
            return []
        connector = getattr(self, f"{kind}_connector") if connect else None
        return encode_kind(kind, encoder, inputs, connector, self.keep_features, each_alone=self.each_alone)

    def visual_features(
        self,
        rows: Sequence[VisualRow],
        images: Tensor | Sequence[Tensor] | None,
        volumes: Sequence[Tensor] | None,
        positions_mm: Sequence[Positions] | None = None,
        features: Sequence[VisualFeatures] | None = None,
        to_keep: Sequence[ProcessedVisual | None] | None = None,
    ) -> list[VisualFeatures]:
        """What the encoders make of every row, before any connector: one entry a tile. Every pixel is encoded once."""
        inputs = _visual_inputs(rows, images, volumes, positions_mm, features, to_keep)
        buckets = {kind: self._buckets(kind, inputs, connect=False) for kind in KINDS}
        return [_of_row(row, buckets[KINDS[row.kind]]) for row in rows]

    def encode_images(self, images: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """`(C, H, W)` each to `(tokens, width)` each, without any question."""
        rows = [VisualRow(0, 0, 0, 0, 0, index, 1, 1, 1, 1, 0) for index in range(len(images))]
        return self._connect(_visual_inputs(rows, images, None, None, None, None), None)

    def encode_volumes(
        self, volumes: Sequence[Tensor], positions_mm: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """`(C, D, H, W)` each to `(tokens, width)` each, without any question."""
        rows = [VisualRow(0, 0, 0, 0, 1, index, 1, 1, 1, 1, 0) for index in range(len(volumes))]
        return self._connect(_visual_inputs(rows, None, volumes, positions_mm, None, None), None)

    def make_features(self, visual_inputs: Mapping[str, Any]) -> None:
        """Encode the visuals of a batch for `keep_features` alone, without their questions."""
        given = [
            visual_inputs.get(name)
            for name in ("pixel_values", "pixel_values_volumes", "volume_positions_mm", "visual_features", "visuals_to_keep")
        ]  # fmt: skip
        inputs = _visual_inputs(to_rows(visual_inputs["visual_table"]), *given)
        for kind in KINDS:
            self._buckets(kind, inputs, connect=True)

    def _guide(self, question: Tensor, times: int) -> Tensor | None:
        """The embedded question `(times, n, width)`; None where there is none."""
        if not len(question):
            return None
        embedding = self.get_input_embeddings()
        embedded: Tensor = embedding(question.to(embedding.weight.device))
        return embedded.expand(times, -1, -1)

    def scatter(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor,
        visual_tokens: Sequence[Tensor],
        rows: Sequence[VisualRow],
    ) -> Tensor:
        """Put every visual's tokens in its own place; each block is checked against the table, not only totals."""
        length = inputs_embeds.shape[1]
        for row, tokens in zip(rows, visual_tokens, strict=True):
            if len(tokens) != row.length:
                raise ValueError(
                    f"{_name(row)}: its place holds {row.length} placeholders, but encoder and connector gave {len(tokens)} "
                    "tokens. The processor and the model do not belong together."
                )
        positions = _places(rows, length).to(inputs_embeds.device, non_blocking=True)
        if input_ids is not None:
            self._check_places(input_ids, positions, rows)
        values = torch.cat(list(visual_tokens)).to(inputs_embeds)
        return inputs_embeds.flatten(0, 1).index_copy(0, positions, values).view_as(inputs_embeds)

    def _check_places(self, input_ids: Tensor, positions: Tensor, rows: Sequence[VisualRow]) -> None:
        """Every place holds its own kind of placeholder, and no placeholder is left over."""
        ids = {"image": self.config.image_token_id, "volume": self.config.volume_token_id}
        kinds = [ids[KINDS[row.kind]] for row in rows for _ in range(row.length)]
        expected = input_ids.new_full((input_ids.numel(),), -1).index_copy(
            0, positions, torch.tensor(kinds, dtype=torch.long).to(input_ids.device, non_blocking=True)
        )
        flat = input_ids.flatten()
        placeholders = torch.zeros_like(flat, dtype=torch.bool)
        for known in ids.values():
            placeholders |= flat == (-1 if known is None else known)
        wrong = (placeholders | (expected >= 0)) & (flat != expected)
        message = (
            "placeholders and visual table do not agree: a placeholder without an image or volume, "
            "or one of the other kind"
        )
        if _overlap(rows):
            raise ValueError(f"{message}; two visuals share a place of the batch.")
        if not self._awaited(wrong):
            torch._assert_async(~wrong.any(), message)
        elif bool(wrong.any()):
            raise ValueError(f"{message}; first at token {int(wrong.nonzero()[0])} of the batch.")

    def _awaited(self, found: Tensor) -> bool:
        """Whether the host may look at a value now: always in its own memory, on a device only outside of training."""
        return found.device.type == "cpu" or not (self.training and torch.is_grad_enabled())

    def check_pixels(
        self,
        rows: Sequence[VisualRow],
        images: Tensor | Sequence[Tensor] | None,
        volumes: Sequence[Tensor] | None,
        features: Sequence[VisualFeatures] | None = None,
    ) -> None:
        """Raise ValueError unless pixels and features are those the table was written for."""
        num_features = 0 if features is None else len(features)
        for row in rows:
            if row.encoded and row.index >= num_features:
                raise ValueError(
                    f"{_name(row)} has features {row.index}, but the batch holds {num_features}."
                )
        rows = [row for row in rows if not row.encoded]
        given = {
            "image": 0 if images is None else len(images),
            "volume": 0 if volumes is None else len(volumes),
        }
        pixels = []
        for row in rows:
            kind = KINDS[row.kind]
            if row.index + row.tiles > given[kind]:
                raise ValueError(
                    f"{_name(row)} is number {row.index}, but the batch holds {given[kind]} {kind}s."
                )
            if kind == "image":
                assert images is not None
                tiles = images[row.index : row.index + row.tiles]
                pixels.append(tiles if isinstance(tiles, Tensor) else torch.stack(list(tiles)))
            else:
                assert volumes is not None
                pixels.append(volumes[row.index])
        if pixels and all(
            block.dtype == torch.float32 for block in pixels
        ):  # a cast changes the bits that are compared
            self._check_fingerprints(rows, torch.stack([fingerprint(block) for block in pixels]))

    def _check_fingerprints(self, rows: Sequence[VisualRow], found: Tensor) -> None:
        if not self._awaited(found):
            written = torch.tensor([row.fingerprint for row in rows]).to(found.device, non_blocking=True)
            torch._assert_async(
                (found == written).all(), "pixels are not those the processor bound to their place"
            )
            return
        for row, value in zip(rows, found.tolist(), strict=True):
            if value != row.fingerprint:
                raise ValueError(f"{_name(row)}: its pixels are not those the processor bound to this place.")

    def touch_idle_parts(self, used: set[str]) -> Tensor:
        """Run every trainable encoder and connector that this batch does not use, and return zero.

        All ranks then run the same parts each step, whatever their batch holds: no rank waits for another.
        """
        zero = self.get_input_embeddings().weight.new_zeros(())
        for kind in KINDS:
            encoder, connector = getattr(self, f"{kind}_encoder"), getattr(self, f"{kind}_connector")
            if (
                kind in used
                or encoder is None
                or not any(p.requires_grad for p in [*encoder.weights(), *connector.parameters()])
            ):
                continue
            size = getattr(self.config, f"{kind}_size")
            guided = connector.part_config.guided_by_text
            text = next(encoder.weights()).new_zeros((1, 1, connector.output_width)) if guided else None
            zero = (
                zero
                + connector(idle_features(encoder, size, run=not self.each_alone), text).sum().to(zero) * 0.0
            )
        return zero

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


def _places(rows: Sequence[VisualRow], length: int) -> Tensor:
    """Where in the flat batch of rows of `length` the tokens of the visuals go."""
    starts = [row.row * length + row.start for row in rows]
    ends = [start + row.length for start, row in zip(starts, rows, strict=True)]
    return torch.cat([torch.arange(start, end) for start, end in zip(starts, ends, strict=True)])


def _overlap(rows: Sequence[VisualRow]) -> bool:
    """Whether two visuals claim one place."""
    spans = sorted((row.row, row.start, row.start + row.length) for row in rows)
    return any(one[0] == other[0] and one[2] > other[1] for one, other in pairwise(spans))


def _visual_inputs(
    rows: Sequence[VisualRow],
    images: Tensor | Sequence[Tensor] | None,
    volumes: Sequence[Tensor] | None,
    positions_mm: Sequence[Positions] | None,
    features: Sequence[VisualFeatures] | None,
    to_keep: Sequence[ProcessedVisual | None] | None,
) -> VisualInputs:
    slices = None
    if positions_mm is not None:
        slices = [
            None if where is None else torch.as_tensor(where, dtype=torch.float32) for where in positions_mm
        ]
    return VisualInputs(
        rows, () if images is None else images, volumes or (), slices, features or (), to_keep
    )


def _of_row(row: VisualRow, buckets: Sequence[Bucket]) -> VisualFeatures:
    """The features of a row, one entry a tile."""
    key = (row.encoded, row.index)
    bucket = next(bucket for bucket in buckets if key in bucket.places)
    return bucket.features.pick(bucket.places[key], row.tiles)


def _kept_of(
    row: VisualRow, volume_kept: Sequence[Tensor] | None, features_kept: Sequence[Tensor] | None
) -> Tensor | None:
    """Which of the connector's tokens of a row stay; None where all do."""
    if KINDS[row.kind] == "image":
        return None
    kept = features_kept if row.encoded else volume_kept
    return None if kept is None else kept[row.index]


def _name(row: VisualRow) -> str:
    return f"{KINDS[row.kind]} at row {row.row}, token {row.start}"


AutoModelForImageTextToText.register(MedMVLConfig, MedMVLForConditionalGeneration, exist_ok=True)
