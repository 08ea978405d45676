"""EfficientNet-Lite as a plain computation over a dict of weights by lukemelas' names; widths are read off the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

KERNELS_AND_STRIDES = ((3, 1), (3, 2), (5, 2), (3, 2), (5, 1), (5, 2), (3, 1))


def features(weights: Mapping[str, Tensor], pixels: Tensor) -> dict[int, Tensor]:
    """Maps after each of the seven stages, and, as 8, after the last convolution."""

    def conv(maps: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[name].shape[-1]
        for axis in (2, 3):  # TensorFlow's "same": the odd pixel comes after
            n = maps.shape[axis]
            more = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            pad = [more // 2, more - more // 2]
            maps = F.pad(maps, pad if axis == 3 else [0, 0, *pad])
        return F.conv2d(maps, weights[name], stride=stride, groups=groups)

    def norm(maps: Tensor, name: str) -> Tensor:
        shape = (1, -1, 1, 1)
        mean, var, scale, shift = (
            weights[f"{name}.{end}"].view(shape) for end in ("running_mean", "running_var", "weight", "bias")
        )
        return (maps - mean) / (var + 1e-3).sqrt() * scale + shift

    maps = norm(conv(pixels, "_conv_stem.weight", 2), "_bn0").clamp(0, 6)
    found: dict[int, Tensor] = {}
    stage, last_width = 0, -1
    count = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("_blocks."))
    for index in range(count):
        name = f"_blocks.{index}"
        width = weights[f"{name}._project_conv.weight"].shape[0]
        stage, first = (stage + 1, True) if width != last_width else (stage, False)
        last_width = width
        inner = maps
        if f"{name}._expand_conv.weight" in weights:
            inner = norm(conv(inner, f"{name}._expand_conv.weight"), f"{name}._bn0").clamp(0, 6)
        stride = KERNELS_AND_STRIDES[stage - 1][1] if first else 1
        assert weights[f"{name}._depthwise_conv.weight"].shape[-1] == KERNELS_AND_STRIDES[stage - 1][0]
        inner = norm(
            conv(inner, f"{name}._depthwise_conv.weight", stride, inner.shape[1]), f"{name}._bn1"
        ).clamp(0, 6)
        inner = norm(conv(inner, f"{name}._project_conv.weight"), f"{name}._bn2")
        maps = inner + maps if not first else inner
        found[stage] = maps
    if "_conv_head.weight" in weights:
        found[8] = norm(conv(maps, "_conv_head.weight"), "_bn1").clamp(0, 6)
    return found
