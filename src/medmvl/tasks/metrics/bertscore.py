"""BERTScore (Zhang et al., ICLR 2020) with any encoder on this machine: greedy cosine matches of token states.

As the `bert-score` library without idf weights and baseline rescaling. A value belongs to its encoder and layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medmvl.errors import UserError
from medmvl.tasks.metrics.optional import load_library, local_weights
from medmvl.tasks.metrics.tally import Tally, mean_tally

BATCH = 16
States = tuple[Any, Any]
"""Hidden states of a text's tokens, and which of them count: tensors, in a room that does without torch."""


def bertscore(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    folder: Path | None,
    *,
    layer: int = -1,
    part: str = "f1",
) -> Tally:
    """BERTScore per sample, the best over references; an empty side scores 0.

    Args:
        answers: one text per sample.
        references: one or more texts per sample.
        folder: a saved encoder with its tokenizer, such as `roberta-large`.
        layer: which hidden states; `bert-score` takes 17 for roberta-large.
        part: `precision`, `recall` or `f1`.

    Raises:
        UserError: there is no encoder; nothing is downloaded.
    """
    encoder = _Encoder(local_weights(folder, "BERTScore", "a saved encoder, such as roberta-large"), layer)
    states = encoder.encode(
        {text for text in (*answers, *(t for texts in references for t in texts)) if text.strip()}
    )
    return mean_tally(
        max(_match(states.get(answer), states.get(text), part) for text in texts)
        for answer, texts in zip(answers, references, strict=True)
    )


def _match(given: States | None, wanted: States | None, part: str) -> float:
    """A separator may be what a word is most like, but is not itself counted, as in `bert-score`."""
    if given is None or wanted is None:
        return 0.0
    (states, counted), (others, others_counted) = given, wanted
    if not counted.any() or not others_counted.any():
        return 0.0
    similar = states @ others.T
    precision = float(similar.max(1).values[counted].mean())
    recall = float(similar.max(0).values[others_counted].mean())
    values = {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}
    return values[part]


class _Encoder:
    """Normalised hidden states of a text's tokens, and which of them are words rather than separators."""

    def __init__(self, folder: Path, layer: int) -> None:
        self.torch = load_library("torch", "pip install torch", "BERTScore")
        transformers = load_library("transformers", "pip install transformers", "BERTScore")
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} is no encoder with its tokenizer: {error}") from None
        self.layer = layer

    def encode(self, texts: set[str]) -> dict[str, States]:
        """Text to states (tokens, width) and what counts (tokens,)."""
        ordered = sorted(texts, key=len)
        longest = min(
            int(self.tokenizer.model_max_length),
            int(getattr(self.model.config, "max_position_embeddings", 514)) - 2,
        )
        separators = {self.tokenizer.cls_token_id, self.tokenizer.sep_token_id}
        states: dict[str, States] = {}
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            inputs = self.tokenizer(
                batch, padding=True, truncation=True, max_length=longest, return_tensors="pt"
            )
            with self.torch.inference_mode():
                hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer]
            hidden = self.torch.nn.functional.normalize(hidden.float(), dim=-1)
            masks = inputs["attention_mask"].bool()
            for text, row, mask, ids in zip(batch, hidden, masks, inputs["input_ids"], strict=True):
                counted = self.torch.tensor([int(token) not in separators for token in ids[mask]])
                states[text] = row[mask], counted
        return states
