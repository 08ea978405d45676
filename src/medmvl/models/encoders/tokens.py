"""What encoders with tokens share: the class token next to the patches, and positions that fit other sizes."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medmvl.models.features import Grid

Select = Literal["patch", "cls_patch", "cls"]
"""`patch` is LLaVA's `default`: the patches alone; `cls_patch` its `full`: the class token before them."""
INTERPOLATIONS: dict[int, str] = {2: "bilinear", 3: "trilinear"}


def selected_grid(patches: Grid, select: Select) -> Grid:
    """The grid of what is selected. Together with a class token patches have no layout: `(1, 1, 1 + patches)`."""
    layouts: dict[Select, Grid] = {
        "patch": patches,
        "cls_patch": (1, 1, 1 + math.prod(patches)),
        "cls": (1, 1, 1),
    }
    return layouts[select]


def select_tokens(tokens: Tensor, select: Select, num_prefix_tokens: int) -> Tensor:
    """The selected of `(N, prefix + patches, width)`; of the prefix only the first, the class token, ever is.

    Args:
        tokens: all tokens, patches last.
        select: which are wanted.
        num_prefix_tokens: class token and registers before the patches.
    """
    if select == "cls":
        return tokens[:, :1]
    patches = tokens[:, num_prefix_tokens:]
    return patches if select == "patch" else torch.cat([tokens[:, :1], patches], dim=1)


def resized_positions(table: Tensor, native: tuple[int, ...], patches: tuple[int, ...]) -> Tensor:
    """Position embeddings `(1, prod(native), width)` interpolated linearly to `(1, prod(patches), width)`."""
    if patches == native:
        return table
    grid = table.transpose(1, 2).reshape(1, -1, *native)
    resized = F.interpolate(grid, size=patches, mode=INTERPOLATIONS[len(patches)], align_corners=False)
    return resized.flatten(2).transpose(1, 2)


def layer_positions(positions_mm: Tensor | None, depth: int, num_slices: int) -> Tensor | None:
    """Where layers of tokens lie, `(N, depth)`: each at the mean of the slices that it covers.

    Args:
        positions_mm: `(N, D)` of the slices; None where unknown.
        depth: layers of tokens.
        num_slices: slices per layer; the last layer may hold fewer, as where convolutions pad.
    """
    if positions_mm is None:
        return None
    layers = torch.split(positions_mm, num_slices, dim=1)
    assert len(layers) == depth, (positions_mm.shape, depth, num_slices)
    return torch.stack([layer.mean(dim=1) for layer in layers], dim=1)


def flat_patches(pixels: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """Volumes `(N, C, D, H, W)` cut into patches `(N, patches, C, d, h, w)`, for linear patch maps."""
    batch, channels, *size = pixels.shape
    grid = [n // p for n, p in zip(size, patch_size, strict=True)]
    sides = [side for pair in zip(grid, patch_size, strict=True) for side in pair]
    cut = pixels.reshape(batch, channels, *sides).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return cut.reshape(batch, math.prod(grid), channels, *patch_size)
