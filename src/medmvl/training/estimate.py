"""What a recipe would take, before anything is downloaded: parts, parameters, tokens, memory, GPU-hours.

The model is built without memory (meta device), so parameters are counted, not guessed; its operations are counted by
PyTorch on one sample. Memory and hours are estimates; what they assume is printed with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medmvl.errors import RecipeError
from medmvl.models.assemble import preprocessor_of, refuse_gguf
from medmvl.models.configuration import MedMVLConfig
from medmvl.models.features import VisualFeatures
from medmvl.models.known_sizes import IMAGE_TOWERS, VOLUME_ENCODERS, llm_config
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS
from medmvl.models.tuning import apply_tuning, has_weights
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.training.hardware import find_accelerator
from medmvl.training.recipe import Recipe, Stage
from medmvl.training.scaling import Step, Workload, counts_for, simulate

TRAINED_BYTES = 16
"""A trained parameter: float32 weight, gradient and two moments of AdamW, 4 each."""
FROZEN_BYTES = 2
"""A frozen parameter, in bfloat16."""
FOUR_BITS_BYTES = 0.52
"""A frozen parameter in NF4 with scales that are quantised, too."""
LAYER_BYTES = 34
"""Activations of a transformer layer, a token and channel, without the attention matrix, which fused attention does not
keep (Korthikanti et al. 2022, arXiv 2205.05198, equation 1)."""
LOGIT_BYTES = 8
"""A supervised token's logit and its gradient, in float32."""


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
"""CPU seconds for a picture, and for a `.nii.gz` or a DICOM series of 300 slices (docs/LOG.md)."""


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
    scaling: tuple[tuple[int, float, Step | None], ...] = ()
    """For numbers of GPUs: the number, GiB per GPU, and a step; None where the batch has no share for each."""

    def scaling_lines(self, gpus: int) -> Iterator[str]:
        """Hours by the clock, memory and what binds, for 1 to 512 GPUs."""
        columns = f"{'GPUs':>6}{'hours':>10}{'GiB a GPU':>12}{'binds':>10}"
        yield f"stage {self.name}: {columns}   seconds a step: encoder, LLM, loader, network"
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
        """As text."""
        yield f"{'part':18}{'type':34}{'parameters':>16}"
        for name, (part_type, count) in self.parts.items():
            yield f"{name:18}{part_type:34}{count:>16,}"
        yield f"{'total':52}{sum(count for _, count in self.parts.values()):>16,}"
        text = self.assumptions.text_tokens
        for kind, count in self.visual_tokens.items():
            yield f"a sample with one {kind}: {count} visual tokens, and {text} of text (assumed)"
        yield f"{'stage':14}{'trains':>16}{'of':>16}{'steps':>10}{'PFLOP':>12}{'GiB a GPU':>12}{'GPU-hours':>12}"
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
    work = _Work.of(model, preprocessor, assumptions.text_tokens)
    parts = {
        name: (_type(described, name), sum(p.numel() for p in part.parameters()))
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


def without_paths(recipe: ModelRecipe) -> tuple[ModelRecipe, tuple[str, ...]]:
    """The recipe with configurations in place of models that are not here, and what was put in."""
    if recipe.init is not None or recipe.llm is None:
        return recipe, ()
    document, notes = recipe.model_dump(mode="json", exclude_unset=True), []
    name = recipe.llm.path
    if name is not None:
        refuse_gguf(name)
    if name is not None and not Path(name).is_dir():
        config = llm_config(name)
        if config is None:
            raise RecipeError(f"llm: {name} is not on this machine and not in the table of public models.")
        document["llm"] = {"config": config, "tokenizer_vocab_size": config["vocab_size"]}
        notes.append(f"{name} is not here: its sizes are from the table of public models")
    for key, table in (("image_encoder", IMAGE_TOWERS), ("volume_encoder", None)):
        part = document.get(key)
        if not isinstance(part, dict) or "path" not in part or Path(part["path"]).is_dir():
            continue
        rest = {k: v for k, v in part.items() if k != "path"}
        config = table.get(part["path"]) if table is not None else VOLUME_ENCODERS.get(part["type"])
        if config is None:
            raise RecipeError(
                f"{key}: {part['path']} is not on this machine and not in the table of public models."
            )
        document[key] = rest | {"config": config} if table is not None else config | rest
        notes.append(f"{part['path']} is not here: its sizes are from the table of public models")
    return ModelRecipe.model_validate(document), tuple(notes)


def build_empty(recipe: ModelRecipe, preprocessor: VisualPreprocessor) -> MedMVLForConditionalGeneration:
    """The model with shapes and without memory."""
    from transformers import AutoConfig

    if recipe.init is not None:
        config = MedMVLConfig.from_pretrained(recipe.init, local_files_only=True)
    else:
        assert recipe.llm is not None
        if recipe.llm.path is not None:
            llm = AutoConfig.from_pretrained(recipe.llm.path, local_files_only=True)
        else:
            settings = dict(recipe.llm.config or {})
            settings.setdefault("vocab_size", recipe.llm.tokenizer_vocab_size or 32_000)
            llm = AutoConfig.for_model(settings.pop("model_type"), **settings)
        config = MedMVLConfig(llm=llm, **preprocessor.parts.configs(), image_token_id=0, volume_token_id=1)
    with torch.device("meta"):
        return MedMVLForConditionalGeneration(config)


def _type(recipe: ModelRecipe, name: str) -> str:
    part: Any = getattr(recipe, name)
    if name == "llm" or part is None:
        return str((recipe.llm.config or {}).get("model_type", recipe.llm.path)) if recipe.llm else "saved"
    if isinstance(part, str):
        return f"slices ({part})"
    inner = (part.get("config") or {}).get("model_type")
    return str(part["type"]) + (f" ({inner})" if inner else "")


@dataclass(frozen=True)
class _Work:
    """Operations of the forward pass of one sample, and its tokens, a part."""

    flops: dict[str, float]
    tokens: dict[str, int]
    """That a part's layers hold at once."""

    @classmethod
    def of(
        cls, model: MedMVLForConditionalGeneration, preprocessor: VisualPreprocessor, text_tokens: int
    ) -> _Work:
        """Count on shapes alone; of a model with images and volumes the dearer of both."""
        flops, tokens, most = {}, {}, 0
        model.requires_grad_(False)
        for kind, settings in (
            ("image", preprocessor.image_processor),
            ("volume", preprocessor.volume_processor),
        ):
            if settings is None or preprocessor.parts.connectors[kind] is None:
                continue
            encoder, connector = getattr(model, f"{kind}_encoder"), getattr(model, f"{kind}_connector")
            pixels = torch.empty(1, settings.channels, *settings.size, device="meta")
            flops[f"{kind}_encoder"], features = _counted(encoder, pixels)
            flops[f"{kind}_connector"], out = _counted(connector, features)
            views = preprocessor.max_tokens(kind) / out.shape[1]  # tiles and crops beside the whole
            for name in (f"{kind}_encoder", f"{kind}_connector"):
                flops[name] *= views
            tokens[f"{kind}_encoder"] = round(features.streams[0].shape[1] * views)
            tokens[f"{kind}_connector"] = preprocessor.max_tokens(kind)
            most = max(most, preprocessor.max_tokens(kind))
        length = most + text_tokens
        width = model.get_input_embeddings().embedding_dim
        llm: Any = model.llm
        flops["llm"], _ = _counted(_Embedded(llm), torch.empty(1, length, width, device="meta"))
        return cls(flops, tokens | {"llm": length})


class _Embedded(nn.Module):
    """An LLM that is given embeddings."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm

    def forward(self, embeddings: Tensor) -> Any:
        """All logits."""
        length = embeddings.shape[1]
        mask = torch.zeros(
            1, 1, length, length, device=embeddings.device
        )  # a whole mask: none is derived from values
        return self.llm(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).logits


def _counted(module: nn.Module, given: Tensor | VisualFeatures) -> tuple[float, Any]:
    """Floating point operations of one pass, a multiplication and an addition being two, and what came out."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = module(given)
    return float(counter.get_total_flops()), out


def _stage(
    recipe: Recipe, stage: Stage, model: MedMVLForConditionalGeneration, work: _Work, ours: Assumptions
) -> StageEstimate:
    named = {n: how for n, how in stage.parts.items() if not stage.any_model or has_weights(model, n)}
    small = [name for name, how in named.items() if how.mode == "qlora"]
    named |= {name: named[name].model_copy(update={"mode": "lora"}) for name in small}
    apply_tuning(model, named)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    steps = float(stage.max_steps or (stage.epochs or 0) * _samples(recipe, stage, ours) / stage.batch_size)
    parts = _training_flops(model, stage, work)
    flops = steps * stage.batch_size * sum(parts.values())
    device = find_accelerator(ours.hardware)
    hours = flops / (device.teraflops * 1e12 * ours.utilisation) / 3600
    load = Workload(
        batch_size=stage.batch_size,
        steps=steps,
        encoder_flops=sum(parts.values()) - parts["llm"],
        llm_flops=parts["llm"],
        read_seconds=_read_seconds(work, ours),
        workers=stage.num_workers,
        trained=trained,
        sharded=sum(p.numel() for p in model.llm.parameters()) if recipe.distributed.shards_weights else 0,
    )
    scaling = []
    for gpus in counts_for(ours.gpus):
        step = simulate(load, device, gpus, utilisation=ours.utilisation, network=ours.network)
        scaling.append((gpus, _gib(recipe, stage, model, work, replace(ours, gpus=gpus)), step))
    spared = sum(_spared_bytes(model, name) for name in small) / 2**30
    scaling = [(gpus, gib - spared, step) for gpus, gib, step in scaling]
    gib = next(gib for gpus, gib, _ in scaling if gpus == ours.gpus)
    return StageEstimate(stage.name, trained, total, steps, flops, gib, hours, tuple(scaling))


def _spared_bytes(model: MedMVLForConditionalGeneration, name: str) -> float:
    """Bytes that frozen matrices do without in 4 bits."""
    part = getattr(model, name)
    matrices = [layer for layer in part.modules() if isinstance(layer, nn.Linear)]
    frozen = sum(layer.weight.numel() for layer in matrices if not layer.weight.requires_grad)
    return frozen * (FROZEN_BYTES - FOUR_BITS_BYTES)


def _read_seconds(work: _Work, ours: Assumptions) -> float:
    if ours.read_seconds is not None:
        return ours.read_seconds
    return max(READ_SECONDS[kind] for kind in READ_SECONDS if f"{kind}_encoder" in work.tokens)


def _gib(
    recipe: Recipe, stage: Stage, model: MedMVLForConditionalGeneration, work: _Work, ours: Assumptions
) -> float:
    """Memory per GPU at its peak: weights, gradients and moments as they are sharded, and activations."""
    shared = recipe.distributed.shared_bytes
    llm = {id(p) for p in model.llm.parameters()}
    states = 0.0
    for weight in model.parameters():
        whole = TRAINED_BYTES if weight.requires_grad else FROZEN_BYTES
        divided = min(whole, shared) if weight.requires_grad else FROZEN_BYTES * (shared == TRAINED_BYTES)
        states += weight.numel() * (whole - divided + divided / ours.gpus)
        if id(weight) not in llm and recipe.distributed.shards_weights:
            states += weight.numel() * FROZEN_BYTES  # gathered whole for each pass
    return (states + _activations(model, stage, work, ours)) / 2**30


def _trains(model: MedMVLForConditionalGeneration, name: str) -> bool:
    part = getattr(model, name)
    weights = part.weights() if hasattr(part, "weights") else part.parameters()
    return any(p.requires_grad for p in weights)


def _passes_gradient(model: MedMVLForConditionalGeneration, name: str) -> bool:
    """Whether the backward pass runs through a part: it trains, or something before it does."""
    before = [other for other in work_order(model, name) if _trains(model, other)]
    return bool(before)


def work_order(model: MedMVLForConditionalGeneration, name: str) -> list[str]:
    """A part and the parts whose output it reads."""
    if name == "llm":
        return [part for part in PARTS if getattr(model, part) is not None]
    kind = name.partition("_")[0]
    chain = [f"{kind}_encoder", f"{kind}_connector"]
    return chain[: chain.index(name) + 1]


def _training_flops(model: MedMVLForConditionalGeneration, stage: Stage, work: _Work) -> dict[str, float]:
    """Operations per sample and part: forward, backward where gradients pass and where weights train, recomputation."""
    total = {}
    for name, forward in work.flops.items():
        passes = _passes_gradient(model, name)
        total[name] = forward * (
            1 + passes + _trains(model, name) + (passes and stage.gradient_checkpointing)
        )
    return total


def _activations(
    model: MedMVLForConditionalGeneration, stage: Stage, work: _Work, ours: Assumptions
) -> float:
    """Bytes that one GPU holds for the backward pass of a micro batch; only a layer at a time where nothing is kept."""
    micro = stage.micro_batch_size or max(1, stage.batch_size // ours.gpus)
    total = 0.0
    for name in ("image_encoder", "volume_encoder", "llm"):
        if name not in work.tokens:
            continue
        width, layers = _width_and_layers(model, name)
        layer = micro * work.tokens[name] * width * LAYER_BYTES
        kept = (
            layers * micro * work.tokens[name] * width * 2 if stage.gradient_checkpointing else layers * layer
        )
        total += layer + (kept if _passes_gradient(model, name) else 0)
    vocabulary = int(model.config.get_text_config().vocab_size)
    return total + micro * ours.text_tokens * vocabulary * LOGIT_BYTES


def _width_and_layers(model: MedMVLForConditionalGeneration, name: str) -> tuple[int, int]:
    if name == "llm":
        config = model.config.get_text_config()
        return int(config.hidden_size), int(config.num_hidden_layers)
    settings: Any = getattr(model, name).part_config
    if settings.type == "slices":
        settings = settings.image
    return int(settings.widths[0]), int(getattr(settings, "num_layers", 12))


def _samples(recipe: Recipe, stage: Stage, ours: Assumptions) -> float:
    """Samples an epoch; a source that is not on this machine counts as assumed."""
    from medmvl.data.prepared import default_cache_dir
    from medmvl.data.sources import load_source

    total = 0.0
    for source in recipe.data_of(stage).train:
        here = source.path is None or Path(source.path).is_file()
        count = len(load_source(source, Path.cwd(), default_cache_dir()).samples) if here else ours.samples
        total += source.weight * count
    return total


def _missing_data(recipe: Recipe, ours: Assumptions) -> tuple[str, ...]:
    return tuple(f"{path} is not here: {ours.samples:,} samples assumed" for path in missing_data(recipe))


def missing_data(recipe: Recipe) -> list[str]:
    """Data files that the recipe names and that are not on this machine."""
    sources = [s for stage in recipe.stages for s in recipe.data_of(stage).train]
    return sorted({s.path for s in sources if s.path is not None and not Path(s.path).is_file()})


def missing_models(recipe: Recipe) -> list[str]:
    """Models that the recipe names and that are not on this machine."""
    model = recipe.model
    parts = (model.image_encoder, model.volume_encoder)
    named = [part.get("path") for part in parts if isinstance(part, dict)]
    named += [model.init, model.llm.path if model.llm else None]
    return [path for path in named if path is not None and not Path(path).is_dir()]
