"""Look at all of a data set before a run does: broken files, lost answers, lengths, patients on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import starmap
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medmvl.data.sources import LoadedSource
from medmvl.datasets.loader import BlockLoader
from medmvl.datasets.pseudonyms import key_of
from medmvl.datasets.splits import ties_of
from medmvl.errors import SampleError, UserError
from medmvl.imaging.selector import split_selector
from medmvl.json_types import JsonObject
from medmvl.schema import ImageBlock, Sample, VolumeBlock
from medmvl.worker_processes import end_with_parent

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

LISTED = 20
"""Problems of one sort that are kept with their text; the rest are only counted."""
PERCENTILES = (50, 90, 99, 100)

OTHER_KEYS = (
    "their pseudonyms are of different keys, so that a patient in two of them is not noticed; medmvl data from-csv --key KEY "
    "makes them alike"
)
PROBLEMS: dict[str, str] = {
    "invalid": "samples that cannot be parsed",
    "duplicate_ids": "samples with the id of another one of their split",
    "missing_files": "files that are not there",
    "broken_files": "files that cannot be read",
    "no_answer": "samples without an answer to learn from",
    "too_long": "samples longer than the limit, which would lose their answer",
    "bad_text": "samples whose text the processor refuses, such as a special token spelled out",
    "boxes": "boxes that leave their image; boxes are in voxels, in array order: y0, x0, y1, x1",
    "leaks": "patients, studies, image groups or files in more than one split",
}
"""What is looked for; any of them makes the check fail."""
COUNTED = (
    "the series is counted (`#series=2`): a series that is added to its folder may make it another one, of another patient; "
    "`medmvl inspect FOLDER` lists a digest to write instead, and `medmvl data from-csv` writes it"
)
"""Said of blocks whose series a number chooses."""


@dataclass
class ProblemCases:
    """How often a problem was found, and the first cases."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count a case, and keep its text while there are few."""
        self.count += 1
        if len(self.examples) < LISTED:
            self.examples.append(text)


@dataclass
class DataCheck:
    """What a data set holds and what is wrong with it."""

    samples: dict[str, int] = field(default_factory=dict)
    """Samples of each split."""
    patients: int = 0
    studies: int = 0
    without_patient: int = 0
    """Samples without patient, study or image group; splits can then keep only equal files together."""
    text_only: int = 0
    images: int = 0
    volumes: int = 0
    """Different files."""
    files_read: bool = False
    """True where every file was read, False where it was only looked for."""
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    """Percentiles of `text`, `visual` and `total`; empty without a processor."""
    limit: int | None = None
    thinking: bool | None = None
    """True where the model learns reasoning; None without a processor."""
    reasoning: int = 0
    """Samples whose last turn brings reasoning."""
    earlier_reasoning: int = 0
    """Samples with reasoning in an earlier turn, which a history does not keep."""
    question_types: dict[str, int] = field(default_factory=dict)
    """Samples of each type of question, such as `closed`; `none` where a sample says none."""
    languages: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    """How often each answer to questions with choices is given, in lower case."""
    modalities: dict[str, int] = field(default_factory=dict)
    """Files read of each modality; `unknown` where neither the file nor the data says it."""
    units: dict[str, int] = field(default_factory=dict)
    """Files read in each unit."""
    warnings: dict[str, ProblemCases] = field(default_factory=dict)
    """Doubts that the reader could not settle, and the files concerned; it does not make the check fail."""
    problems: dict[str, ProblemCases] = field(
        default_factory=lambda: {name: ProblemCases() for name in PROBLEMS}
    )

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(found.count for found in self.problems.values())

    def reasoning_words(self) -> str:
        """What becomes of the data's reasoning; empty where there is none and none is wanted."""
        return reasoning_note(
            self.reasoning, self.earlier_reasoning, sum(self.samples.values()), thinking=self.thinking
        )

    def to_json(self) -> JsonObject:
        """The check as plain values."""
        return {"ok": self.ok, **asdict(self)}


def check(
    splits: Mapping[str, Sequence[LoadedSource]],
    processor: MedMVLProcessor | None = None,
    *,
    max_length: int | None = None,
    fast: bool = False,
    workers: int = 1,
    supervised: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> DataCheck:
    """Check the sources of every split.

    Args:
        splits: `"train"` and so on to their sources.
        processor: counts tokens; None leaves that out.
        max_length: the limit, text and visual tokens together.
        fast: look whether files are there, but read none.
        workers: processes that read files.
        supervised: whether samples need answers.
        progress: called with what is being done, how many are done, and of how many.
    """
    thinking = None if processor is None else processor.thinking
    check = DataCheck(limit=max_length, files_read=not fast, thinking=thinking)
    survey = _Survey(check, processor, supervised)
    total = sum(len(source.samples) for sources in splits.values() for source in sources)
    done = 0
    for split, sources in splits.items():
        for source in sources:
            for _ in survey.look_at(split, source):
                done += 1
                if progress is not None and (done % 100 == 0 or done == total):
                    progress("samples", done, total)
    survey.finish()
    _check_files(check, survey, fast, workers, progress)
    return check


class _Survey:
    """Goes through the texts once and notes what the files are."""

    def __init__(self, check: DataCheck, processor: MedMVLProcessor | None, supervised: bool) -> None:
        self.found = check
        self.processor = processor
        self.supervised = supervised
        self.files: dict[tuple[Hashable, ...], tuple[str, BlockLoader, ImageBlock | VolumeBlock]] = {}
        self.boxes: dict[tuple[Hashable, ...], list[tuple[str, tuple[int, ...]]]] = {}
        """Samples with a box in a file, and its upper ends."""
        self._ids: dict[str, set[str]] = {}
        self._split_of: dict[tuple[str, Hashable], str] = {}
        self._leaked: set[tuple[str, Hashable]] = set()
        self._tokens: dict[str, list[int]] = {"text": [], "visual": [], "total": []}
        self._keys: dict[str, set[str]] = {}
        self._patients: set[str] = set()
        self._studies: set[str] = set()

    def look_at(self, split: str, source: LoadedSource) -> Iterator[None]:
        """Look at every sample of a source; yields once per sample."""
        if key := key_of(source.load.folder):
            self._keys.setdefault(key, set()).add(f"{split}: {source.name}")
        for index in range(len(source.samples)):
            self.found.samples[split] = self.found.samples.get(split, 0) + 1
            try:
                sample = source.samples[index]
            except SampleError as error:
                self.found.problems["invalid"].add(str(error))
            else:
                self._note(split, source, sample)
            yield

    def finish(self) -> None:
        """Put the totals into the result."""
        self.found.patients, self.found.studies = len(self._patients), len(self._studies)
        if len(self._keys) > 1:
            self.found.warnings[OTHER_KEYS] = ProblemCases()
            for name in sorted(set().union(*self._keys.values())):
                self.found.warnings[OTHER_KEYS].add(name)
        if self._tokens["total"]:
            self.found.tokens = {name: _percentiles(values) for name, values in self._tokens.items()}

    def _note(self, split: str, source: LoadedSource, sample: Sample) -> None:
        name = f"{source.name}: {sample.id}"
        check = self.found
        if sample.id in self._ids.setdefault(split, set()):
            check.problems["duplicate_ids"].add(name)
        self._ids[split].add(sample.id)
        _count(check, sample)
        if self.supervised and not sample.has_answer and sample.chosen is None:
            check.problems["no_answer"].add(name)
        self._note_identity(split, source, sample, name)
        for number, block in enumerate(sample.visuals):
            key = (
                source.load.reference(block),
                block.type,
                str(sorted(source.load.declarations(block).items())),
            )
            self.files.setdefault(key, (name, source.load, block))
            for box in sample.boxes:
                if box.visual == number:
                    self.boxes.setdefault(key, []).append((name, box.upper))
        if self.processor is not None:
            self._note_tokens(sample, name)

    def _note_identity(self, split: str, source: LoadedSource, sample: Sample, name: str) -> None:
        if sample.patient is None:
            self.found.without_patient += 1
        else:
            self._patients.add(sample.patient)
        if sample.study is not None:
            self._studies.add(sample.study)
        self.found.text_only += not sample.visuals
        for tie in ties_of(sample, source.load.reference):
            first = self._split_of.setdefault(tie, split)
            if first != split and tie not in self._leaked:
                self._leaked.add(tie)
                self.found.problems["leaks"].add(f"{tie[0]} of {name} is in {first} and in {split}")

    def _note_tokens(self, sample: Sample, name: str) -> None:
        assert self.processor is not None
        try:
            text, visual = self.processor.count_tokens(sample.messages)
        except UserError as error:
            self.found.problems["bad_text"].add(f"{name}: {error}")
            return
        for key, value in (("text", text), ("visual", visual), ("total", text + visual)):
            self._tokens[key].append(value)
        if self.found.limit is not None and text + visual > self.found.limit:
            self.found.problems["too_long"].add(f"{name}: {text + visual} tokens, limit {self.found.limit}")


def reasoning_note(last: int, earlier: int, total: int, *, thinking: bool | None) -> str:
    """What becomes of reasoning in data; empty where there is none and none is wanted.

    Args:
        last: samples whose last turn brings reasoning.
        earlier: samples in which an earlier turn does.
        total: all samples.
        thinking: whether the model learns it; None where that is not known.
    """
    said = []
    if thinking:
        said.append(f"in {last} of {total} samples; the others teach to answer without it")
    elif last or earlier:
        said.append(f"in {last} of {total} samples")
    if last + earlier and thinking is False:
        said.append("it is left out: model.thinking: true learns it")
    if earlier and thinking is not False:
        said.append(
            f"in an earlier turn of {earlier}, where it is left out and, next to reasoning in the last turn, the answer is "
            "context only: make a sample of each turn to learn it"
        )
    return "; ".join(said)


def _check_files(
    check: DataCheck,
    survey: _Survey,
    fast: bool,
    workers: int,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    files = survey.files
    for name, load, block in files.values():
        if isinstance(split_selector(load.reference(block))[1].series, int):
            check.warnings.setdefault(COUNTED, ProblemCases()).add(name)
    check.images = len({key[0] for key, (_, _, block) in files.items() if isinstance(block, ImageBlock)})
    check.volumes = len({key[0] for key, (_, _, block) in files.items() if isinstance(block, VolumeBlock)})
    present, boxes = [], []
    for key, (name, load, block) in files.items():
        if load.exists(block):
            present.append((name, load, block))
            boxes.append(survey.boxes.get(key, ()))
        else:
            check.problems["missing_files"].add(f"{name}: {load.reference(block)}")
    if fast:
        return
    for done, ((name, found), ends) in enumerate(zip(_read_all(present, workers), boxes, strict=True), 1):
        if isinstance(found, str):
            check.problems["broken_files"].add(f"{name}: {found}")
        else:
            _add(check.modalities, found.modality)
            _add(check.units, found.units)
            for boxed, end in ends:
                if any(high > size for high, size in zip(end, found.shape, strict=False)):
                    check.problems["boxes"].add(f"{boxed}: a box ends at {end}, the shape is {found.shape}")
            for warning in found.warnings:
                check.warnings.setdefault(warning, ProblemCases()).add(name)
        if progress is not None:
            progress("files", done, len(present))


def _read_all(
    files: Sequence[tuple[str, BlockLoader, ImageBlock | VolumeBlock]], workers: int
) -> Iterable[tuple[str, _Read | str]]:
    if workers == 1 or len(files) < 2:
        yield from starmap(_read_one, files)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(_read_one, *zip(*files, strict=True), chunksize=4)


class _Read(NamedTuple):
    """Facts about a file that could be read."""

    modality: str
    units: str
    warnings: tuple[str, ...]
    shape: tuple[int, ...]


def _read_one(name: str, load: BlockLoader, block: ImageBlock | VolumeBlock) -> tuple[str, _Read | str]:
    """Read one file and return what it is, or what is wrong with it."""
    try:
        image = load(block)
    except (UserError, OSError) as error:
        return name, str(error)
    return name, _Read(image.modality or "unknown", image.units, image.warnings, image.shape)


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _count(check: DataCheck, sample: Sample) -> None:
    """Count what a sample asks for."""
    target = sample.target
    _add(check.question_types, "none" if target is None else target.question_type)
    _add(check.languages, sample.language or "not said")
    check.reasoning += sample.has_reasoning
    check.earlier_reasoning += sample.has_earlier_reasoning
    if target is not None and target.choices:
        _add(check.answers, target.answers[0].strip().lower())


def _percentiles(values: Sequence[int]) -> dict[str, int]:
    found = np.percentile(values, PERCENTILES, method="higher")
    return {("max" if p == 100 else f"p{p}"): int(value) for p, value in zip(PERCENTILES, found, strict=True)}
