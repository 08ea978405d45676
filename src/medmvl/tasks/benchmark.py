"""Benchmark: which samples of a converted data set a task is about, how it asks them, and how answers are judged.

Evaluation and training mixtures use the same object: a data source of a recipe names it with `task`, and then
trains on exactly what is asked in evaluation. The table of all of them is `medmvl.datasets.public.TASKS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from medmvl.errors import UserError
from medmvl.schema import Message, Sample, TextBlock, iter_samples
from medmvl.tasks.task import Task

AS_IT_IS = "{question}"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One task of a public data set, or of phantoms."""

    name: str
    title: str
    data: str
    """Name of the converter (`medmvl data convert NAME`), or `phantoms`."""
    question_types: tuple[str, ...] = ("*",)
    """Patterns of `target.question_type`, such as `"choice_*"`."""
    languages: tuple[str, ...] = ()
    """Languages of the samples; all of them where empty."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Language to a template with `{question}`; a question stays as it is where there is none."""
    protocol: str = "strict"
    """The published convention of this benchmark; `strict` is always reported next to it."""
    one_per: Literal["sample", "study"] = "sample"
    """`study`: only the first sample of every study, where several volumes share one report."""

    def wants(self, sample: Sample) -> bool:
        """Whether a sample of the converted data belongs to this task."""
        question_type = sample.target.question_type if sample.target is not None else (sample.task or "open")
        spoken = not self.languages or sample.language in self.languages
        return spoken and any(fnmatchcase(question_type, pattern) for pattern in self.question_types)

    def ask(self, sample: Sample) -> Sample:
        """The sample with the last question put as this task puts it."""
        template = self.prompts.get(sample.language or "en", AS_IT_IS)
        if template == AS_IT_IS:
            return sample
        last = max(n for n, message in enumerate(sample.messages) if message.role == "user")
        messages = list(sample.messages)
        messages[last] = _rephrase(messages[last], template)
        return sample.model_copy(update={"messages": tuple(messages)})

    def indices(self, samples: Iterable[Sample]) -> Iterator[int]:
        """Yield which of the samples belong to this task."""
        studies: set[str] = set()
        for index, sample in enumerate(samples):
            if not self.wants(sample):
                continue
            if self.one_per == "study" and sample.study is not None:
                if sample.study in studies:
                    continue
                studies.add(sample.study)
            yield index

    def select(self, samples: Iterable[Sample]) -> list[Sample]:
        """The samples of this task, as it asks them, in their order."""
        everything = list(samples)
        return [self.ask(everything[index]) for index in self.indices(everything)]

    def load(self, data: Path, split: str = "test") -> Task:
        """The task over one split of converted data.

        Args:
            data: the folder `medmvl data convert` wrote, or one of its files.
            split: which file of the folder.

        Raises:
            UserError: where the file is not there or has none of this task's samples.
        """
        path = data / f"{split}.jsonl" if data.is_dir() else data
        if not path.is_file():
            raise UserError(
                f"task {self.name}: there is no {path}; expected what `medmvl data convert {self.data}` wrote"
            )
        return self.task(iter_samples(path), str(path))

    def task(self, samples: Iterable[Sample], where: str = "the data") -> Task:
        """The task over samples that are at hand.

        Raises:
            UserError: where none of them is this task's.
        """
        chosen = self.select(samples)
        if not chosen:
            spoken = f" in {', '.join(self.languages)}" if self.languages else ""
            raise UserError(
                f"task {self.name}: no sample of {where} has a question type like {', '.join(self.question_types)}{spoken}; "
                f"expected data of `medmvl data convert {self.data}`"
            )
        return Task(self.name, chosen, self.protocol)


def _rephrase(message: Message, template: str) -> Message:
    """Put the last text block of a message into a template."""
    blocks = list(message.content)
    last = max((n for n, block in enumerate(blocks) if isinstance(block, TextBlock)), default=None)
    if last is None:
        return message
    text = blocks[last]
    assert isinstance(text, TextBlock)
    blocks[last] = TextBlock(text=template.replace(AS_IT_IS, text.text))
    return message.model_copy(update={"content": tuple(blocks)})
