"""What frozen encoders make of scans, on disk: shared by stages, runs, seeds, `evaluate`, the engine and the server.

A key is a digest of the scan's pixels (as of `medmvl.data.prepared`), of the encoder's weights and settings, of the number
type, kind of device and instructions it computes with, of the versions of what computes, and of the code of plug-ins. Where
the connector is frozen too, and no question guides it, its tokens are kept instead if they are smaller. What comes from here is
bit for bit what the encoder gives, as an encoder without gradient reads each visual alone (`medmvl.models.visual_encoding`).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn

import medmvl
from medmvl.data.entry_cache import EntryCache, default_cache_dir
from medmvl.data.prepared import cache_key, settings_digest, view_facts, view_of, view_tensors
from medmvl.datasets.loader import BlockLoader
from medmvl.json_types import JsonMapping
from medmvl.models.features import VisualFeatures
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.visual_encoding import connects_alone
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visual_table import KINDS
from medmvl.models.visuals import FeatureKey, PixelNames, ProcessedVisual, VisualLoader, digest
from medmvl.schema import ImageBlock, VolumeBlock

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

FEATURES_VERSION = 1
"""Raised when an encoder or connector of ours makes other features of the same pixels, weights and settings; a test holds the
values of every version, so that such a change is noticed."""

_VERSIONED = {"medmvl", "torch", "transformers"}
"""Packages whose versions are in a key."""


@dataclass(frozen=True)
class PartDigests:
    """Names the parts of one kind of visual whose features may be kept."""

    encoder: str
    """Digest of the encoder; names what it makes of pixels."""
    connector: str | None = None
    """Digest of encoder and connector; None where the connector trains, or a question guides it."""

    @property
    def levels(self) -> tuple[str, ...]:
        """What may lie in the cache, best first."""
        return (self.encoder,) if self.connector is None else (self.connector, self.encoder)


class FeatureCache(EntryCache):
    """Features in `folder/features`, those of each view of a scan in an entry of its own."""

    def __init__(self, folder: Path, limit: int | None = None, *, strict: bool = False) -> None:
        super().__init__(self.place(folder), limit, "features", strict=strict)

    @staticmethod
    def place(folder: Path) -> Path:
        """Where features are in a cache folder."""
        return folder / "features"

    def find(self, preprocessor: VisualPreprocessor, scan: str, parts: PartDigests) -> ProcessedVisual | None:
        """A scan with features in place of its pixels, or None where some view of it is missing."""
        for level in parts.levels:
            first = self._view(preprocessor, scan, level, 0)
            if first is None:
                continue
            whole, num_views = first
            others = [self._view(preprocessor, scan, level, number) for number in range(1, num_views)]
            crops = [view for view, _ in filter(None, others)]
            if len(crops) == len(others):
                return replace(whole, crops=tuple(crops))
        return None

    def keep(
        self,
        visual: ProcessedVisual,
        features: VisualFeatures,
        tokens: VisualFeatures | None,
        parts: PartDigests,
    ) -> None:
        """Keep what parts made of a view without pixels: its tokens, where these are known and the smaller ones."""
        key = visual.feature_key
        assert key is not None
        level, chosen = parts.encoder, features
        if tokens is not None and parts.connector is not None and tokens.nbytes <= features.nbytes:
            level, chosen = parts.connector, tokens
        if chosen.connected and level == parts.encoder:
            return  # tokens were kept before, and the encoder did not run
        streams = {f"stream.{number}": stream for number, stream in enumerate(chosen.streams)}
        more = {"mask": chosen.mask, "layer_positions": chosen.positions_mm, "kept": visual.kept}
        tensors = {
            **view_tensors(visual), **streams, **{name: t for name, t in more.items() if t is not None}
        }  # fmt: skip
        facts = {
            **view_facts(visual), "num_views": key.num_views, "shape": list(visual.pixels.shape), "grid": chosen.grid,
            "grids": chosen.grids, "connected": chosen.connected, "names": [visual.pixel_digest, visual.fingerprint],
        }  # fmt: skip
        self.write(_name(key.scan, level, key.view), tensors, facts)

    def _view(
        self, preprocessor: VisualPreprocessor, scan: str, level: str, number: int
    ) -> tuple[ProcessedVisual, int] | None:
        entry = self.read(_name(scan, level, number))
        if entry is None:
            return None
        tensors, facts = entry
        count = sum(name.startswith("stream.") for name in tensors)
        features = VisualFeatures(
            tuple(tensors[f"stream.{index}"] for index in range(count)),
            _grid(facts["grid"]),
            tensors.get("mask"),
            tensors.get("layer_positions"),
            tuple(_grid(grid) for grid in facts["grids"]),
            facts["connected"],
        )
        pixels = torch.empty(facts["shape"], device="meta")
        names = PixelNames(*facts["names"])
        kept = tensors.get("kept")
        return view_of(
            preprocessor, facts, tensors, pixels, kept=kept, features=features, names=names
        ), facts["num_views"]


def _grid(values: list[int]) -> tuple[int, int, int]:
    depth, height, width = values
    return depth, height, width


def _name(scan: str, level: str, view: int) -> str:
    return hashlib.sha256(f"{scan} {level} {view}".encode()).hexdigest()


class FeatureReader:
    """Looks for the features of a block before its file is read. Small and picklable, for worker processes.

    Args:
        cache: where they are.
        processor: processor of the model that reads them.
        parts: by kind of visual, the parts whose features may be kept.
    """

    def __init__(
        self, cache: FeatureCache, processor: MedMVLProcessor, parts: Mapping[str, PartDigests]
    ) -> None:
        self.cache = cache
        self.parts = dict(parts)
        self._preprocessor = processor.visual_preprocessor
        self._settings = settings_digest(processor)

    def wrap(self, load: BlockLoader, decode: VisualLoader) -> VisualLoader:
        """Return a `load` that gives features, or what `decode` gives with the place where its features belong."""

        def cached(block: ImageBlock | VolumeBlock) -> ProcessedVisual:
            parts = self.parts.get(block.type)
            if parts is None:
                return decode(block)
            scan = cache_key(load, block, self._settings)
            return self.cache.find(self._preprocessor, scan, parts) or marked(decode(block), scan)

        return cached

    def renewed(self, visual: ProcessedVisual) -> ProcessedVisual:
        """A visual with features in place of pixels, if these were kept since it was read."""
        key = visual.feature_key
        if key is None or visual.features is not None or visual.kind not in self.parts:
            return visual
        return self.cache.find(self._preprocessor, key.scan, self.parts[visual.kind]) or visual

    def keep(self, visual: ProcessedVisual, features: VisualFeatures, tokens: VisualFeatures | None) -> None:
        """Keep what the model has just made, as `FeatureCache.keep`."""
        parts = self.parts.get(visual.kind)
        if parts is not None:
            self.cache.keep(visual, features, tokens, parts)


def marked(visual: ProcessedVisual, scan: str) -> ProcessedVisual:
    """A visual that says where the features of each of its views belong."""
    count = len(visual.views)
    crops = tuple(
        replace(crop, feature_key=FeatureKey(scan, number, count))
        for number, crop in enumerate(visual.crops, 1)
    )
    return replace(visual, feature_key=FeatureKey(scan, 0, count), crops=crops)


def part_digests(
    model: MedMVLForConditionalGeneration, kind: str, precision: str, *, connect: bool = True
) -> PartDigests:
    """Names encoder and connector of a model by weights, settings and what computes them.

    Args:
        model: with the parts as they will be used, frozen or not.
        kind: of visual.
        precision: kind of device and number type of the computation.
        connect: whether tokens of the connector may be kept.
    """
    encoder, connector = getattr(model, f"{kind}_encoder"), getattr(model, f"{kind}_connector")
    about = {
        "version": [FEATURES_VERSION, medmvl.__version__], "torch": torch.__version__, "transformers": transformers.__version__,
        "matmul": torch.get_float32_matmul_precision(), "precision": precision, "plugins": model.config.plugins,
        "attention": str(getattr(model.config, "_attn_implementation", None)), "settings": encoder.all_settings(),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # another processor rounds otherwise
    }  # fmt: skip
    of_encoder = _digest(about | _code_of(encoder), encoder.state())
    if not connect or not connects_alone(encoder, connector):
        return PartDigests(of_encoder)
    settings = {"encoder": of_encoder, "settings": connector.part_config.to_dict(), **_code_of(connector)}
    return PartDigests(of_encoder, _digest(settings, [*connector.parameters(), *connector.buffers()]))


def _code_of(part: nn.Module) -> dict[str, str]:
    """Digest of the packages that a part's modules come from: plug-ins change under one version. Empty for our own parts."""
    packages = {type(module).__module__.partition(".")[0] for module in part.modules()} - _VERSIONED
    modules = [sys.modules[name] for name in packages if name in sys.modules]
    files = sorted(file for module in modules for file in _sources_of(module))
    if not files:
        return {}
    return {"code": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()}


def _sources_of(module: ModuleType) -> list[Path]:
    """Files of a package or module; none where it has none, as in a notebook."""
    if hasattr(module, "__path__"):
        return [file for folder in module.__path__ for file in Path(folder).rglob("*.py")]
    file = getattr(module, "__file__", None)
    return [Path(file)] if file else []


def _digest(about: JsonMapping, tensors: Any) -> str:
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256(f"{text} {digest(*tensors)}".encode()).hexdigest()


def precision_of(device: torch.device, *, in_bfloat16: bool) -> str:
    """Names the type of device and the number type of a computation: bfloat16 by autocast, or that of the weights."""
    return f"{device.type} {'bfloat16' if in_bfloat16 else 'as the weights'}"


def kinds_of(model: MedMVLForConditionalGeneration) -> list[str]:
    """The kinds of visuals that a model reads."""
    return [kind for kind in KINDS if getattr(model, f"{kind}_encoder") is not None]


def feature_reader(model: MedMVLForConditionalGeneration, processor: MedMVLProcessor) -> FeatureReader:
    """Features of a model that answers: in its own number types, no part of it training."""
    precision = precision_of(model.device, in_bfloat16=False)
    with torch.no_grad():
        parts = {kind: part_digests(model, kind, precision) for kind in kinds_of(model)}
    return FeatureReader(FeatureCache(default_cache_dir()), processor, parts)
