"""Features from the cache are, bit for bit, those of the encoder: every encoder, whoever shares the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factories.encoders import IMAGES, VOLUMES
from tests.factories.parts import randomise

from medmvl.data.feature_cache import FEATURES_VERSION, FeatureCache, PartDigests, marked
from medmvl.models.collation import collate
from medmvl.models.configuration import VisualParts
from medmvl.models.encoders import build_image_encoder, build_volume_encoder
from medmvl.models.features import VisualFeatures
from medmvl.models.visual_encoding import encode_kind
from medmvl.models.visual_inputs import VisualInputs
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visual_table import to_rows
from medmvl.models.visuals import ProcessedSample, ProcessedVisual

ENCODERS = [("image", name) for name in IMAGES] + [("volume", name) for name in VOLUMES]
SIZES = {"image": (64, 64), "volume": (8, 16, 16)}
PARTS = PartDigests("an encoder")


def visuals_of(preprocessor: VisualPreprocessor, kind: str, channels: int) -> list[ProcessedVisual]:
    """Three visuals, one of them with two tiles or with slice positions."""
    generator, visuals = torch.Generator().manual_seed(3), []
    for number in range(3):
        more: dict[str, Any] = {}
        if kind == "volume":
            shape: tuple[int, ...] = (channels, *SIZES[kind])
            more = {"positions_mm": torch.arange(8.0) * 2.5} if number == 2 else {}
        else:
            tiles = 2 if number == 2 else 1
            shape = (tiles, channels, *SIZES[kind])
            more = {"tile_matrices": np.stack([np.eye(4)] * 2)} if number == 2 else {}
        pixels = torch.randn(shape, generator=generator)
        visual = preprocessor.visual_of(kind, pixels, np.eye(4), ("a note",), {"kind": kind}, **more)
        visuals.append(marked(visual, f"scan {number}"))
    return visuals


def encoded(
    kind: str, encoder: Any, visuals: list[ProcessedVisual], keep: Any = None
) -> list[VisualFeatures]:
    """What each visual of one batch gets."""
    ids = torch.zeros(1, dtype=torch.long)
    row = ProcessedSample(
        name="all", input_ids=ids, labels=None, visuals=tuple(visuals), starts=(0,) * len(visuals)
    )
    batch = collate([row], pad_id=0)
    rows = to_rows(batch["visual_table"])
    inputs = VisualInputs(
        rows, batch.get("pixel_values", ()), batch.get("pixel_values_volumes", ()), batch.get("volume_positions_mm"),
        batch.get("visual_features", ()), batch.get("visuals_to_keep"),
    )  # fmt: skip
    buckets = encode_kind(kind, encoder, inputs, keep=keep)
    found = []
    for one in rows:
        bucket = next(bucket for bucket in buckets if (one.encoded, one.index) in bucket.places)
        found.append(bucket.features.pick(bucket.places[one.encoded, one.index], one.tiles))
    return found


@pytest.mark.parametrize(("kind", "name"), ENCODERS)
def test_kept_features_equal_computed_ones(tmp_path: Path, kind: str, name: str) -> None:
    config = (IMAGES if kind == "image" else VOLUMES)[name]
    torch.manual_seed(0)
    encoder: Any = build_image_encoder(config) if kind == "image" else build_volume_encoder(config)
    randomise(encoder)
    encoder.requires_grad_(False).eval()
    parts = VisualParts.from_settings({f"{kind}_encoder": config, f"{kind}_connector": {"type": "mlp"}})
    preprocessor = VisualPreprocessor(parts, None, None)
    visuals = visuals_of(preprocessor, kind, encoder.part_config.channels)
    cache = FeatureCache(tmp_path)
    computed = encoded(kind, encoder, visuals, lambda *made: cache.keep(*made, PARTS))
    assert len(cache.entries()) == 3
    found = [cache.find(preprocessor, f"scan {number}", PARTS) for number in range(3)]
    kept = [visual for visual in found if visual is not None]
    assert len(kept) == 3
    again = encoded(kind, encoder, [kept[2], visuals[0], kept[1]])
    alone = [encoded(kind, encoder, [visual])[0] for visual in visuals]
    for number, others in ((0, again[1]), (1, again[2]), (2, again[0])):
        for other in (others, alone[number]):
            assert_equal(other, computed[number])
        before, after = visuals[number], kept[number]
        assert (after.digest, after.fingerprint, after.tiles) == (
            before.digest,
            before.fingerprint,
            before.tiles,
        )
        assert (after.grid, after.num_tokens, after.notes) == (before.grid, before.num_tokens, before.notes)
        assert np.array_equal(after.matrices, before.matrices)


def smooth_(module: torch.nn.Module) -> None:
    """Weights that follow from their place alone, on any machine."""
    with torch.no_grad():
        for weight in module.parameters():
            places = torch.arange(weight.numel(), dtype=torch.float64)
            weight.copy_((0.3 * torch.sin(places * 0.7 + weight.ndim)).reshape(weight.shape))


VALUES: dict[str, tuple[float, float]] = {
    "vit2d": (0.0911, 0.28),
    "vit3d": (0.0878, 0.2798),
    "vit3d class token": (0.1693, 3.62),
    "slices": (0.3113, 3.565),
    "medm_clip": (0.1075, 0.2884),
    "ct_vit": (0.1217, 0.2058),
    "resnet3d": (0.197, 0.3023),
    "dcformer": (0.0878, 0.4311),
    "volume_and_slices": (0.1054, 0.2769),
}
"""Mean and deviation of what `FEATURES_VERSION` makes of waves, by encoder."""
OURS = ["vit2d", *(name for name in VOLUMES if name != "ct_vit with codes")]  # its codes are drawn


def values_of(name: str) -> tuple[float, float]:
    kind = "image" if name in IMAGES else "volume"
    config = (IMAGES if kind == "image" else VOLUMES)[name]
    encoder: Any = build_image_encoder(config) if kind == "image" else build_volume_encoder(config)
    smooth_(encoder.requires_grad_(False).eval())
    shape = (1, encoder.part_config.channels, *SIZES[kind])
    waves = torch.sin(torch.arange(np.prod(shape), dtype=torch.float64) * 0.013).reshape(shape).float()
    values = torch.cat([stream.double().flatten() for stream in encoder(waves).streams])
    return round(float(values.mean()), 4), round(float(values.std()), 4)


def test_other_features_need_another_version() -> None:
    """Where this fails on purpose: raise `FEATURES_VERSION` and put the new values here; features are then made again."""
    assert FEATURES_VERSION == 1
    assert {name: values_of(name) for name in OURS} == {
        name: pytest.approx(VALUES[name], abs=2e-3) for name in OURS
    }


def assert_equal(one: VisualFeatures, other: VisualFeatures) -> None:
    assert one.stream_grids == other.stream_grids
    pairs = zip(
        (*one.streams, one.mask, one.positions_mm),
        (*other.streams, other.mask, other.positions_mm),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours is theirs is None or torch.equal(ours, theirs)
