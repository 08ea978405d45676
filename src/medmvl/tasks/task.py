"""Task: samples, what a model is asked about them, and how its answers are judged, in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medmvl.errors import SampleError
from medmvl.schema import Sample, Target, VolumeBlock
from medmvl.tasks.judge import Judgement, judge, target_of


@dataclass(frozen=True, order=True)
class Group:
    """What one number is about: it never mixes 2D with 3D, types of question, or languages."""

    modality: str
    """`"2D"`, `"3D"`, `"2D+3D"` or `"text"`."""
    question_type: str
    language: str
    """`"en"`, `"zh"`, or `"-"` where the data does not say."""

    def __str__(self) -> str:
        return f"{self.modality} {self.question_type} {self.language}"


@dataclass(frozen=True)
class Task:
    """Samples with known answers. Training mixtures and evaluation use the same object."""

    name: str
    samples: Sequence[Sample]
    protocol: str = "strict"
    """Name of the published convention; `strict` is always reported next to it."""

    def __post_init__(self) -> None:
        """Check that every sample has a truth and an id of its own.

        Raises:
            SampleError: naming the first sample that cannot be judged, or shares its id.
        """
        seen: set[str] = set()
        for sample in self.samples:
            if sample.id in seen:
                raise SampleError(f"task {self.name}: two samples have the id {sample.id!r}; ids must differ")
            if target_of(sample) is None:
                raise SampleError(
                    f"task {self.name}: sample {sample.id!r} has neither a target nor a last "
                    "assistant turn to judge by"
                )
            seen.add(sample.id)

    def target(self, sample: Sample) -> Target:
        """The truth about one of the samples."""
        target = target_of(sample)
        assert target is not None, sample.id
        return target

    def judge(self, sample: Sample, text: str) -> Judgement:
        """Judge an answer to one of the samples."""
        asked = next((message.text for message in reversed(sample.messages) if message.role == "user"), "")
        return judge(text, self.target(sample), asked)


def group_of(sample: Sample) -> Group:
    """The group a sample is counted in."""
    modalities = {"3D" if isinstance(block, VolumeBlock) else "2D" for block in sample.visuals}
    target = target_of(sample)
    question_type = target.question_type if target is not None else (sample.task or "open")
    return Group("+".join(sorted(modalities)) or "text", question_type, sample.language or "-")
