"""Labels by a classifier of yours: a folder with a Hugging Face sequence classifier, such as a RadBERT trained on CT-RATE."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from medmvl.errors import UserError
from medmvl.tasks.metrics.optional import load_library

BATCH = 16
THRESHOLD = 0.5


class ClassifierLabeler:
    """Every label of the classifier's `id2label`, by itself: present where its sigmoid is above the threshold."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; the weights are loaded with the first text.

        Args:
            folder: with `config.json` (`id2label` names the findings), weights and tokenizer.
        """
        self.folder = folder

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classifier's labels."""
        labels = self._model.config.id2label
        return tuple(str(labels[number]) for number in sorted(labels))

    def label(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """1 or 0 for each label; texts are cut at the classifier's longest input."""
        torch = load_library("torch", "pip install torch", "a classifier as labeler")
        labels: list[dict[str, float]] = []
        for start in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                return_tensors="pt",
                max_length=self._longest,
            )
            with torch.inference_mode():
                above = self._model(**batch).logits.sigmoid() > THRESHOLD
            labels += [dict(zip(self.names, map(float, row.tolist()), strict=True)) for row in above]
        return labels

    @property
    def _longest(self) -> int:
        limit = getattr(self._model.config, "max_position_embeddings", None)
        return min(int(self._tokenizer.model_max_length), int(limit or 512), 512)

    @cached_property
    def _model(self) -> Any:
        return self._load("AutoModelForSequenceClassification").eval()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._load("AutoTokenizer")

    def _load(self, name: str) -> Any:
        transformers = load_library("transformers", "pip install transformers", "a classifier as labeler")
        try:
            return getattr(transformers, name).from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.folder} is no Hugging Face sequence classifier with its tokenizer: {error}"
            ) from None
