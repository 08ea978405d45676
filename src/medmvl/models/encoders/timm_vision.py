"""Any image tower of timm (github.com/huggingface/pytorch-image-models) by its name. Needs the extra `timm`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders.hf_families import Tower
from medmvl.models.encoders.library_tower import LibraryTower, TowerConfig, library


class TimmConfig(TowerConfig):
    """Settings of a timm tower."""

    type: Literal["timm"] = "timm"
    name: str
    """An architecture, such as `vit_base_patch16_224` or `convnext_tiny`."""
    options: JsonObject = Field(default_factory=dict)
    """Arguments of the model, such as `img_size`, or `dynamic_img_size: true` for transformers that read other sizes."""

    def build(self) -> nn.Module:
        """The tower without what follows the chosen layer: later layers, last norm, head."""
        timm = library("timm", "timm")
        try:
            tower = timm.create_model(self.name, num_classes=0, in_chans=self.in_channels, **self.options)
        except (RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(f"timm: {self.name!r} cannot be built: {error}") from error
        return pruned(tower, self.layer, self.name)

    def maps(self, tower: Tower, pixels: Tensor) -> Tensor:
        """The chosen feature map `(N, C, h, w)`."""
        return last_map(tower, pixels)

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (map_channels(self.skeleton),)


class TimmVision(LibraryTower):
    """Images to the cells of a feature map."""

    Config = TimmConfig

    @staticmethod
    def pretrained_settings(settings: JsonMapping) -> JsonObject:
        """The plain configuration for settings that name a checkpoint by `path` instead of an architecture.

        Args:
            settings: `path` is a timm name with its tag (`vit_base_patch16_224.augreg_in21k`), `hf-hub:...` or
                `local-dir:...`; next to it `layer`, `options`.

        Raises:
            RecipeError: there is no such checkpoint.
        """
        timm, hub = library("timm", "timm"), library("timm.models._hub", "timm")
        rest = {key: value for key, value in settings.items() if key != "path"}
        try:
            source, name = timm.models.parse_model_name(settings["path"])
            if source is None:
                return TimmConfig(**{**rest, "name": name.split(".")[0]}).to_dict()
            read = {
                "hf-hub": hub.load_model_config_from_hf,
                "local-dir": hub.load_model_config_from_path,
            }[source]
            _, architecture, arguments = read(name)
        except (KeyError, OSError, ValueError) as error:
            raise RecipeError(f"timm: no checkpoint at {settings['path']!r}: {error}") from error
        ours = ("num_classes", "in_chans", "global_pool")
        options = {key: value for key, value in (arguments or {}).items() if key not in ours}
        return TimmConfig(
            **{**rest, "name": architecture, "options": {**options, **rest.get("options", {})}}
        ).to_dict()

    def load_pretrained(self, path: str) -> None:
        """Take the weights of a checkpoint; what follows the chosen layer is left."""
        settings = self.part_config
        assert isinstance(settings, TimmConfig)
        self.load_weights(
            library("timm", "timm").create_model(
                path, pretrained=True, num_classes=0, in_chans=settings.in_channels, **settings.options
            )
        )


def pruned(tower: Tower, layer: int, name: str) -> nn.Module:
    """A timm tower cut after a layer. Raises RecipeError where it has no feature maps, or not this one."""
    if not hasattr(tower, "forward_intermediates"):
        raise RecipeError(f"timm: {name!r} gives no feature maps of its layers; choose another tower.")
    count = len(tower.feature_info)
    if not -count <= layer < count:
        raise RecipeError(
            f"timm: layer {layer} does not exist: {name!r} has {count}, so {-count} to {count - 1}."
        )
    tower.prune_intermediate_layers(indices=[layer % count], prune_norm=True, prune_head=True)
    tower.chosen_layer = layer % count
    cut: nn.Module = tower
    return cut


def last_map(tower: Tower, pixels: Tensor) -> Tensor:
    """The feature map `(N, C, h, w)` of the layer that a tower was cut after."""
    (maps,) = tower.forward_intermediates(
        pixels, indices=[tower.chosen_layer], norm=False, output_fmt="NCHW", intermediates_only=True
    )
    chosen: Tensor = maps
    return chosen


def map_channels(tower: Tower) -> int:
    """Channels of the feature map of the layer that a tower was cut after."""
    return int(tower.feature_info[tower.chosen_layer]["num_chs"])
