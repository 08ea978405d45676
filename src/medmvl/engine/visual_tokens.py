"""Visual tokens: scans through encoder and connector, each different one once, and not again while it is cached."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medmvl.lru import BoundedLRU
from medmvl.models.collation import collate
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.visuals import ProcessedSample, ProcessedVisual


class VisualTokens:
    """The tokens of scans, at most `max_bytes` of them kept; of one model in one number type."""

    def __init__(self, model: MedMVLForConditionalGeneration, max_bytes: int) -> None:
        self._model = model
        self._cache: BoundedLRU[str, Tensor] = BoundedLRU(max_bytes, lambda tokens: tokens.nbytes)

    @staticmethod
    def key(visual: ProcessedVisual, owner: str) -> str:
        """Names a scan: its owner, and every bit the encoder reads. Nobody finds what another brought."""
        return f"{owner} {visual.digest}"

    def of(self, visuals: Sequence[tuple[ProcessedVisual, str]]) -> list[Tensor]:
        """`(length, width)` for each pair of scan and owner, in order."""
        keys = [self.key(visual, owner) for visual, owner in visuals]
        found = {key: self._cache.get(key) for key in keys}
        missing = {key: visual for key, (visual, _) in zip(keys, visuals, strict=True) if found[key] is None}
        if missing:
            for key, encoded in zip(missing, self._encode(list(missing.values())), strict=True):
                found[key] = encoded
                self._cache.put(key, encoded.clone())  # a view would keep the whole batch alive
        return [tokens for key in keys if (tokens := found[key]) is not None]

    def clear(self) -> None:
        """Forget everything."""
        self._cache.clear()

    def __len__(self) -> int:
        return len(self._cache)

    def _encode(self, visuals: list[ProcessedVisual]) -> list[Tensor]:
        """Encode different scans, as one batch row that holds nothing else; each is read alone, as nothing trains."""
        row = ProcessedSample(
            name="visuals",
            input_ids=torch.zeros(1, dtype=torch.long),
            labels=None,
            visuals=tuple(visuals),
            starts=(0,) * len(visuals),
        )
        batch, device = collate([row], pad_id=0), self._model.device
        images, volumes = batch.get("pixel_values"), batch.get("pixel_values_volumes")
        tokens: list[Tensor] = self._model.encode(
            None if images is None else [tile.to(device) for tile in images],
            None if volumes is None else [volume.to(device) for volume in volumes],
            batch["visual_table"],
            batch.get("volume_positions_mm"),
            batch.get("volume_kept"),
            batch.get("question_ids"),
            batch.get("visual_features"),
            batch.get("features_kept"),
            batch.get("visuals_to_keep"),
        )
        return tokens
