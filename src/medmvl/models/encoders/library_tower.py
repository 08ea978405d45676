"""Image towers of optional libraries, imported only when a recipe names them: what timm's and open_clip's share."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from importlib import import_module
from types import ModuleType

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.encoders.base import BatchNormedConfig, ImageEncoder
from medmvl.models.features import Grid, VisualFeatures


class TowerConfig(BatchNormedConfig):
    """Settings of a tower that gives the feature maps of its layers or stages."""

    in_channels: PositiveInt = 3
    layer: int = -1
    """Index of the library's list of feature maps, one per layer or stage: 0 is the first, -1 the last."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The tower with fresh weights, cut after the chosen layer."""

    @abstractmethod
    def maps(self, tower: nn.Module, pixels: Tensor) -> Tensor:
        """The chosen feature map `(N, C, h, w)`."""

    @model_validator(mode="after")
    def _builds(self) -> TowerConfig:
        _ = self.skeleton
        return self

    @cached_property
    def skeleton(self) -> nn.Module:
        """The tower without weights, to read sizes from."""
        with torch.device("meta"):
            return self.build().eval()

    @cached_property
    def shapes(self) -> dict[tuple[int, ...], tuple[int, int, int]]:
        """Channels, height and width of the maps that were asked for so far, by the size of the pixels."""
        return {}

    @property
    def channels(self) -> int:
        """As `in_channels`."""
        return self.in_channels

    def map_shape(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        """Channels, height and width of the map. Raises RecipeError where the tower cannot read this size."""
        if size not in self.shapes:
            pixels = torch.empty(1, self.in_channels, *size, device="meta")
            try:
                with torch.no_grad():
                    _, *shape = self.maps(self.skeleton, pixels).shape
            except (AssertionError, RuntimeError, ValueError) as error:
                raise RecipeError(
                    f"{self.type}: {size[0]} x {size[1]} pixels cannot be read: {error}"
                ) from error
            self.shapes[size] = (shape[0], shape[1], shape[2])
        return self.shapes[size]

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The cells of the chosen map."""
        return (1, *self.map_shape(size)[1:])


class LibraryTower(ImageEncoder):
    """Images to the cells of the chosen feature map; class tokens and registers are left out."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.settings = config
        self.tower = config.build()
        for module in self.tower.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]
        # its library has set its weights; loading would do it again, but what it does not save is ours to compute
        self.register_buffer(
            "unsaved", torch.empty(0), persistent=False
        )  # makes loading call reset_parameters

    def reset_parameters(self) -> None:
        """Compute what the library does not save, such as the places within a window: loading leaves it empty."""
        with torch.device("cpu"):
            fresh = dict(self.settings.build().named_buffers())
        saved = self.tower.state_dict().keys()
        for name, buffer in self.tower.named_buffers():
            if name not in saved:
                buffer.copy_(fresh[name])

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """One token per cell."""
        maps = self.settings.maps(self.tower, pixel_values.to(next(self.tower.parameters()).dtype))
        return VisualFeatures((maps.flatten(2).transpose(1, 2),), (1, *maps.shape[2:]))

    def load_weights(self, whole: nn.Module) -> None:
        """Take the weights of a complete tower of the same type; what follows the chosen layer is left."""
        weights = whole.state_dict()
        self.tower.load_state_dict({name: weights[name] for name in self.tower.state_dict()})


def library(name: str, extra: str) -> ModuleType:
    """An optional library.

    Raises:
        RecipeError: it is not installed; the message names the extra.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RecipeError(
            f"this encoder needs {name}: pip install -e '.[{extra}]' in the clone. It brings torchvision, which must be "
            f"built for the installed torch ({error})."
        ) from error
