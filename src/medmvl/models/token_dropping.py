"""Patches of a volume that look as in the layer before are left out: decided from pixels, so lengths are known first.

Hulu-Med (arXiv 2510.08668) shortens slices of CT and MR and frames of videos this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.models.configuration import VisualParts
from medmvl.models.features import Grid
from medmvl.models.volume_processing import VolumeProcessor


def changed_tokens(voxels: Tensor, grid: Grid, threshold: float) -> Tensor:
    """The tokens to keep, as increasing long indices into the flat grid.

    Kept are the whole first layer, what differs from the layer before by more than `threshold` on average over the
    voxels of a token, and of every layer at least the token that differs most.

    Args:
        voxels: `(C, D, H, W)`.
        grid: tokens along depth, height and width; each covers an equal block of voxels.
        threshold: in the units of `voxels`.
    """
    depth, height, width = grid
    cells = voxels.reshape(
        len(voxels), depth, -1, height, voxels.shape[2] // height, width, voxels.shape[3] // width
    )
    change = (cells[:, 1:] - cells[:, :-1]).abs().mean(dim=(0, 2, 4, 6)).flatten(1)
    keep = change > threshold
    keep[torch.arange(depth - 1), change.argmax(dim=1)] = True
    first = torch.ones(height * width, dtype=torch.bool)
    return torch.cat([first, keep.flatten()]).nonzero().flatten()


def check_dropping(parts: VisualParts, volumes: VolumeProcessor) -> None:
    """Raise RecipeError where tokens of volumes are to be dropped but encoder or connector do not let them go."""
    connector = parts.connectors["volume"]
    if volumes.drop_unchanged is None or connector is None:
        return
    name = "volume_processor: drop_unchanged"
    if not connector.per_token:
        raise RecipeError(
            f"{name} leaves out single tokens, but the connector {connector.type!r} makes its tokens of several; "
            "choose one that works per token, such as mlp, or remove drop_unchanged."
        )
    for size in {*volumes.largest_sizes(), volumes.crop_size or volumes.size}:
        grid = parts.grid("volume", size)
        if (grid[0] == 1 and size == volumes.size) or any(n % k for n, k in zip(size, grid, strict=True)):
            raise RecipeError(
                f"{name} compares the blocks of voxels that tokens are made of, layer by layer, but the encoder makes a "
                f"grid {grid} (depth, height, width) of {size} voxels; choose an encoder with layers of equal patches."
            )
