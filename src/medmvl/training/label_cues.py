"""What the label heads of a `classification` stage say of a scan, as a line before the question (DCP-PD, arXiv 2604.10437).

A classifier sees findings that an LLM, taught a few hundred answers, does not. Its line is left out of a share of the training
samples, so that the LLM does not rest on it alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate.utils import send_to_device
from safetensors.torch import load_file

from medmvl.data.dataset import SampleDataset
from medmvl.data.feature_cache import feature_reader, kinds_of
from medmvl.data.sources import LoadedSource
from medmvl.data.trained_on import TrainedOn
from medmvl.errors import UserError
from medmvl.models.assemble import load
from medmvl.schema import Message, Sample, TextBlock
from medmvl.training.objectives import Classification
from medmvl.training.run_folder import HEADS_ABOUT, HEADS_FILE
from medmvl.training.stage_data import Collate, StageDataset, Studies, study_of

BATCH = 8
WORDS = {
    "en": ("A classifier suggests: {}.", ", ", "no finding", "{} ({})"),
    "zh": ("分类器提示：{}。", "、", "无异常", "{}（{}）"),
}
"""By language: the line, what is between two labels, no label, and a label with its place."""

Probabilities = Mapping[str, float]


@dataclass(frozen=True)
class Cues:
    """How lines are made of probabilities."""

    threshold: float = 0.5
    """A label is named from this probability on."""
    dropout: float = 0.0
    """Share of the samples that get no line, chosen by seed and id."""
    seed: int = 0

    def of(self, sample: Sample, found: Probabilities) -> Sample:
        """The sample with its line before the first question."""
        if self._left_out(sample.id):
            return sample
        line = cue_line([name for name, value in found.items() if value >= self.threshold], sample.language)
        messages = list(sample.messages)
        first = next(number for number, turn in enumerate(messages) if turn.role == "user")
        messages[first] = _with_line(messages[first], line)
        return sample.model_copy(update={"messages": tuple(messages)})

    def _left_out(self, name: str) -> bool:
        drawn = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") < self.dropout * 2**64


def cue_line(names: Sequence[str], language: str | None) -> str:
    """The line for labels such as `effusion` and `effusion/left`, in English where the language is not known."""
    line, between, nothing, place = WORDS[language or "en"]
    said = [place.format(*name.split("/", 1)) if "/" in name else name for name in names]
    return line.format(between.join(said) or nothing)


def _with_line(turn: Message, line: str) -> Message:
    at = next((number for number, block in enumerate(turn.content) if isinstance(block, TextBlock)), None)
    if at is None:
        return turn.model_copy(update={"content": (*turn.content, TextBlock(text=line))})
    text = turn.content[at]
    assert isinstance(text, TextBlock)
    content = (*turn.content[:at], TextBlock(text=f"{line}\n{text.text}"), *turn.content[at + 1 :])
    return turn.model_copy(update={"content": content})


class LabelHeads:
    """A model's encoders with the label heads that a `classification` stage taught.

    Args:
        folder: the stage's model.
        device: where the encoders run.

    Raises:
        UserError: the folder has no label heads.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        said = folder / HEADS_ABOUT
        about = json.loads(said.read_text("utf-8")) if said.is_file() else {}
        if about.get("objective") != "classification":
            raise UserError(
                f"{folder} has no label heads; name the model of a stage with objective classification, "
                "such as RUN/stages/01-labels/model"
            )
        self.model, self.processor = load(folder)
        self.names: tuple[str, ...] = tuple(about["labels"])
        self.objective = Classification(self.model, self.names).eval()
        self.objective.heads.load_state_dict(load_file(folder / HEADS_FILE))
        self.objective.to(device)
        self.trained_on = TrainedOn.read(folder) or TrainedOn()

    def studies(self, source: LoadedSource) -> Studies:
        """The studies of a source that these encoders can read.

        Raises:
            UserError: there is none.
        """
        kinds = kinds_of(self.model)
        found = Studies(source.samples, "nothing", kinds)
        if not len(found):
            raise UserError(
                f"{source.name}: no sample has visuals that the heads read ({' and '.join(kinds)})"
            )
        return found

    def probabilities(
        self, source: LoadedSource, studies: Studies
    ) -> Iterator[tuple[tuple[str, ...], Probabilities]]:
        """For each of a source's `studies`, by the paths of its current visuals: how likely each label is."""
        data = StageDataset(
            SampleDataset([replace(source, samples=studies)], self.processor, supervised=False)
        )
        reader = feature_reader(self.model, self.processor)
        data.samples.features, self.model.keep_features = reader, reader.keep
        collate = Collate(self.processor, "classification", self.names)
        for start in range(0, len(data), BATCH):
            items = [data[index] for index in range(start, min(start + BATCH, len(data)))]
            batch = send_to_device(collate(items), self.model.device)
            sums = torch.zeros(len(items), len(self.names), device=self.model.device)
            with torch.no_grad():
                logits = self.objective.logits(sums, batch)
            for item, row in zip(items, logits.double().sigmoid().tolist(), strict=True):
                yield study_of(item.sample), dict(zip(self.names, row, strict=True))
