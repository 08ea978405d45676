"""EfficientNet-Lite (arXiv 1905.11946; the Lite variants have no squeeze and excitation, and ReLU6 in place of Swish).

Names of weights are those of lukemelas' EfficientNet-PyTorch. Padding is TensorFlow's: the odd pixel after the image.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt, field_validator
from safetensors.torch import load_file
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.encoders import ImageEncoder
from medmvl.models.encoders.base import BatchNormedConfig
from medmvl.models.features import Grid, VisualFeatures

VARIANTS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Factors of width and depth."""
HEAD, HEAD_WIDTH, STEM_WIDTH = 8, 1280, 32
"""The last convolution counts as level 8; it and the stem are as wide in every variant."""


class Stage(NamedTuple):
    """Blocks of one width, the first of which may halve the grid."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80), Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320),
)  # fmt: skip


def stages_of(variant: str) -> list[Stage]:
    """The stages of a variant: widths in whole eights, the first and the last stage with one block."""
    wider, deeper = VARIANTS[variant]
    found = []
    for index, stage in enumerate(STAGES):
        width = max(8, int(stage.width * wider + 4) // 8 * 8)
        width += 8 if width < 0.9 * stage.width * wider else 0
        repeats = stage.repeats if index in (0, len(STAGES) - 1) else math.ceil(stage.repeats * deeper)
        found.append(stage._replace(width=width, repeats=repeats))
    return found


class EfficientNetLiteConfig(BatchNormedConfig):
    """Settings: `image_encoder: {type: efficientnet_lite, path: FOLDER, levels: [5, 8]}`."""

    type: Literal["efficientnet_lite"] = "efficientnet_lite"
    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    levels: tuple[int, ...] = (HEAD,)
    """Stages 1 to 7, and 8, the last convolution, whose maps are put side by side on the coarsest grid."""

    cells: tuple[PositiveInt, PositiveInt] | None = None
    """Rows and columns that the maps are averaged to, for fewer tokens; None: the coarsest level's own."""

    @field_validator("levels")
    @classmethod
    def _known(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels or list(levels) != sorted(set(levels)) or not 1 <= levels[0] <= levels[-1] <= HEAD:
            raise ValueError(f"levels are numbers from 1 to {HEAD} in rising order")
        return levels

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream: the channels of all levels."""
        stages = stages_of(self.variant)
        return (sum(HEAD_WIDTH if level == HEAD else stages[level - 1].width for level in self.levels),)

    @property
    def channels(self) -> int:
        """Colour; grey images are repeated."""
        return 3

    def grid(self, size: tuple[int, ...]) -> Grid:
        """Height and width halved, and rounded up, by the stem and by every stage that strides."""
        times = 1 + sum(stage.stride == 2 for stage in STAGES[: self.levels[-1]])
        height, width = size
        for _ in range(times):
            height, width = -(-height // 2), -(-width // 2)
        return (1, *(self.cells or (height, width)))


class EfficientNetLite(ImageEncoder):
    """Images to a grid of tokens."""

    Config = EfficientNetLiteConfig

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.levels = config.levels
        self._conv_stem = Conv(3, STEM_WIDTH, 3, stride=2)
        self._bn0 = norm(STEM_WIDTH)
        blocks: list[nn.Module] = []
        self.ends: list[int] = []
        width = STEM_WIDTH
        for stage in stages_of(config.variant)[: self.levels[-1]]:
            for repeat in range(stage.repeats):
                stride = 1 if repeat else stage.stride
                blocks.append(Block(width, stage.width, stage.kernel, stride, stage.expansion))
                width = stage.width
            self.ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        if self.levels[-1] == HEAD:
            self._conv_head = Conv(width, HEAD_WIDTH, 1)
            self._bn1 = norm(HEAD_WIDTH)

    @staticmethod
    def pretrained_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The variant of the weights in a folder of `medmvl pretrained get`, under what the recipe says."""
        path = Path(settings["path"]) / "encoder.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise RecipeError(
                f"image encoder: {path} is missing or no JSON; make it: medmvl pretrained get efficientnet-lite0 FOLDER"
            ) from None
        if found.get("type") != "efficientnet_lite":
            raise RecipeError(
                f"image encoder: {path} is of type {found.get('type')!r}, not 'efficientnet_lite'"
            )
        return {**found, **{key: value for key, value in settings.items() if key != "path"}}

    def load_pretrained(self, path: str) -> None:
        """Take the weights; what lies after the last level, such as the classifier, is left out."""
        file = Path(path) / "model.safetensors"
        try:
            tensors = load_file(file)
            self.load_state_dict({name: tensors[name] for name in self.state_dict()})
        except (OSError, KeyError, RuntimeError) as error:
            raise RecipeError(
                f"image encoder: {file} does not fit {self.part_config.type}: {error}"
            ) from None

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """`(N, 3, H, W)` to one token per cell of the coarsest level."""
        maps = F.relu6(self._bn0(self._conv_stem(pixel_values.to(self._conv_stem.weight.dtype))))
        kept = []
        for index, block in enumerate(self._blocks, start=1):
            maps = block(maps)
            if index in self.ends and self.ends.index(index) + 1 in self.levels:
                kept.append(maps)
        if self.levels[-1] == HEAD:
            kept.append(F.relu6(self._bn1(self._conv_head(maps))))
        grid = self.grid(*pixel_values.shape[2:])
        cells = torch.cat([F.adaptive_avg_pool2d(level, grid[1:]) for level in kept], dim=1)
        return VisualFeatures((cells.flatten(2).mT,), grid)


class Conv(nn.Conv2d):
    """A convolution without bias whose grid is the old one over the stride, rounded up."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `(N, C, H, W)` in and out."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        bottom, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in maps.shape[2:])
        return super().forward(
            F.pad(maps, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))
        )


def norm(width: int) -> nn.BatchNorm2d:
    """A batch norm as TensorFlow has it."""
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where the shape stays."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.widens, self.adds = expansion > 1, stride == 1 and channels == width
        if self.widens:
            self._expand_conv = Conv(channels, inner, 1)
            self._bn0 = norm(inner)
        self._depthwise_conv = Conv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = norm(inner)
        self._project_conv = Conv(inner, width, 1)
        self._bn2 = norm(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps `(N, C, H, W)` in and out."""
        inner = F.relu6(self._bn0(self._expand_conv(maps))) if self.widens else maps
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        narrow = self._bn2(self._project_conv(inner))
        return narrow + maps if self.adds else narrow
