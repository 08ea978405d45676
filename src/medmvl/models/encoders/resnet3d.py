"""A residual network inflated to 3D, as Merlin's encoder of abdominal CT.

Sources: Merlin (arXiv 2406.06512), I3D inflation (arXiv 1705.07750), ResNet (arXiv 1512.03385) with the stride in
the 3 x 3 x 3 convolution. Its weight names are torchvision's, which Merlin keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmvl.json_types import JsonObject
from medmvl.models.encoders.base import BatchNormedConfig, VolumeEncoder
from medmvl.models.encoders.weight_names import renamed, tensors_under
from medmvl.models.features import Grid, VisualFeatures

EXPANSION = 4
"""How much wider a block's output is than its inner convolutions."""


class ResNet3DConfig(BatchNormedConfig):
    """Settings of a 3D residual network; the defaults are Merlin's inflated ResNet-152."""

    type: Literal["resnet3d"] = "resnet3d"
    num_blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 8, 36, 3)
    """Blocks per stage: 3, 4, 6, 3 is ResNet-50, 3, 4, 23, 3 ResNet-101."""
    width: PositiveInt = 64
    """Channels of the first convolution; they double with every stage after the first."""
    in_channels: PositiveInt = 3
    stage: int = Field(default=4, ge=1, le=4)
    """The stage whose feature map is given; later ones are not built."""

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (EXPANSION * self.width << (self.stage - 1),)

    @property
    def channels(self) -> int:
        """As `in_channels`; grey volumes are repeated, as Merlin does."""
        return self.in_channels

    @property
    def depth_stride(self) -> int:
        """Slices from one layer of tokens to the next."""
        return 1 << self.stage

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The feature map: the lengths are halved and rounded up, in-plane once more than along depth."""
        depth, height, width = (
            -(-n // stride)
            for n, stride in zip(size, (self.depth_stride, *[2 * self.depth_stride] * 2), strict=True)
        )
        return (depth, height, width)


class ResNet3D(VolumeEncoder):
    """Volumes to the cells of a feature map."""

    Config = ResNet3DConfig

    def __init__(self, config: ResNet3DConfig) -> None:
        super().__init__(config)
        self.settings = config
        width = config.width
        self.conv1 = nn.Conv3d(
            config.in_channels, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        channels = width
        for index in range(config.stage):
            inner = width << index
            blocks = [
                Bottleneck(channels if first else EXPANSION * inner, inner, 2 if first and index else 1)
                for first in (True, *[False] * (config.num_blocks[index] - 1))
            ]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            channels = EXPANSION * inner
        self.gradient_checkpointing = False

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """One token per cell; a layer of cells lies at the slice in the middle of what its convolutions see."""
        maps = self.maxpool(torch.relu(self.bn1(self.conv1(pixel_values.to(self.conv1.weight.dtype)))))
        for index in range(self.settings.stage):
            for block in self.get_submodule(f"layer{index + 1}").children():
                if self.gradient_checkpointing and self.training:
                    maps = checkpoint(block, maps, use_reentrant=False)
                else:
                    maps = block(maps)
        layers_mm = None if positions_mm is None else positions_mm[:, :: self.settings.depth_stride]
        grid = self.grid(*pixel_values.shape[2:])
        return VisualFeatures((maps.flatten(2).transpose(1, 2),), grid, positions_mm=layers_mm)


class Bottleneck(nn.Module):
    """Three convolutions next to a shortcut."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, EXPANSION * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(EXPANSION * inner)
        self.downsample = None
        if stride != 1 or channels != EXPANSION * inner:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, EXPANSION * inner, 1, stride=stride, bias=False),
                nn.BatchNorm3d(EXPANSION * inner),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `(N, C, D, H, W)` in and out."""
        inner = torch.relu(self.bn1(self.conv1(maps)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return torch.relu(self.bn3(self.conv3(inner)) + shortcut)


def merlin_settings(state_dict: Mapping[str, Tensor], stage: int = 4) -> JsonObject:
    """The settings of `resnet3d` for Merlin's weights, which come without a configuration.

    Merlin's own volumes have axes left to right, posterior to anterior, inferior to superior and are read with the
    last first: the processor of such a model needs `input_axcodes` to match.

    Raises:
        RecipeError: the weights are not Merlin's.
    """
    theirs = tensors_under(state_dict, "layer1.0.downsample.0.weight", "Merlin")
    counts = [
        len({name.split(".")[1] for name in theirs if name.startswith(f"layer{index}.")})
        for index in range(1, 5)
    ]
    first = theirs["conv1.weight"]
    return {
        "type": "resnet3d",
        "num_blocks": counts,
        "width": first.shape[0],
        "in_channels": first.shape[1],
        "stage": stage,
    }


def merlin_weights(state_dict: Mapping[str, Tensor], config: ResNet3DConfig) -> dict[str, Tensor]:
    """The weights of a `ResNet3D` with these settings out of Merlin's, whatever prefix they carry.

    Raises:
        RecipeError: a tensor is missing.
    """
    theirs = tensors_under(state_dict, "layer1.0.downsample.0.weight", "Merlin")
    with torch.device("meta"):
        names = list(ResNet3D(config).state_dict())
    return renamed(theirs, {name: name for name in names}, "Merlin")
