"""DCFormer, the volume encoder of Med3DVLM: large kernels decomposed into three lines, one per axis.

Sources: Med3DVLM (arXiv 2503.20047), DCFormer (arXiv 2502.05091), the block of ConvNeXt (arXiv 2201.03545).
It gives two streams: many tokens of low level and few of high level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmvl.json_types import JsonObject
from medmvl.models.encoders.base import BatchNormedConfig, VolumeEncoder
from medmvl.models.encoders.weight_names import renamed, tensors_under
from medmvl.models.features import Grid, VisualFeatures

Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
Five = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class DCFormerConfig(BatchNormedConfig):
    """Settings of DCFormer; the defaults are those of Med3DVLM, for volumes of 128 x 256 x 256 voxels."""

    type: Literal["dcformer"] = "dcformer"
    stage_widths: Five = (64, 96, 192, 384, 768)
    """Channels of the stem and of the four stages."""
    num_blocks: Four = (2, 3, 6, 2)
    kernel_sizes: Four = (13, 11, 9, 7)
    """Length of the lines per stage, odd."""
    in_channels: PositiveInt = 1
    stages: tuple[int, ...] = (3, 4)
    """The stages whose feature maps are given, one stream each; 1 to 4, in this order."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.stages or list(self.stages) != sorted(set(self.stages) & {1, 2, 3, 4}):
            raise ValueError(f"stages {self.stages} must be some of 1, 2, 3, 4, in this order.")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"kernel_sizes {self.kernel_sizes} must be odd.")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream per chosen stage."""
        return tuple(self.stage_widths[stage] for stage in self.stages)

    @property
    def channels(self) -> int:
        """As `in_channels`."""
        return self.in_channels

    def grid(self, size: tuple[int, ...]) -> Grid:
        """That of the first stream."""
        return self.grids(size)[0]

    def grids(self, size: tuple[int, ...]) -> tuple[Grid, ...]:
        """The stem divides lengths by 4, every stage by 2, rounding up."""
        depth, height, width = size
        strides = [4 * 2**stage for stage in self.stages]
        return tuple((-(-depth // s), -(-height // s), -(-width // s)) for s in strides)


class DCFormer(VolumeEncoder):
    """Volumes to the cells of feature maps."""

    Config = DCFormerConfig

    def __init__(self, config: DCFormerConfig) -> None:
        super().__init__(config)
        self.settings = config
        first = config.stage_widths[0]
        self.stem = nn.Sequential(
            Lines(config.in_channels, first, 7, stride=4),
            *[layer for _ in range(3) for layer in (nn.GELU(), Lines(first, first, 3))],
            nn.GELU(),
        )
        self.stages = nn.ModuleList()
        for index in range(config.stages[-1]):
            width = config.stage_widths[index + 1]
            blocks = [Block(width, config.kernel_sizes[index]) for _ in range(config.num_blocks[index])]
            narrower = nn.Conv3d(config.stage_widths[index], width, 1, bias=False)
            self.stages.append(nn.ModuleDict({"proj": narrower, "blocks": nn.ModuleList(blocks)}))
        self.gradient_checkpointing = False

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """One token per cell; a layer of cells lies at the slice in the middle of what its convolutions see."""
        maps = self.stem(pixel_values.to(next(self.parameters()).dtype))
        streams = []
        for index, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleDict)
            maps = stage["proj"](F.max_pool3d(maps, 3, stride=2, padding=1))
            for block in stage["blocks"].children():
                if self.gradient_checkpointing and self.training:
                    maps = checkpoint(block, maps, use_reentrant=False)
                else:
                    maps = block(maps)
            if index + 1 in self.settings.stages:
                streams.append(maps.flatten(2).transpose(1, 2))
        grids = self.settings.grids(tuple(pixel_values.shape[2:]))
        stride = 4 * 2 ** self.settings.stages[0]
        layers_mm = None if positions_mm is None else positions_mm[:, ::stride]
        return VisualFeatures(tuple(streams), grids[0], positions_mm=layers_mm, grids=grids)


class Lines(nn.Module):
    """The sum of three convolutions, along height, width and depth; each with its batch norm."""

    def __init__(self, channels: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.lines = nn.ModuleList()
        for axis in (1, 2, 0):
            kernel = tuple(kernel_size if axis == i else 1 for i in range(3))
            padding = tuple(n // 2 for n in kernel)
            convolution = nn.Conv3d(channels, width, kernel, stride=stride, padding=padding, groups=groups)  # type: ignore[arg-type]
            self.lines.append(nn.Sequential(convolution, nn.BatchNorm3d(width)))

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `(N, C, D, H, W)` in and out."""
        height, width, depth = (line(maps) for line in self.lines)
        result: Tensor = height + width + depth
        return result


class Block(nn.Module):
    """Depthwise lines and a small network on each cell, scaled per channel, next to a shortcut."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = Lines(width, width, kernel_size, groups=width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Nearly the identity."""
        nn.init.constant_(self.scale, 1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `(N, C, D, H, W)` in and out."""
        cells = self.depthwise(maps).permute(0, 2, 3, 4, 1)
        result: Tensor = maps + (self.scale * self.mlp(cells)).permute(0, 4, 1, 2, 3)
        return result


def dcformer_settings(state_dict: Mapping[str, Tensor], stages: tuple[int, ...] = (3, 4)) -> JsonObject:
    """The settings of `dcformer` for Med3DVLM's weights, read from their shapes.

    Raises:
        RecipeError: the weights are not DCFormer's.
    """
    theirs = tensors_under(state_dict, "s0.0.0.c1.0.weight", "DCFormer")
    counts = [
        len({name.split(".")[1] for name in theirs if name.startswith(f"s{index}.")}) for index in range(1, 5)
    ]
    lines = [theirs[f"s{index}.0.dwconv.c1.0.weight"] for index in range(1, 5)]
    stem = theirs["s0.0.0.c1.0.weight"]
    return {
        "type": "dcformer",
        "stage_widths": [len(stem), *[len(line) for line in lines]],
        "num_blocks": counts,
        "kernel_sizes": [line.shape[2] for line in lines],
        "in_channels": stem.shape[1],
        "stages": list(stages),
    }


def dcformer_weights(state_dict: Mapping[str, Tensor], config: DCFormerConfig) -> dict[str, Tensor]:
    """The weights of a `DCFormer` with these settings out of Med3DVLM's, whatever prefix they carry.

    Its convolutions have axes height, width, depth; ours depth, height, width.

    Raises:
        RecipeError: a tensor is missing.
    """
    theirs = tensors_under(state_dict, "s0.0.0.c1.0.weight", "DCFormer")
    with torch.device("meta"):
        names = list(DCFormer(config).state_dict())
    found = renamed(theirs, {_published_name(name): name for name in names}, "DCFormer")
    return {name: _depth_first(tensor) if tensor.ndim == 5 else tensor for name, tensor in found.items()}


def _depth_first(kernel: Tensor) -> Tensor:
    return kernel.permute(0, 1, 4, 2, 3).contiguous()


def _published_name(name: str) -> str:
    """`stages.0.blocks.1.depthwise.lines.2.0.weight` is `s1.1.dwconv.c3.0.weight`."""
    group, index, *rest = name.split(".")
    if group == "stem":  # GELUs lie between the lines of ours
        return ".".join(["s0.0", str(int(index) // 2), f"c{int(rest[1]) + 1}", *rest[2:]])
    stage = f"s{int(index) + 1}"
    if rest[0] == "proj":
        return ".".join([stage, "0", *rest])
    _, block, part, *rest = rest
    if part == "depthwise":
        return ".".join([stage, block, "dwconv", f"c{int(rest[1]) + 1}", *rest[2:]])
    if part == "mlp":
        return ".".join([stage, block, "mlp.mlp", {"0": "0", "2": "3"}[rest[0]], *rest[1:]])
    assert part == "scale", name
    return f"{stage}.{block}.gamma"
