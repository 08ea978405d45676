"""DCFormer: the published forward pass in its own axis order and names, written with functional calls, is the reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_volume_encoder
from medmvl.models.encoders.dcformer import dcformer_settings, dcformer_weights

WIDTHS, BLOCKS, KERNELS = (4, 6, 8, 10, 12), (2, 1, 2, 1), (7, 5, 3, 3)


def checkpoint():
    """DCFormer's tensors with names and shapes as published, small; kernels over height, width, depth."""
    shapes: dict[str, tuple[int, ...]] = {}

    def lines(name, channels, width, size):
        for index in range(3):
            kernel = [1, 1, 1]
            kernel[index] = size
            shapes[f"{name}.c{index + 1}.0.weight"] = (width, channels, *kernel)
            shapes[f"{name}.c{index + 1}.0.bias"] = (width,)
            for statistic in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.c{index + 1}.1.{statistic}"] = (width,)
            shapes[f"{name}.c{index + 1}.1.num_batches_tracked"] = ()

    for index in range(4):
        lines(f"s0.0.{index}", WIDTHS[0] if index else 1, WIDTHS[0], 3 if index else 7)
    for stage in range(1, 5):
        width = WIDTHS[stage]
        shapes[f"s{stage}.0.proj.weight"] = (width, WIDTHS[stage - 1], 1, 1, 1)
        for block in range(BLOCKS[stage - 1]):
            name = f"s{stage}.{block}"
            lines(f"{name}.dwconv", 1, width, KERNELS[stage - 1])
            shapes |= {
                f"{name}.mlp.mlp.0.weight": (4 * width, width), f"{name}.mlp.mlp.0.bias": (4 * width,),
                f"{name}.mlp.mlp.3.weight": (width, 4 * width), f"{name}.mlp.mlp.3.bias": (width,),
                f"{name}.gamma": (width,),
            }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    weights = {
        name: torch.tensor(3)
        if name.endswith("tracked")
        else tensor.abs() + 0.5
        if name.endswith("var")
        else tensor
        for name, tensor in weights.items()
    }
    return {f"vision_encoder.encoder.{name}": tensor for name, tensor in weights.items()} | {
        "logit_scale": torch.ones(())
    }


def published(weights, volume):
    """The feature maps of the four stages as tokens, depth first, as the published encoder gives them."""
    w = {name.removeprefix("vision_encoder.encoder."): tensor for name, tensor in weights.items()}
    maps = volume.permute(0, 1, 3, 4, 2)  # N, C, H, W, D

    def lines(name, x, size, stride=1, groups=1):
        total = 0
        for index in range(3):
            line, padding = f"{name}.c{index + 1}", [0, 0, 0]
            padding[index] = size // 2
            y = F.conv3d(x, w[f"{line}.0.weight"], w[f"{line}.0.bias"], stride, padding, groups=groups)
            total = total + F.batch_norm(
                y,
                w[f"{line}.1.running_mean"],
                w[f"{line}.1.running_var"],
                w[f"{line}.1.weight"],
                w[f"{line}.1.bias"],
            )
        return total

    maps = F.gelu(lines("s0.0.0", maps, 7, stride=4))
    for index in (1, 2, 3):
        maps = F.gelu(lines(f"s0.0.{index}", maps, 3))
    streams = []
    for stage in range(1, 5):
        maps = F.conv3d(F.max_pool3d(maps, 3, 2, 1), w[f"s{stage}.0.proj.weight"])
        for block in range(BLOCKS[stage - 1]):
            name = f"s{stage}.{block}"
            cells = lines(f"{name}.dwconv", maps, KERNELS[stage - 1], groups=maps.shape[1]).permute(
                0, 2, 3, 4, 1
            )
            cells = F.gelu(F.linear(cells, w[f"{name}.mlp.mlp.0.weight"], w[f"{name}.mlp.mlp.0.bias"]))
            cells = F.linear(cells, w[f"{name}.mlp.mlp.3.weight"], w[f"{name}.mlp.mlp.3.bias"])
            maps = maps + (w[f"{name}.gamma"] * cells).permute(0, 4, 1, 2, 3)
        streams.append(maps.permute(0, 4, 2, 3, 1).flatten(1, 3))  # N, D * H * W, C
    return streams


@pytest.mark.parametrize("stages", [(3, 4), (1, 2, 4), (2,)])
def test_the_streams_are_the_published_ones(stages):
    weights, volume = checkpoint(), torch.randn(2, 1, 40, 96, 64)
    encoder = build_volume_encoder(dcformer_settings(weights, stages)).eval()
    encoder.load_state_dict(dcformer_weights(weights, encoder.part_config))
    features, expected = encoder(volume), published(weights, volume)
    assert features.stream_grids == encoder.part_config.grids((40, 96, 64))
    for stage, stream in zip(stages, features.streams, strict=True):
        torch.testing.assert_close(stream, expected[stage - 1], rtol=1e-3, atol=1e-4)


def test_med3dvlms_volumes_give_256_tokens_of_low_and_32_of_high_level():
    config = type(build_volume_encoder({"type": "dcformer", "stage_widths": [4, 4, 4, 4, 4]}).part_config)()
    assert config.grids((128, 256, 256)) == ((4, 8, 8), (2, 4, 4)) and config.widths == (384, 768)


def test_settings_are_read_from_the_shapes():
    assert dcformer_settings(checkpoint()) == {
        "type": "dcformer", "stage_widths": [4, 6, 8, 10, 12], "num_blocks": [2, 1, 2, 1],
        "kernel_sizes": [7, 5, 3, 3], "in_channels": 1, "stages": [3, 4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"stages": [4, 3]}, "in this order"), ({"stages": [0]}, "some of 1, 2, 3, 4"), ({"stages": []}, "some of"),
     ({"kernel_sizes": [7, 5, 4, 3]}, "must be odd")],
)  # fmt: skip
def test_wrong_settings_are_refused_with_the_reason(changes, message):
    with pytest.raises(RecipeError, match=message):
        build_volume_encoder({"type": "dcformer", **changes})
