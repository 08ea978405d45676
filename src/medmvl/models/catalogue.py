"""All parts with what goes in, what comes out and how large they are; plug-ins are imported and counted like built-in ones.

Weights are never made: parts are built on PyTorch's meta device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.models.connectors import CONNECTORS, build_connector, check_connector, parse_connector_config
from medmvl.models.encoders import (
    IMAGE_ENCODERS,
    VOLUME_ENCODERS,
    EncoderConfig,
    build_image_encoder,
    build_volume_encoder,
    parse_image_encoder_config,
    parse_volume_encoder_config,
)
from medmvl.models.encoders.hf_families import FAMILIES
from medmvl.models.encoders.slices import BoundSlicesConfig
from medmvl.models.encoders.volume_and_slices import BoundVolumeAndSlicesConfig
from medmvl.models.features import Grid
from medmvl.models.parts import PLUGIN_GROUPS, part_class
from medmvl.plugins import installed

SIGLIP = {"type": "hf_vision", "config": {"model_type": "siglip_vision_model", "image_size": 256}}
SLICES = {"type": "slices", "encoder": SIGLIP}
VOLUME_EXAMPLES: dict[str, JsonObject] = {
    "slices": SLICES,
    "volume_and_slices": {"volume": {"type": "vit3d"}, "slices": SLICES},
}
"""Settings shown for encoders that have no defaults; each Hugging Face family is shown as transformers has it."""
ENCODERS_OF_CONNECTORS: dict[str, JsonObject] = {
    "mlp_mixer": {"type": "dcformer"},
    "text_guided_slices": {"type": "volume_and_slices", **VOLUME_EXAMPLES["volume_and_slices"]},
}
"""The encoders that some connectors are made for; others are shown after a ViT with the width and patches below."""
PUBLISHED_SIZES: dict[str, tuple[int, ...]] = {
    "ct_vit": (240, 480, 480), "resnet3d": (160, 224, 224), "dcformer": (128, 256, 256),
}  # fmt: skip
"""Sizes of encoders whose settings name none."""
AS_SET = "as its settings say"
"""Shown for parts that need settings before they have a size, such as a library's towers."""
IMAGE_SIZE, VOLUME_SIZE = (256, 256), (32, 256, 256)
VIT_WIDTH, VIT_PATCH = 768, (4, 16, 16)


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    role: str
    name: str
    source: str
    """Package and version of a plug-in; empty for built-in parts."""
    reads: str
    gives: str
    parameters: int | None
    summary: str


def catalogue(
    image_size: tuple[int, ...] | None = None,
    volume_size: tuple[int, ...] | None = None,
    llm_width: int = 2048,
) -> list[Entry]:
    """Every encoder and connector there is.

    Args:
        image_size: height and width; by default each image encoder is shown at its own.
        volume_size: depth, height and width, likewise.
        llm_width: what connectors give.
    """
    entries = []
    for role, table in (("image encoder", IMAGE_ENCODERS), ("volume encoder", VOLUME_ENCODERS)):
        size = image_size if role == "image encoder" else volume_size
        for part in _parts(role, table):
            entries += [
                _encoder_entry(part, name, settings, size) for name, settings in _examples(part.name).items()
            ]
    image, volume = (1, *(image_size or IMAGE_SIZE)), volume_size or VOLUME_SIZE
    grids = (_patches(image, (1, *VIT_PATCH[1:])), _patches(volume, VIT_PATCH))
    return entries + [
        _connector_entry(part, grids, volume_size, llm_width) for part in _parts("connector", CONNECTORS)
    ]


@dataclass(frozen=True)
class _Part:
    """A part by its name, not yet configured."""

    role: str
    name: str
    source: str
    summary: str

    def entry(self, name: str, reads: str, gives: str, parameters: int | None) -> Entry:
        return Entry(self.role, name, self.source, reads, gives, parameters, self.summary)


def _parts(role: str, table: Mapping[str, type[nn.Module]]) -> list[_Part]:
    plugins = installed(PLUGIN_GROUPS[role])
    found = []
    for name in [*table, *(name for name in plugins if name not in table)]:
        summary = (part_class(name, table, role).__doc__ or "").partition("\n")[0]
        found.append(_Part(role, name, plugins[name].source if name in plugins else "", summary))
    return found


def _examples(name: str) -> dict[str, JsonObject]:
    """Settings by the name that the table shows."""
    if name == "hf_vision":
        return {
            f"hf_vision ({family})": {"type": name, "config": {"model_type": family}} for family in FAMILIES
        }
    return {name: {"type": name, **VOLUME_EXAMPLES.get(name, {})}}


def _encoder_entry(part: _Part, name: str, settings: JsonObject, size: tuple[int, ...] | None) -> Entry:
    for_images = part.role == "image encoder"
    try:
        parsed = parse_image_encoder_config(settings) if for_images else parse_volume_encoder_config(settings)
    except UserError:
        return part.entry(name, "", AS_SET, None)
    with torch.device("meta"):
        built = build_image_encoder(settings) if for_images else build_volume_encoder(settings)
    shown = size or own_size(parsed, part.name, IMAGE_SIZE if for_images else VOLUME_SIZE)
    reads = f"{parsed.channels} x {_times(shown)}"
    try:
        streams = zip(parsed.grids(shown), parsed.widths, strict=True)
        gives = "; ".join(f"{_tokens(grid)} of width {width}" for grid, width in streams)
    except UserError:
        gives = "not of this size"
    return part.entry(name, reads, gives, sum(weight.numel() for weight in built.weights()))


def own_size(parsed: EncoderConfig, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The size an encoder was made for: that of its settings, of its tower, or the one it was published with."""
    if isinstance(parsed, BoundVolumeAndSlicesConfig):
        return own_size(parsed.whole, name, default)
    if isinstance(parsed, BoundSlicesConfig):
        return (default[0], *own_size(parsed.image, name, default[1:]))
    size = getattr(parsed, "size", None) or PUBLISHED_SIZES.get(name)
    tower = getattr(getattr(parsed, "tower", None), "image_size", None)
    if size is None and tower is not None:
        size = (tower, tower) if isinstance(tower, int) else tuple(tower)
    return size or default


def _connector_entry(
    part: _Part, grids: tuple[Grid, Grid], volume_size: tuple[int, ...] | None, llm_width: int
) -> Entry:
    settings = {"type": part.name}
    widths: tuple[int, ...] = (VIT_WIDTH,)
    offered: list[tuple[Grid, ...]] = [(grid,) for grid in grids]
    if part.name in ENCODERS_OF_CONNECTORS:
        encoder = parse_volume_encoder_config(ENCODERS_OF_CONNECTORS[part.name])
        widths = encoder.widths
        offered = [
            encoder.grids(
                volume_size or own_size(encoder, ENCODERS_OF_CONNECTORS[part.name]["type"], VOLUME_SIZE)
            )
        ]
    reads = [_streams(each) for each in offered]
    try:
        parsed = parse_connector_config(settings)
        with torch.device("meta"):
            built = build_connector(settings, widths, llm_width)
    except UserError:
        return part.entry(part.name, " or ".join(reads), AS_SET, None)
    gives = []
    for each in offered:
        try:
            check_connector(parsed, widths, each)
            gives.append(str(parsed.num_tokens(each[0])))
        except UserError:
            gives.append("not these")
    parameters = sum(weight.numel() for weight in built.parameters())
    return part.entry(part.name, " or ".join(reads), " or ".join(gives), parameters)


def _streams(grids: tuple[Grid, ...]) -> str:
    return " and ".join(_times(grid) for grid in grids)


def _patches(size: tuple[int, ...], patch: tuple[int, ...]) -> Grid:
    depth, height, width = (max(1, length // step) for length, step in zip(size, patch, strict=True))
    return (depth, height, width)


def _tokens(grid: Grid) -> str:
    return f"{_times(grid)} = {math.prod(grid)}"


def _times(lengths: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in lengths)


def in_words(parameters: int | None) -> str:
    """A number of parameters as a person says it: `85.8 M`."""
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"


def markdown(entries: list[Entry]) -> str:
    """The encoders and the connectors as two tables, `reads` and `gives` named by what they are there."""
    heads = {
        "encoder": ("Encoder", "Pixels (channels, depth, height, width)", "Tokens (depth, height, width)"),
        "connector": ("Connector", "Grid of tokens", "Tokens for the LLM"),
    }
    tables = []
    for kind, (name, reads, gives) in heads.items():
        lines = [f"| {name} | {reads} | {gives} | Parameters | What it does |", "|---|---|---|---|---|"]
        for entry in entries:
            if entry.role.endswith(kind):
                source = f" ({entry.source})" if entry.source else ""
                cells = (
                    f"`{entry.name}`{source}",
                    entry.reads,
                    entry.gives,
                    in_words(entry.parameters),
                    entry.summary,
                )
                lines.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"
