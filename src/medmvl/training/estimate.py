"""What a recipe would take, before anything is downloaded: parts, parameters, tokens, memory, GPU-hours.

The model is built without memory (meta device), so parameters are counted, not guessed; its operations are counted by
PyTorch on one sample. Memory and hours are estimates; what they assume is printed with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmvl.data.sources import DataSource, outline_source
from medmvl.models.assemble import preprocessor_of
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS
from medmvl.models.tuning import apply_tuning, has_weights
from medmvl.training.hardware import find_accelerator
from medmvl.training.memory import peak_bytes, spared_bytes
from medmvl.training.model_shapes import build_empty, missing_data, part_type, without_paths
from medmvl.training.operations import Work, training_flops
from medmvl.training.recipe import Recipe, Stage
from medmvl.training.scaling import Step, Workload, counts_for, simulate


@dataclass(frozen=True)
class Assumptions:
    """What cannot be known from a recipe."""

    hardware: str = "a100-80gb"
    gpus: int = 1
    utilisation: float = 0.35
    """Share of the peak that training reaches (model FLOPs utilisation)."""
    text_tokens: int = 128
    """Text tokens assumed per sample."""
    samples: int = 100_000
    """Samples assumed per source that is not on this machine."""
    network: float | None = None
    """Gigabytes per second of a GPU between nodes; None: as in the makers' servers."""
    read_seconds: float | None = None
    """CPU seconds to read and prepare the scans of a sample; None: `READ_SECONDS`."""


READ_SECONDS = {"image": 0.02, "volume": 1.1}
"""CPU seconds for an image, and for a `.nii.gz` or a DICOM series of 300 slices (docs/LOG.md)."""

PHANTOM_READ_SECONDS = 0.004
"""CPU seconds for the small arrays of phantoms."""


@dataclass(frozen=True)
class StageEstimate:
    """One stage."""

    name: str
    trained: int
    parameters: int
    steps: float
    flops: float
    """Operations of the whole stage."""
    gib: float
    """Memory per GPU at its peak."""
    hours: float
    """GPU-hours of computing."""
    read_seconds: float = 0.0
    """CPU seconds assumed to read and prepare the scans of a sample."""
    scaling: tuple[tuple[int, float, Step | None], ...] = ()
    """Scaling for numbers of GPUs: the number, GiB per GPU, and a step; None where the batch has no share for each."""

    def scaling_lines(self, gpus: int) -> Iterator[str]:
        """Hours by the clock, memory and what binds, for 1 to 512 GPUs."""
        columns = f"{'GPUs':>6}{'hours':>10}{'GiB per GPU':>12}{'binds':>10}"
        assumed = f"loader (at {self.read_seconds:g} s per sample)"
        yield f"stage {self.name}: {columns}   seconds per step: encoder, LLM, {assumed}, network"
        indent = " " * (len(self.name) + 7)
        for count, gib, step in self.scaling:
            mark = " <" if count == gpus else ""
            if step is not None:
                parts = ", ".join(
                    f"{value:.3g}" for value in (step.encoder, step.llm, step.loader, step.network)
                )
                yield f"{indent}{count:>6}{step.hours:>10,.2f}{gib:>12.1f}{step.binds:>10}   {parts}{mark}"
        if without := [str(count) for count, _, step in self.scaling if step is None]:
            yield f"{indent}{', '.join(without)}: batch_size has no even share for each; raise it"


@dataclass(frozen=True)
class Estimate:
    """A whole recipe."""

    parts: dict[str, tuple[str, int]]
    """Type and parameters of each."""
    visual_tokens: dict[str, int]
    """Tokens per image or volume."""
    stages: tuple[StageEstimate, ...]
    notes: tuple[str, ...]
    assumptions: Assumptions

    def lines(self) -> Iterator[str]:
        """The estimate as text, line by line."""
        yield f"{'part':18}{'type':34}{'parameters':>16}"
        for name, (type_name, count) in self.parts.items():
            yield f"{name:18}{type_name:34}{count:>16,}"
        yield f"{'total':52}{sum(count for _, count in self.parts.values()):>16,}"
        text = self.assumptions.text_tokens
        for kind, count in self.visual_tokens.items():
            yield f"a sample with one {kind}: {count} visual tokens, and {text} of text (assumed)"
        yield f"{'stage':14}{'trains':>16}{'of':>16}{'steps':>10}{'PFLOP':>12}{'GiB per GPU':>12}{'GPU-hours':>12}"
        for stage in self.stages:
            yield (
                f"{stage.name:14}{stage.trained:>16,}{stage.parameters:>16,}{stage.steps:>10,.0f}"
                f"{stage.flops / 1e15:>12,.1f}{stage.gib:>12.1f}{stage.hours:>12,.1f}"
            )
        ours = self.assumptions
        device = find_accelerator(ours.hardware)
        yield (
            f"on {ours.gpus} x {ours.hardware} ({device.teraflops:g} TFLOP/s at {ours.utilisation:.0%}, {device.gib:g} GiB); "
            "memory without CUDA's own 1 to 2 GiB"
        )
        for stage in self.stages:
            yield from stage.scaling_lines(ours.gpus)
        for stage in self.stages:
            if stage.gib > device.gib:
                yield f"stage {stage.name} does not fit: more GPUs (sharded), a smaller micro_batch_size, or LoRA"
        yield from self.notes


def estimate(recipe: Recipe, assumptions: Assumptions = Assumptions()) -> Estimate:
    """Estimate a recipe without weights, data or network.

    Raises:
        RecipeError: a model that is neither on this machine nor in the table of public ones.
    """
    described, notes = without_paths(recipe.model)
    preprocessor = preprocessor_of(described)
    model = build_empty(described, preprocessor)
    work = Work.of(model, preprocessor, assumptions.text_tokens)
    parts: dict[str, tuple[str, int]] = {
        name: (part_type(described, name), sum(p.numel() for p in part.parameters()))
        for name in PARTS
        if (part := getattr(model, name)) is not None
    }
    kinds = [kind for kind in ("image", "volume") if preprocessor.parts.connectors[kind] is not None]
    stages = tuple(
        _stage(recipe, stage, build_empty(described, preprocessor), work, assumptions)
        for stage in recipe.stages
    )
    tokens = {kind: preprocessor.max_tokens(kind) for kind in kinds}
    return Estimate(parts, tokens, stages, (*notes, *_missing_data(recipe, assumptions)), assumptions)


def _stage(
    recipe: Recipe, stage: Stage, model: MedMVLForConditionalGeneration, work: Work, ours: Assumptions
) -> StageEstimate:
    named = {n: how for n, how in stage.parts.items() if not stage.any_model or has_weights(model, n)}
    small = [name for name, how in named.items() if how.mode == "qlora"]
    named |= {name: named[name].model_copy(update={"mode": "lora"}) for name in small}
    apply_tuning(model, named, heads=stage.has_heads)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    steps = float(stage.max_steps or (stage.epochs or 0) * _samples(recipe, stage, ours) / stage.batch_size)
    parts = training_flops(model, stage, work)
    flops = steps * stage.batch_size * sum(parts.values())
    device = find_accelerator(ours.hardware)
    hours = flops / (device.teraflops * 1e12 * ours.utilisation) / 3600
    read_seconds = _read_seconds(recipe.data_of(stage).train, work, ours)
    load = Workload(
        batch_size=stage.batch_size,
        steps=steps,
        encoder_flops=sum(parts.values()) - parts["llm"],
        llm_flops=parts["llm"],
        read_seconds=read_seconds,
        workers=stage.num_workers,
        trained=trained,
        sharded=sum(p.numel() for p in model.llm.parameters()) if recipe.distributed.shards_weights else 0,
    )
    spared = sum(spared_bytes(model, name) for name in small)
    scaling = []
    for gpus in counts_for(ours.gpus):
        step = simulate(load, device, gpus, utilisation=ours.utilisation, network=ours.network)
        gib = (peak_bytes(recipe, stage, model, work, gpus) - spared) / 2**30
        scaling.append((gpus, gib, step))
    gib = next(gib for gpus, gib, _ in scaling if gpus == ours.gpus)
    return StageEstimate(stage.name, trained, total, steps, flops, gib, hours, read_seconds, tuple(scaling))


def _read_seconds(sources: Sequence[DataSource], work: Work, ours: Assumptions) -> float:
    if ours.read_seconds is not None:
        return ours.read_seconds
    if all(source.phantoms is not None and source.phantoms.format == "npy" for source in sources):
        return PHANTOM_READ_SECONDS
    return max(READ_SECONDS[kind] for kind in READ_SECONDS if f"{kind}_encoder" in work.tokens)


def _samples(recipe: Recipe, stage: Stage, ours: Assumptions) -> float:
    """Samples per epoch; a source that is not on this machine counts as assumed."""
    total = 0.0
    for source in recipe.data_of(stage).train:
        count: float = ours.samples
        if source.path is None or Path(source.path).is_file():
            outlined = outline_source(source, Path.cwd())
            count = len(outlined.samples) * outlined.stands_for
        total += source.weight * count
    return total


def _missing_data(recipe: Recipe, ours: Assumptions) -> tuple[str, ...]:
    return tuple(f"{path} is not here: {ours.samples:,} samples assumed" for path in missing_data(recipe))
