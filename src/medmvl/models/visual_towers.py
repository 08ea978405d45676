"""The visual half of the model: encoders and connectors turn images and volumes into tokens of the LLM's width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from medmvl.models.configuration import MedMVLConfig
from medmvl.models.connectors import Connector
from medmvl.models.encoders import Encoder, ImageEncoder, VolumeEncoder
from medmvl.models.features import VisualFeatures
from medmvl.models.visual_encoding import Bucket, Keep, connected, encode_kind, idle_features
from medmvl.models.visual_inputs import Positions, VisualInputs
from medmvl.models.visual_table import KINDS, VisualRow, to_rows
from medmvl.models.visuals import ProcessedVisual


class VisualTowers(PreTrainedModel):
    """What `MedMVLForConditionalGeneration` does before any text: encode pixels, connect features."""

    config: MedMVLConfig
    image_encoder: ImageEncoder | None
    image_connector: Connector | None
    volume_encoder: VolumeEncoder | None
    volume_connector: Connector | None
    keep_features: Keep | None = None
    """Takes the features of `visuals_to_keep` when they are made."""
    each_alone: bool = True
    """True where frozen encoders read each visual alone, and idle ones not at all. Not where weights are sharded: there all
    processes call the same parts."""

    def encoder_of(self, kind: str) -> Encoder | None:
        """The encoder of `"image"` or `"volume"`; None where the model does not read that kind."""
        return self.image_encoder if kind == "image" else self.volume_encoder

    def connector_of(self, kind: str) -> Connector | None:
        """The connector of `"image"` or `"volume"`; None where the model does not read that kind."""
        return self.image_connector if kind == "image" else self.volume_connector

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
        """Turn pixels or features into visual tokens of the LLM's width: one `(length, width)` per row of the table, in order.

        Args:
            pixel_values: `(tiles, C, H, W)`, or `(C, H, W)` each: all tiles of all images of the batch.
            pixel_values_volumes: `(C, D, H, W)` each, all volumes of the batch.
            visual_table: `(visuals, columns)` or its rows, see `medmvl.models.visual_table`.
            volume_positions_mm: `(D,)` each, where the slices of a volume lie, a tensor or numbers; None or NaN where unknown.
            volume_kept: `(kept,)` each, which of the connector's tokens of a volume stay; None where all do.
            question_ids: `(n,)` each, one per row of the table: the question that guides its connector; None where none is.
            visual_features: what frozen encoders made of some visuals before, instead of their pixels.
            features_kept: as `volume_kept` for each of `visual_features`; None where all tokens stay.
            visuals_to_keep: for every row None, or the visual that `keep_features` gets with its features.

        Raises:
            ValueError: pixels or features are not those that the table was written for.
        """
        inputs = VisualInputs.collect(
            to_rows(visual_table),
            pixel_values,
            pixel_values_volumes,
            volume_positions_mm,
            visual_features,
            visuals_to_keep,
        )
        return self.encode_rows(inputs, question_ids, volume_kept, features_kept)

    def encode_rows(
        self,
        inputs: VisualInputs,
        question_ids: Sequence[Tensor] | None = None,
        volume_kept: Sequence[Tensor] | None = None,
        features_kept: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """As `encode`, of visuals whose table, pixels and features are together."""
        inputs.check(training=self.training)
        tokens = self._connect(inputs, question_ids)
        kept = [_kept_of(row, volume_kept, features_kept) for row in inputs.rows]
        return [
            block if chosen is None else block[chosen.to(block.device)]
            for block, chosen in zip(tokens, kept, strict=True)
        ]

    def visual_features(self, inputs: VisualInputs) -> list[VisualFeatures]:
        """What the encoders make of every row, before any connector: one entry per tile. Every pixel is encoded once."""
        inputs.check(training=self.training)
        buckets = {kind: self._buckets(kind, inputs, connect=False) for kind in KINDS}
        return [_of_row(row, buckets[KINDS[row.kind]]) for row in inputs.rows]

    def encode_images(self, images: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """`(C, H, W)` each to `(tokens, width)` each, without any question."""
        rows = [VisualRow(0, 0, 0, 0, index, 1, 1, 1, 1, 0) for index in range(len(images))]
        return self._connect(VisualInputs.collect(rows, images), None)

    def encode_volumes(
        self, volumes: Sequence[Tensor], positions_mm: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """`(C, D, H, W)` each to `(tokens, width)` each, without any question."""
        rows = [VisualRow(0, 0, 0, 1, index, 1, 1, 1, 1, 0) for index in range(len(volumes))]
        return self._connect(VisualInputs.collect(rows, None, volumes, positions_mm), None)

    def make_features(self, visual_inputs: Mapping[str, Any]) -> None:
        """Encode the visuals of a batch for `keep_features` alone, without their questions."""
        inputs = VisualInputs.from_batch(visual_inputs)
        for kind in KINDS:
            self._buckets(kind, inputs, connect=True)

    def touch_idle_parts(self, used: set[str]) -> Tensor:
        """Run every trainable encoder and connector that this batch does not use, and return zero.

        All ranks then run the same parts each step, whatever their batch holds: no rank waits for another.
        """
        zero = self._text_embedding().weight.new_zeros(())
        for kind in KINDS:
            encoder, connector = self.encoder_of(kind), self.connector_of(kind)
            if kind in used or encoder is None or connector is None or not _trains(encoder, connector):
                continue
            guided = connector.part_config.guided_by_text
            text = next(encoder.weights()).new_zeros((1, 1, connector.output_width)) if guided else None
            features = idle_features(encoder, getattr(self.config, f"{kind}_size"), run=not self.each_alone)
            zero = zero + connector(features, text).sum().to(zero) * 0.0
        return zero

    def _buckets(self, kind: str, inputs: VisualInputs, *, connect: bool) -> list[Bucket]:
        encoder = self.encoder_of(kind)
        if encoder is None:
            return []
        connector = self.connector_of(kind) if connect else None
        return encode_kind(kind, encoder, inputs, connector, self.keep_features, each_alone=self.each_alone)

    def _connect(self, inputs: VisualInputs, question_ids: Sequence[Tensor] | None) -> list[Tensor]:
        """Connect every image and volume once for all rows that share it, or for each row with the row's own question."""
        buckets = {kind: self._buckets(kind, inputs, connect=True) for kind in KINDS}
        if question_ids is None:
            buckets = {
                kind: [Bucket(self._connected(kind, bucket.features), bucket.places) for bucket in found]
                for kind, found in buckets.items()
            }
        tokens: dict[int, Tensor] = {}
        guided: dict[tuple[str, Hashable, int], list[tuple[int, VisualFeatures]]] = defaultdict(list)
        questions = question_ids or ()
        for number, row in enumerate(inputs.rows):
            kind = KINDS[row.kind]
            features = _of_row(row, buckets[kind])
            if features.connected:
                tokens[number] = features.streams[0].flatten(0, 1)
            else:
                guided[kind, features.shape, len(questions[number])].append((number, features))
        for (kind, _, _), members in guided.items():
            tokens |= self._answering(kind, members, questions)
        return [tokens[number] for number in range(len(inputs.rows))]

    def _connected(self, kind: str, features: VisualFeatures) -> VisualFeatures:
        connector = self.connector_of(kind)
        assert connector is not None
        return features if features.connected else connected(connector, features)

    def _answering(
        self, kind: str, members: Sequence[tuple[int, VisualFeatures]], question_ids: Sequence[Tensor]
    ) -> dict[int, Tensor]:
        """`(tokens, width)` of each row, of one shape, for its own question of one length; an empty one guides nothing."""
        connector = self.connector_of(kind)
        assert connector is not None
        embedded = None
        if len(question_ids[members[0][0]]):
            embedding = self._text_embedding()
            asked = torch.stack(
                [question_ids[number] for number, features in members for _ in range(len(features))]
            )
            embedded = embedding(asked.to(embedding.weight.device))
        found: Tensor = connector(VisualFeatures.join([features for _, features in members]), embedded)
        blocks = torch.split(found, [len(features) for _, features in members])
        return {number: block.flatten(0, 1) for (number, _), block in zip(members, blocks, strict=True)}

    def _text_embedding(self) -> nn.Embedding:
        return cast(nn.Embedding, self.get_input_embeddings())


def _trains(encoder: Encoder, connector: Connector) -> bool:
    """Whether any weight of the two has a gradient."""
    return any(weight.requires_grad for weight in (*encoder.weights(), *connector.parameters()))


def _of_row(row: VisualRow, buckets: Sequence[Bucket]) -> VisualFeatures:
    """The features of a row, one entry per tile."""
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
