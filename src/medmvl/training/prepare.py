"""Fills the caches for a recipe before it trains: the pixels of all its scans, and the features of its frozen encoders.

What is there already is passed over, so the same command goes on where it stopped. Under `torchrun`, or with several workers,
the scans are shared out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from accelerate import PartialState
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset, Subset

from medmvl.data.entry_cache import FullCacheError, default_cache_dir
from medmvl.data.feature_cache import FeatureCache, FeatureReader, kinds_of, part_digests, precision_of
from medmvl.data.prepared import PreparedCache, process_block
from medmvl.data.sources import DataSource, LoadedSource, open_sources, source_key
from medmvl.errors import RecipeError, UserError
from medmvl.models.assemble import assemble
from medmvl.models.collation import collate
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.tuning import apply_tuning, has_lora, merge_lora
from medmvl.models.visuals import ProcessedSample, ProcessedVisual, VisualLoader
from medmvl.schema import ImageBlock, VolumeBlock
from medmvl.training.loader_errors import check_temporary_folder, plain_loader_errors
from medmvl.training.lost_ranks import naming_lost_ranks
from medmvl.training.recipe import Recipe, Stage
from medmvl.training.run import training_texts
from medmvl.training.stage_plan import fitted
from medmvl.training.trainer_arguments import computes_in_bfloat16, processes

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
Block = ImageBlock | VolumeBlock


@dataclass
class Prepared:
    """What was done."""

    scans: int = 0
    """Scans of all sources of this process, each once."""
    made: int = 0
    """Scans that were read; the others were there."""
    unread: list[str] = field(default_factory=list)
    """Files that could not be read, and why."""
    left_out: list[str] = field(default_factory=list)
    """Kinds of features that are not known before the training, and why."""


Scan = ProcessedVisual | FullCacheError | str | None


class Scans(Dataset[Scan]):
    """The different scans of sources; None for what needs no further work, words for what cannot be read.

    A cache that is full is given as its error, which a worker process could not raise without its traceback.
    """

    def __init__(
        self, scans: list[tuple[int, LoadedSource, Block]], loads: list[VisualLoader], *, wanted: bool
    ) -> None:
        self.scans = scans
        self.loads = loads
        self.wanted = wanted

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> Scan:
        number, source, block = self.scans[index]
        try:
            visual = self.loads[number](block)
        except FullCacheError as error:
            return error
        except (UserError, OSError) as error:
            return f"{source.load.reference(block)}: {error}"
        return visual if self.wanted and visual.feature_key is not None else None


def prepare(
    recipe: Recipe, *, features: bool, workers: int = 0, progress: Progress | None = None
) -> Prepared:
    """Keep the pixels of every scan that a recipe names, or the features that its stages will look for.

    Args:
        recipe: names model, data and stages.
        features: whether to keep features of encoders that are frozen from the first stage on, and not pixels.
        workers: processes that read; 0: this one.
        progress: called with the number of scans that are done, and of all.

    Raises:
        RecipeError: no encoder is frozen in a stage before it trains.
        FullCacheError: the cache cannot keep all of them.
    """
    check_temporary_folder(workers)
    state = processes()
    with naming_lost_ranks(state), plain_loader_errors():
        return _prepare(recipe, state, progress, features=features, workers=workers)


def _prepare(
    recipe: Recipe, state: PartialState, progress: Progress | None, *, features: bool, workers: int
) -> Prepared:
    with state.main_process_first():
        work = Preparation(recipe, features=features)
    wanted = [number for number in range(len(work)) if work.is_wanted(number)]
    mine = wanted[state.process_index :: state.num_processes]
    done = Prepared(scans=len(mine), left_out=work.left_out)
    loader = DataLoader(Subset(work.scans, mine), batch_size=None, num_workers=workers)
    for number, visual in enumerate(loader, 1):
        if isinstance(visual, FullCacheError):
            raise visual
        if isinstance(visual, str):
            done.unread.append(visual)
        elif visual is not None:
            work.make(visual)
            done.made += 1
        if progress is not None:
            progress(number, len(mine))
    state.wait_for_everyone()
    return done


class Preparation:
    """All that one process needs to prepare any scan of a recipe.

    Raises:
        RecipeError: features are asked for, and no encoder is frozen in a stage before it trains.
    """

    def __init__(self, recipe: Recipe, *, features: bool) -> None:
        sources = _sources(recipe)
        opened = list(sources.values())
        texts = training_texts(recipe, sources)
        self.model, processor = assemble(recipe.model, texts=texts, seed=recipe.seed)
        self.left_out: list[str] = []
        self.reader: FeatureReader | None = None
        if features:
            self.reader, self.stage = _reader(recipe, self.model, processor, self.left_out)
        self.scans = Scans(_scans(opened), _loads(recipe, opened, processor, self.reader), wanted=features)

    def __len__(self) -> int:
        return len(self.scans)

    def is_wanted(self, number: int) -> bool:
        """Whether something of this scan is kept: not where its encoder trains."""
        return self.reader is None or self.scans.scans[number][2].type in self.reader.parts

    def make(self, visual: ProcessedVisual) -> None:
        """Encode a scan and keep its features."""
        _make(self.model, self.stage, visual)


def num_scans(recipe: Recipe) -> int:
    """How many different scans a recipe names; no model is built."""
    return len(_scans(list(_sources(recipe).values())))


def _sources(recipe: Recipe) -> dict[str, LoadedSource]:
    """All sources of all stages by their keys, with those kept for the end."""
    named: dict[str, DataSource] = {}
    for stage in recipe.stages:
        data = recipe.data_of(stage)
        named |= {source_key(source): source for source in (*data.train, *data.validation, *data.test)}
    return dict(zip(named, open_sources(named.values(), default_cache_dir()), strict=True))


def _scans(sources: list[LoadedSource]) -> list[tuple[int, LoadedSource, Block]]:
    """Every scan once, in the order of the samples, with the number of its source."""
    found: dict[tuple[str, str, str], tuple[int, LoadedSource, Block]] = {}
    for number, source in enumerate(sources):
        for sample in source.samples:
            for block in sample.visuals:
                declared = str(sorted(source.load.declarations(block).items()))
                found.setdefault(
                    (source.load.reference(block), block.type, declared), (number, source, block)
                )
    return list(found.values())


def _loads(
    recipe: Recipe, sources: list[LoadedSource], processor: MedMVLProcessor, reader: FeatureReader | None
) -> list[VisualLoader]:
    """How the scans of each source are read; pixels are kept where they alone are asked for, or the recipe keeps them."""
    keeps = reader is None or any(recipe.data_of(stage).prepared for stage in recipe.stages)
    pixels = PreparedCache(default_cache_dir(), strict=True) if keeps else None
    loads: list[VisualLoader] = []
    for source in sources:
        decode: VisualLoader = (
            _Decode(processor, source) if pixels is None else pixels.wrap(source.load, processor)
        )
        loads.append(decode if reader is None else reader.wrap(source.load, decode))
    return loads


class _Decode:
    def __init__(self, processor: MedMVLProcessor, source: LoadedSource) -> None:
        self.processor = processor
        self.source = source

    def __call__(self, block: Block) -> ProcessedVisual:
        return process_block(self.processor, self.source.load, block)


def _reader(
    recipe: Recipe, model: MedMVLForConditionalGeneration, processor: MedMVLProcessor, left_out: list[str]
) -> tuple[FeatureReader, Stage]:
    """Finds and keeps what the first stage that freezes an encoder will look for; that encoder has its first weights."""
    trained: dict[str, str] = {}
    for named in recipe.stages:
        stage = fitted(named, model)
        if has_lora(model):
            merge_lora(model)
        apply_tuning(model, stage.parts, heads=stage.has_heads)
        model.to(processes().device).train()
        frozen = [kind for kind in kinds_of(model) if kind not in trained and not _trains(model, kind)]
        trained |= {
            kind: stage.name for kind in kinds_of(model) if kind not in trained and _trains(model, kind)
        }
        if frozen and recipe.data_of(stage).features is not False:
            break
    else:
        trained_in = "; ".join(
            f"the {kind} encoder trains in stage '{name}'" for kind, name in trained.items()
        )
        raise RecipeError(
            f"no features can be made before the training: {trained_in or 'data.features is off'}. "
            "They are kept as training goes."
        )
    left_out += [
        f"{kind} features: the encoder trains in stage '{name}' before" for kind, name in trained.items()
    ]
    precision = precision_of(processes().device, in_bfloat16=computes_in_bfloat16(stage))
    parts = {kind: part_digests(model, kind, precision, connect=stage.connects) for kind in frozen}
    reader = FeatureReader(FeatureCache(default_cache_dir(), strict=True), processor, parts)
    model.keep_features = reader.keep
    return reader, stage


def _trains(model: MedMVLForConditionalGeneration, kind: str) -> bool:
    return any(weight.requires_grad for weight in getattr(model, f"{kind}_encoder").weights())


def _make(model: MedMVLForConditionalGeneration, stage: Stage, visual: ProcessedVisual) -> None:
    """Encode one scan as its stage will."""
    views, ids = visual.views, torch.zeros(1, dtype=torch.long)
    row = ProcessedSample(name="scan", input_ids=ids, labels=None, visuals=views, starts=(0,) * len(views))
    batch, device = collate([row], pad_id=0), model.device
    pixels = {name: batch[name] for name in ("pixel_values", "pixel_values_volumes") if name in batch}
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(stage)):
        model.make_features({**batch, **send_to_device(pixels, device)})
