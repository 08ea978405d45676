"""A few strided convolutions over a grey image; every one halves height and width."""

from typing import Literal

from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.encoders import EncoderConfig, ImageEncoder
from medmvl.models.features import Grid, VisualFeatures


class SmallCNNConfig(EncoderConfig):
    """Settings of the encoder; the grid of its tokens is known from them alone."""

    type: Literal["small_cnn"] = "small_cnn"
    width: int = 64
    num_layers: int = 4

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream of features."""
        return (self.width,)

    @property
    def channels(self) -> int:
        """Grey."""
        return 1

    def grid(self, size: tuple[int, ...]) -> Grid:
        """`(height, width)` halved by every layer."""
        stride = 2**self.num_layers
        if size[0] % stride or size[1] % stride:
            raise RecipeError(f"small_cnn: {size[0]} x {size[1]} pixels are not a multiple of {stride}.")
        return (1, size[0] // stride, size[1] // stride)


class SmallCNN(ImageEncoder):
    """Images to a grid of tokens."""

    Config = SmallCNNConfig

    def __init__(self, config: SmallCNNConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        for index in range(config.num_layers):
            layers += [nn.Conv2d(config.width if index else 1, config.width, 4, 2, 1), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """`(N, 1, H, W)` to one token a cell."""
        cells = self.layers(pixel_values)
        return VisualFeatures((cells.flatten(2).mT,), self.grid(*pixel_values.shape[2:]))
