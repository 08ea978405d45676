"""Where samples come from: a data file, or phantoms made on the spot, as a recipe names them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, model_validator
from tqdm import tqdm

from medmvl.data.views import NoImageSamples, PromptedSamples, SampleSubset
from medmvl.datasets.loader import BlockLoader
from medmvl.datasets.public import find_task
from medmvl.datasets.records import SampleFile, refuse_folder
from medmvl.errors import SampleError, UserError
from medmvl.json_types import JsonObject
from medmvl.messages import first_of
from medmvl.schema import Declaration, Declarations, Sample
from medmvl.schema.strict import StrictModel

Split = Literal["train", "validation", "test", "train_reports", "validation_reports", "test_reports"]

_CHOOSING = {"limit", "question_types", "languages", "no_image", "images", "volumes"}
TO_BE_SET = "set-"
"""Begins the paths that a shipped recipe leaves to its user."""
FEW_PATIENTS = 200
"""Below this, phantoms are drawn by one process without a progress bar: they take about a second."""
OUTLINE_PATIENTS = 80
"""Patients per split that a dry run asks: two whole blocks, in which every finding is as frequent as in all."""


class PhantomSource(StrictModel):
    """Synthetic patients, written once into the cache folder and read like any data set."""

    preset: str = "quickstart"
    """Name of a preset of `medmvl phantoms`."""
    patients: PositiveInt
    """Patients of all splits together: equal `preset`, `patients` and `seed` share one data set."""
    seed: int = 0
    """Seed for the patients."""
    format: Literal["npy", "nifti", "dicom"] = "npy"
    """Format of the files."""
    split: Split = "train"
    """Part of the patients; `train_reports` and the like hold one report per study."""
    workers: PositiveInt | None = None
    """Processes that draw them; None: one per core for large data sets."""


class DataSource(StrictModel):
    """One source of a mixture, as a recipe names it."""

    path: str | None = None
    """A `.jsonl` or `.json` file of Samples or LLaVA records; relative to the working folder."""
    phantoms: PhantomSource | None = None
    """Synthetic patients in place of a file."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Passes over the source per epoch: 2 shows every sample twice, 0.5 another half of them each epoch."""
    image_root: str | None = None
    """Folder that image paths start from; the data file's own folder where it is not given."""
    volume_root: str | None = None
    """Folder that volume paths start from; the data file's own folder where it is not given."""
    limit: PositiveInt | None = None
    """Keep only the first N samples, after the filters below."""
    question_types: tuple[str, ...] | None = None
    """Keep samples whose `target.question_type` is one of these."""
    languages: tuple[str, ...] | None = None
    """Keep samples in these languages."""
    task: str | None = None
    """Keep the samples of a task (`medmvl.datasets.public.TASKS`), worded as it asks them in evaluation."""
    no_image: bool = False
    """Leave every image and volume out: a small weight of these teaches a model to guess where it sees nothing."""
    replay: bool = False
    """Replay of these samples in a `grpo` stage: it learns their answers, as `lm` does, next to the prompts that it answers. A
    small weight of what no reward asks about, such as reports, keeps it; `group: none` mixes both in every batch."""
    images: Declaration = Declaration()
    """Declared for every image of the source."""
    volumes: Declaration = Declaration()
    """Declared for every volume of the source."""

    @model_validator(mode="after")
    def _one_origin(self) -> DataSource:
        if (self.path is None) == (self.phantoms is None):
            found = "neither" if self.path is None else "both; take one away, such as phantoms: null"
            raise ValueError(f"a data source needs either 'path' or 'phantoms', found {found}")
        return self


def source_key(source: DataSource) -> str:
    """Key of a source among those that are loaded; equal sources have equal keys."""
    return source.model_dump_json()


@dataclass(frozen=True)
class LoadedSource:
    """A source that is ready to be read from."""

    name: str
    """Names the source in messages: the file's name."""
    samples: Sequence[Sample]
    load: BlockLoader
    digest: str
    """SHA-256 over the file's bytes and everything that chooses from it: equal digests mean equal samples."""
    weight: float = 1.0
    title: str = ""
    """Title that distinguishes the source from others of a recipe: its path as the recipe says it, and what was chosen from
    it."""
    replay: bool = False
    """Answers of its samples are learned where others are prompts."""
    stands_for: float = 1.0
    """Samples that training reads per sample here: above 1 in a dry run, which asks few of many phantoms."""


def load_source(source: DataSource, base_dir: Path, cache_dir: Path) -> LoadedSource:
    """Open a source; pixels are not read, and samples only where a filter must look at them.

    Args:
        source: what a recipe says.
        base_dir: folder that relative paths start from.
        cache_dir: where phantoms are written once.

    Raises:
        SampleError: where the file is no data set, or no sample is left.
        OSError: where the file cannot be read.
    """
    path = base_dir / source.path if source.path is not None else _phantom_file(source, cache_dir)
    samples = SampleFile(path)
    digest = _digest(samples.digest(), source)
    return _loaded(source, base_dir, path, _choose(samples, source, str(path)), digest)


def outline_source(source: DataSource, base_dir: Path) -> LoadedSource:
    """Open a source for a dry run: of phantoms the samples of few patients, without drawing one; a file as it is.

    Raises:
        SampleError: where the file is no data set, or no sample is left.
        OSError: where the file cannot be read.
    """
    if source.phantoms is None:
        return load_source(source, base_dir, base_dir)
    samples, ratio = _outline(source.phantoms)
    title = _title(source)
    chosen = _choose(samples, source, title)
    if source.limit is not None:
        ratio = 1.0 if len(chosen) == source.limit else min(ratio, source.limit / len(chosen))
    name = f"{source.phantoms.split}.jsonl"
    return replace(
        _loaded(source, base_dir, base_dir / name, chosen, _digest(title, source)), stands_for=ratio
    )


def _outline(wanted: PhantomSource) -> tuple[list[Sample], float]:
    """Samples of the first patients of a split, and how many patients of it each of them stands for."""
    from medmvl.phantoms import default_splits, iter_patient_samples, make_patient
    from medmvl.phantoms.dataset import one_report_per_study

    split, _, reports = wanted.split.partition("_")
    splits = default_splits(wanted.patients)
    first = sum(splits[earlier] for earlier in list(splits)[: list(splits).index(split)])
    count = min(OUTLINE_PATIENTS, splits[split])
    if not count:
        raise SampleError(
            f"phantoms of {wanted.patients} patients have none in the split '{split}'; ask for more"
        )
    patients = (make_patient(wanted.seed, first + number, wanted.preset) for number in range(count))
    samples = [one for patient in patients for one in iter_patient_samples(patient, boxes=False)]
    return one_report_per_study(samples) if reports else samples, splits[split] / count


def _loaded(
    source: DataSource, base_dir: Path, path: Path, chosen: Sequence[Sample], digest: str
) -> LoadedSource:
    roots = [None if root is None else base_dir / root for root in (source.image_root, source.volume_root)]
    declared = {
        "image": source.images.declared,
        "volume": source.volumes.declared,
    }
    return LoadedSource(
        name=path.name,
        samples=NoImageSamples(chosen) if source.no_image else chosen,
        load=BlockLoader(path.parent, roots[0], roots[1], declared),
        digest=digest,
        weight=source.weight,
        title=_title(source),
        replay=source.replay,
    )


def _title(source: DataSource) -> str:
    origin = source.path
    if source.phantoms is not None:
        wanted = source.phantoms
        origin = f"phantoms {wanted.preset} ({wanted.patients} patients, seed {wanted.seed}, {wanted.split})"
    chosen = [
        " ".join(source.question_types or ()),
        " ".join(source.languages or ()),
        f"task {source.task}" if source.task else "",
        "no image" if source.no_image else "",
        "replay" if source.replay else "",
    ]
    return ", ".join([str(origin), *filter(None, chosen)])


def open_sources(sources: Collection[DataSource], cache: Path) -> list[LoadedSource]:
    """Open sources whose paths start from the working folder.

    Raises:
        UserError: data files are not here; all of them are named, with what to do.
    """
    check_here(sources)
    return [load_source(source, Path.cwd(), cache) for source in sources]


def check_here(sources: Iterable[DataSource]) -> None:
    """Check that the data files of sources exist; paths start from the working folder.

    Raises:
        UserError: data files are not here; all of them are named, with what to do.
    """
    paths = dict.fromkeys(source.path for source in sources if source.path is not None)
    missing = [path for path in paths if not Path(path).is_file()]
    for path in missing:
        if path.startswith(TO_BE_SET):
            key = path.removeprefix(TO_BE_SET).removesuffix("-to-a-data-file")
            raise UserError(
                f"the recipe wants a data file of yours: {key}=data/mine/train.jsonl, for example"
            )
        refuse_folder(Path(path))
    if missing:
        raise UserError(
            f"data that the recipe names is not here: {first_of(missing, separator=', ')} (paths start from {Path.cwd()}). "
            "`medmvl data convert` lists the public data sets that it writes such files of; docs/how-to/flagship-recipes.md "
            "says what each file of a shipped recipe is and how to get it. Data of your own takes their place: "
            "data.train.0.path=mine/train.jsonl on the command line. --dry-run estimates without data."
        )


def open_data(
    path: Path,
    *,
    image_root: Path | None = None,
    volume_root: Path | None = None,
    declared: Declarations | None = None,
) -> LoadedSource:
    """Open one data file named on the command line; paths start from the working folder."""
    declaration = Declaration.model_validate(declared or {})
    source = DataSource(
        path=str(path),
        image_root=None if image_root is None else str(image_root),
        volume_root=None if volume_root is None else str(volume_root),
        images=declaration,
        volumes=declaration,
    )
    return load_source(source, Path.cwd(), Path.cwd())


def _phantom_file(source: DataSource, cache_dir: Path) -> Path:
    from medmvl.phantoms.source import code_digest

    assert source.phantoms is not None
    wanted = source.phantoms
    name = f"{wanted.preset}-{wanted.patients}-{wanted.seed}-{wanted.format}-{code_digest()}"
    folder = cache_dir / "phantoms" / name
    if not (folder / "dataset.json").is_file():
        from medmvl.phantoms import write_dataset

        options: JsonObject = wanted.model_dump(exclude={"split", "workers"})
        alone = wanted.patients < FEW_PATIENTS
        options["workers"] = wanted.workers or (1 if alone else os.cpu_count() or 1)
        with tqdm(total=wanted.patients, desc="phantom patients", unit="patient", disable=alone) as bar:
            write_dataset(folder, **options, progress=lambda count: bar.update(count - bar.n), wait=True)
    return folder / f"{wanted.split}.jsonl"


def _choose(samples: Sequence[Sample], source: DataSource, origin: str) -> Sequence[Sample]:
    """The samples that a source keeps; `origin` names them in errors."""
    if source.task is not None:
        task = find_task(source.task)
        return PromptedSamples(_filter(samples, source, task.indices(samples), origin), task)
    if source.question_types is None and source.languages is None:
        count = len(samples) if source.limit is None else min(source.limit, len(samples))
        return samples if count == len(samples) else SampleSubset(samples, range(count))
    return _filter(samples, source, range(len(samples)), origin)


def _filter(
    samples: Sequence[Sample], source: DataSource, candidates: Iterable[int], origin: str
) -> SampleSubset:
    indices: list[int] = []
    for index in candidates:
        if _wanted(samples[index], source):
            indices.append(index)
        if len(indices) == source.limit:
            break
    if not indices:
        wanted = {"task": source.task, "question_types": source.question_types, "languages": source.languages}
        chosen = ", ".join(f"{key} {_listed(value)}" for key, value in wanted.items() if value is not None)
        raise SampleError(f"{origin}: none of its {len(samples)} samples has {chosen}")
    return SampleSubset(samples, indices)


def _listed(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else str(list(value))


def _wanted(sample: Sample, source: DataSource) -> bool:
    question_type = None if sample.target is None else sample.target.question_type
    return (source.question_types is None or question_type in source.question_types) and (
        source.languages is None or sample.language in source.languages
    )


def _digest(content: str, source: DataSource) -> str:
    """Digest of what a source gives: of its content and everything that chooses from it."""
    choice = source.model_dump(include=_CHOOSING, mode="json")
    if source.task is not None:
        choice["task"] = [source.task, dict(find_task(source.task).prompts)]
    text = content + json.dumps(choice, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
