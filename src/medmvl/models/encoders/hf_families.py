"""What is particular to a family of Hugging Face vision towers: where its tokens lie, and how it is cut and run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from medmvl.errors import RecipeError

Tower = Any
"""Image tower of another library, whose modules are known by their names alone."""
TowerConfig = Any
"""Its configuration, with the keys of its family."""
Step = tuple[int, int, int]
"""A convolution, pooling or merging of pixels along an axis: kernel, stride, padding of both ends together."""


@dataclass(frozen=True)
class Stages:
    """A family whose stages give feature maps of falling resolution: convolutional networks, and Swin."""

    widths: Callable[[TowerConfig], tuple[int, ...]]
    """The channels of each stage's map, from the tower's configuration."""
    steps: Callable[[TowerConfig], list[list[Step]]]
    """Strides that lower the resolution: in the stem first, then in each stage."""
    cut: Callable[[Tower, int], None]
    """Remove what follows a stage (counted from 1)."""
    run: Callable[[Tower, Tensor], Tensor]
    """Pixels to the tokens `(N, height * width, C)` of the last stage that is left."""
    smallest_map: Callable[[TowerConfig], int] = lambda config: 1
    """The least side that a map may have at any stage."""

    def map_size(self, config: TowerConfig, size: tuple[int, ...], stage: int) -> tuple[int, int]:
        """Height and width of a stage's map. Raises RecipeError where pixels of `size` are too few."""
        lengths, least = list(size), self.smallest_map(config)
        for steps in self.steps(config)[: stage + 1]:
            for kernel, stride, padding in steps:
                lengths = [(n + padding - kernel) // stride + 1 for n in lengths]
            if min(lengths) < least:
                raise RecipeError(
                    f"hf_vision: {size[0]} x {size[1]} pixels are too few for {config.model_type}: a map of "
                    f"{lengths[0]} x {lengths[1]} cells is smaller than {least}."
                )
        return lengths[0], lengths[1]


@dataclass(frozen=True)
class Family:
    """How one family of towers is built and what its tokens are."""

    class_token: bool = False
    final_norm: str | None = None
    """Attribute of the norm after the last layer."""
    norm_is_for_patches: bool = True
    """False where the family applies that norm to the pooled features only."""
    heads: tuple[str, ...] = ()
    """Attributes that pool the tokens; they are removed."""
    interpolates_on_request: bool = False
    """True where `forward` takes `interpolate_pos_encoding`; otherwise positions always fit the size."""
    reads_patches: bool = False
    """True where it reads patches and their layout instead of pixels: SigLIP 2 with native aspect ratio (NaFlex)."""
    stages: Stages | None = None


def _convnext_steps(config: TowerConfig) -> list[list[Step]]:
    stem: list[Step] = [(config.patch_size, config.patch_size, 0)]
    return [stem, [], *[[(2, 2, 0)] for _ in config.hidden_sizes[1:]]]


def _cut_stages(tower: Tower, stage: int) -> None:
    tower.encoder.stages = tower.encoder.stages[:stage]


def _run_convnext(tower: Tower, pixels: Tensor) -> Tensor:
    return _tokens(tower.encoder(tower.embeddings(pixels)).last_hidden_state)


def _resnet_steps(config: TowerConfig) -> list[list[Step]]:
    first: list[Step] = [(3, 2, 2)] if config.downsample_in_first_stage else []
    return [[(7, 2, 6), (3, 2, 2)], first, *[[(3, 2, 2)] for _ in config.hidden_sizes[1:]]]


def _run_resnet(tower: Tower, pixels: Tensor) -> Tensor:
    return _tokens(tower.encoder(tower.embedder(pixels)).last_hidden_state)


def _efficientnet_repeats(config: TowerConfig) -> list[int]:
    return [math.ceil(config.depth_coefficient * repeats) for repeats in config.num_block_repeats]


def _efficientnet_widths(config: TowerConfig) -> tuple[int, ...]:
    """The groups of blocks, then the convolution at the top, whose map the library gives."""
    from transformers.models.efficientnet.modeling_efficientnet import round_filters

    return tuple(round_filters(config, channels) for channels in (*config.out_channels, 1280))


def _efficientnet_steps(config: TowerConfig) -> list[list[Step]]:
    """As TensorFlow pads: one pixel less on one side, except in the blocks that the configuration names."""
    steps: list[list[Step]] = [[(3, 2, 1)]]
    block = 0
    for kernel, stride, repeats in zip(
        config.kernel_sizes, config.strides, _efficientnet_repeats(config), strict=True
    ):
        padding = 2 * (kernel // 2) - (block not in config.depthwise_padding)
        steps.append([(kernel, stride, padding)] if stride == 2 else [])
        block += repeats
    return [*steps, []]


def _cut_efficientnet(tower: Tower, stage: int) -> None:
    repeats = _efficientnet_repeats(tower.config)
    if stage <= len(repeats):
        tower.encoder.blocks = tower.encoder.blocks[: sum(repeats[:stage])]
        for name in ("top_conv", "top_bn", "top_activation"):
            setattr(tower.encoder, name, nn.Identity())


def _swin_steps(config: TowerConfig) -> list[list[Step]]:
    """Borders that do not fill a patch, or a pair of cells, are padded."""
    patch = config.patch_size
    return [[(patch, patch, patch - 1)], [], *[[(2, 2, 1)] for _ in config.depths[1:]]]


def _cut_swin(tower: Tower, stage: int) -> None:
    """What lies between two stages belongs to the later one."""
    tower.encoder.layers = tower.encoder.layers[:stage]
    tower.encoder.layers[-1].downsample = None


def _run_swin(tower: Tower, pixels: Tensor) -> Tensor:
    """The library's blocks keep the window of the last small image they saw: each call starts from the configured."""
    window = tower.config.window_size
    for layer in tower.encoder.layers:
        for index, block in enumerate(layer.blocks):
            block.window_size, block.shift_size = window, 0 if index % 2 == 0 else window // 2
    resized = tuple(pixels.shape[2:]) != pair(tower.config.image_size)
    tokens: Tensor = tower(pixel_values=pixels, interpolate_pos_encoding=resized).last_hidden_state
    return tokens


def _tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of what a configuration gives as one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


_CONVNEXT = Family(
    final_norm="layernorm",
    norm_is_for_patches=False,
    stages=Stages(
        widths=lambda config: tuple(config.hidden_sizes),
        steps=_convnext_steps,
        cut=_cut_stages,
        run=_run_convnext,
    ),
)
FAMILIES: dict[str, Family] = {
    "clip_vision_model": Family(
        class_token=True, final_norm="post_layernorm", norm_is_for_patches=False, interpolates_on_request=True
    ),
    "siglip_vision_model": Family(final_norm="post_layernorm", heads=("head",), interpolates_on_request=True),
    "siglip2_vision_model": Family(final_norm="post_layernorm", heads=("head",), reads_patches=True),
    "vit": Family(class_token=True, final_norm="layernorm", heads=("pooler",), interpolates_on_request=True),
    "dinov2": Family(class_token=True, final_norm="layernorm"),
    "dinov2_with_registers": Family(class_token=True, final_norm="layernorm"),
    "dinov3_vit": Family(class_token=True, final_norm="norm"),
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "resnet": Family(
        stages=Stages(
            widths=lambda config: tuple(config.hidden_sizes),
            steps=_resnet_steps,
            cut=_cut_stages,
            run=_run_resnet,
        )
    ),
    "efficientnet": Family(
        stages=Stages(
            widths=_efficientnet_widths, steps=_efficientnet_steps, cut=_cut_efficientnet, run=_run_convnext
        )
    ),
    "swin": Family(
        final_norm="layernorm",
        stages=Stages(
            widths=lambda config: tuple(config.embed_dim << stage for stage in range(len(config.depths))),
            steps=_swin_steps,
            cut=_cut_swin,
            run=_run_swin,
            smallest_map=lambda config: config.window_size,
        ),
    ),
}
TWO_TOWERS: dict[str, str] = {
    "clip": "clip_vision_model",
    "siglip": "siglip_vision_model",
    "siglip2": "siglip2_vision_model",
}
"""Checkpoints of an image and a text tower, and the type of the image tower inside. SigLIP 2 of fixed size is `siglip`."""
