"""Features of frozen encoders in a stage: which are kept, why others are not, and where the model hands them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medmvl.data.entry_cache import default_cache_dir
from medmvl.data.feature_cache import FeatureCache, FeatureReader, PartDigests, kinds_of, part_digests
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.training.recipe import Recipe, Stage

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor
    from medmvl.training.stage_data import StageDataset


def keep_features(
    recipe: Recipe,
    stage: Stage,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    datasets: list[StageDataset],
    precision: str,
    *,
    sharded: bool = False,
) -> str:
    """Let a stage find and keep features; returns what is kept and what is not, in one line.

    Args:
        recipe: recipe of the run.
        stage: what trains decides what is kept.
        model: as the stage trains it.
        processor: processor of the model.
        datasets: find features before they read a file.
        precision: kind of device and number type of the computation.
        sharded: whether weights are spread over processes, which then must all run the same parts.
    """
    model.train()
    model.keep_features = None
    model.each_alone = not sharded
    if recipe.data_of(stage).features is False:
        return "features are not kept: data.features is off"
    if sharded:
        return "features are not kept: weights are sharded, so all processes run the same parts"
    parts = {kind: _digests(model, stage, kind, precision) for kind in kinds_of(model)}
    frozen = {kind: found for kind, found in parts.items() if found is not None}
    trained = " and ".join(kind for kind in parts if kind not in frozen)
    if not frozen:
        return f"features are not kept: the {trained} encoder{'s train' if ' and ' in trained else ' trains'}"
    cache = FeatureCache(default_cache_dir())
    reader = FeatureReader(cache, processor, frozen)
    for dataset in datasets:
        dataset.samples.features = reader
    model.keep_features = reader.keep
    rest = f"; those of the {trained} encoder are not, as it trains" if trained else ""
    kinds = " and ".join(frozen)
    return f"features of every {kinds} are kept in {cache.folder}, up to {cache.limit / 2**30:.1f} GiB{rest}"


def _digests(
    model: MedMVLForConditionalGeneration, stage: Stage, kind: str, precision: str
) -> PartDigests | None:
    """Names what may be kept of a kind of visual; None where its encoder trains."""
    encoder = getattr(model, f"{kind}_encoder")
    if any(weight.requires_grad for weight in encoder.weights()):
        return None
    return part_digests(model, kind, precision, connect=stage.connects)
