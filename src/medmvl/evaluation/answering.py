"""The answers of an evaluation: as asked, without the image, with a swapped one, shifted, reworded; kept in files.

An interrupted evaluation continues from these files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from medmvl.data.trained_on import TrainedOn
from medmvl.datasets.loader import ImageLoader
from medmvl.engine.answer_file import read_answers
from medmvl.engine.options import GenerationOptions
from medmvl.engine.process_group import ProcessGroup
from medmvl.engine.request import Failure
from medmvl.evaluation.controls import SwappedImages, swap_images
from medmvl.evaluation.robustness import SHIFTS, shifted
from medmvl.json_types import JsonMapping
from medmvl.schema import Sample
from medmvl.tasks.rewording import COUNT, reworded

CLOSED_TOKENS = 32
"""Token limit for closed questions."""
Progress = Callable[[str, int, int], None]
"""Called with the name of what runs, how many more samples are done, and how many there are."""
Advance = Callable[[int], None]
"""Called with how many more samples are done."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation runs."""

    max_new_tokens: int = 256
    """Token limit for open questions and reports."""
    batch_size: int = 64
    """Samples answered together."""
    controls: bool = True
    """Run the controls: majority answer, no image, swapped image."""
    seed: int = 0
    """Seed for the bootstrap, the image swap and the noise of `robustness`."""
    robustness: tuple[str, ...] = ()
    """Names in `medmvl.evaluation.robustness.SHIFTS`: answer again with shifted images."""
    calibration: bool = False
    """Score the choices of closed questions by their likelihood."""
    consistency: bool = False
    """Compare the answers to the same question in English and in Chinese, and in other words."""
    protocols: tuple[str, ...] = ()
    """Published conventions that also score the answers, `strict` next to them."""
    bar: float | None = None
    """Say which closed questions score below this."""
    thinking: bool | None = None
    """True: the model reasons before it answers, False: it does not, None: as it was made. Reasoning is never scored."""


class Answerer(Protocol):
    """What can be evaluated: an `Engine` on this machine, or an `Endpoint`."""

    @property
    def identity(self) -> JsonMapping:
        """What `results.json` says about the model: a digest as `model`, and more."""
        ...

    @property
    def trained_on(self) -> TrainedOn | None:
        """Patients that the model was trained on; None where it does not say."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Notes on what was not done as asked."""
        ...

    @property
    def thinks(self) -> bool:
        """Whether the model reasons before it answers by default."""
        ...

    def answer_samples(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        options: GenerationOptions,
        *,
        batch_size: int,
        processes: ProcessGroup,
        progress: Advance | None,
    ) -> list[Failure]:
        """Answer into the file `out`, see `medmvl.engine.batch.answer_samples`."""
        ...

    def choice_logprobs(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        *,
        batch_size: int,
        processes: ProcessGroup,
        progress: Advance | None,
    ) -> dict[str, list[float]]:
        """Log-likelihoods of the choices of closed samples, see `medmvl.engine.likelihood.choice_logprobs`."""
        ...


@dataclass(frozen=True)
class Answers:
    """Everything that was answered, by the id of the sample; in the controls a failed answer is the empty text."""

    texts: Mapping[str, str]
    """Answers as first asked, without the samples that failed."""
    failures: Sequence[Failure]
    unfinished: int = 0
    """Answers that are empty, as the tokens ran out within their reasoning."""
    no_image: Mapping[str, str] = field(default_factory=dict)
    swapped: SwappedImages = field(default_factory=lambda: SwappedImages(()))
    """The samples of the swapped-image control, and those that have no partner."""
    swapped_image: Mapping[str, str] = field(default_factory=dict)
    shifts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Answers about shifted images, by the name of the shift."""
    reworded: Sequence[Mapping[str, str]] = ()
    """Answers to the closed questions in other words, a mapping per wording."""
    choice_logprobs: Mapping[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answering:
    """What all passes over the samples share."""

    answerer: Answerer
    load: ImageLoader
    out: Path
    run_record: JsonMapping
    """Values that decide the answers next to the options: digests of model and data."""
    options: EvaluationOptions
    processes: ProcessGroup
    progress: Progress | None

    def answer_all(self, samples: Sequence[Sample]) -> Answers:
        """Every pass that the options ask for."""
        options = self.options
        # first, so that a model that cannot do it refuses before anything is answered
        logprobs = self._choice_logprobs(samples) if options.calibration else {}
        texts, failures = self._answer("with-image", samples)
        answers = Answers(
            texts,
            failures,
            self._num_unfinished("with-image"),
            shifts={name: self._shifted(name, samples) for name in options.robustness},
            reworded=self._reworded(samples) if options.consistency else (),
            choice_logprobs=logprobs,
        )
        if not options.controls:
            return answers
        no_image, _ = self._answer("no_image", [sample.to_no_image() for sample in samples])
        swapped = swap_images(samples, options.seed)
        swapped_image, _ = self._answer(f"swapped_image-{options.seed}", swapped.samples)
        return replace(
            answers,
            no_image={sample.id: no_image.get(sample.id, "") for sample in samples},
            swapped=swapped,
            swapped_image={sample.id: swapped_image.get(sample.id, "") for sample in swapped.samples},
        )

    def _shifted(self, name: str, samples: Sequence[Sample]) -> dict[str, str]:
        """Answers of the samples that a shift concerns; the empty text where there is none."""
        members = [sample for sample in samples if SHIFTS[name].concerns(sample)]
        load = shifted(self.load, name, self.options.seed)
        texts, _ = replace(self, load=load)._answer(f"{name}-{self.options.seed}", members)
        return {sample.id: texts.get(sample.id, "") for sample in members}

    def _reworded(self, samples: Sequence[Sample]) -> list[dict[str, str]]:
        """Answers of the closed samples in other words, a mapping for each further wording."""
        asked = [made for sample in filter(_is_closed, samples) if len(made := reworded(sample)) == COUNT]
        return [
            self._answer(f"reworded-{number}", list(members))[0]
            for number, members in enumerate(zip(*asked, strict=True), 1)
        ]

    def _choice_logprobs(self, samples: Sequence[Sample]) -> dict[str, list[float]]:
        closed = [sample for sample in samples if _is_closed(sample)]
        return self.answerer.choice_logprobs(
            closed,
            self.load,
            self.out / "decoded" / "likelihood.jsonl",
            {**self.run_record, "answers": "likelihood"},
            batch_size=max(1, self.options.batch_size // 4),
            processes=self.processes,
            progress=self._advance("calibration", len(closed)),
        )

    def _answer(self, name: str, samples: Sequence[Sample]) -> tuple[dict[str, str], list[Failure]]:
        """Answer all samples into files, closed questions apart: a batch lasts as long as its longest answer."""
        texts: dict[str, str] = {}
        failures: list[Failure] = []
        limits = {"closed": CLOSED_TOKENS, "open": self.options.max_new_tokens}
        thinking = self.options.thinking
        if self.answerer.thinks if thinking is None else thinking:
            limits["closed"] = self.options.max_new_tokens
        for part, max_new_tokens in limits.items():
            members = [sample for sample in samples if _is_closed(sample) == (part == "closed")]
            if not members:
                continue
            path = self._decoded(name, part)
            failures += self.answerer.answer_samples(
                members,
                self.load,
                path,
                {**self.run_record, "answers": name},
                GenerationOptions(max_new_tokens=max_new_tokens, thinking=thinking),
                batch_size=self.options.batch_size,
                processes=self.processes,
                progress=self._advance(f"{name} {part}", len(members)),
            )
            self.processes.wait()
            texts |= {answer.id: answer.text for answer in read_answers(path)}
        return texts, failures

    def _decoded(self, name: str, part: str) -> Path:
        return self.out / "decoded" / f"{name}-{part}.jsonl"

    def _num_unfinished(self, name: str) -> int:
        """Answers of a pass that are empty because their reasoning was cut."""
        files = [path for part in ("closed", "open") if (path := self._decoded(name, part)).exists()]
        return sum(answer.unfinished for path in files for answer in read_answers(path))

    def _advance(self, name: str, total: int) -> Advance | None:
        progress = self.progress
        return None if progress is None else lambda count: progress(name, count, total)


def _is_closed(sample: Sample) -> bool:
    return sample.target is not None and bool(sample.target.choices)
