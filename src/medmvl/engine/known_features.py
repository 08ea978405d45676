"""Features of files that were kept on this machine, in training or in an evaluation: found again, and made where missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medmvl.data.entry_cache import default_cache_dir
from medmvl.data.feature_cache import FeatureCache, FeatureReader, feature_reader, kinds_of
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor


class KnownFeatures:
    """The kept features of one model."""

    def __init__(self, model: MedMVLForConditionalGeneration, processor: MedMVLProcessor) -> None:
        self._model = model
        self._processor = processor
        self._reader: tuple[list[int], FeatureReader] | None = None

    def reader(self) -> FeatureReader | None:
        """Finds what was kept for the weights as they are now; None where nothing was kept on this machine."""
        if not FeatureCache.place(default_cache_dir()).is_dir():
            return None
        versions = self._versions()
        if self._reader is None or self._reader[0] != versions:
            self._reader = versions, feature_reader(self._model, self._processor)
        return self._reader[1]

    @contextmanager
    def keeping(self) -> Iterator[FeatureReader]:
        """Finds what was kept, while what is missing is made and kept."""
        features = feature_reader(self._model, self._processor)
        self._model.keep_features = features.keep
        try:
            yield features
        finally:
            self._model.keep_features = None

    def _versions(self) -> list[int]:
        """Numbers that change with the weights of encoders and connectors."""
        parts = [
            part
            for kind in kinds_of(self._model)
            for part in (self._model.encoder_of(kind), self._model.connector_of(kind))
            if part is not None
        ]
        return [tensor._version for part in parts for tensor in (*part.parameters(), *part.buffers())]
