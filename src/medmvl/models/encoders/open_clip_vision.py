"""The image tower of an open_clip model, such as BiomedCLIP (arXiv 2303.00915). Needs the extra `open-clip`.

Towers of open_clip's own transformer and those that it takes from timm; its modified ResNets are not read.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders.hf_families import Tower
from medmvl.models.encoders.library_tower import LibraryTower, TowerConfig, library
from medmvl.models.encoders.timm_vision import last_map, map_channels, pruned


class OpenCLIPConfig(TowerConfig):
    """Settings of an image tower of open_clip."""

    type: Literal["open_clip"] = "open_clip"
    vision_cfg: JsonObject
    """The section of this name in the model's configuration."""
    embed_dim: PositiveInt = 512
    quick_gelu: bool = False

    def build(self) -> nn.Module:
        """The tower without what follows the chosen layer: later layers, last norm, projection."""
        model = library("open_clip.model", "open-clip")
        try:
            vision = model.CLIPVisionCfg(**self.vision_cfg)
            tower = model._build_vision_tower(self.embed_dim, vision, self.quick_gelu)
        except (RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(f"open_clip: the tower cannot be built: {error}") from error
        return cut_tower(tower, self.layer)

    def maps(self, tower: Tower, pixels: Tensor) -> Tensor:
        """The chosen feature map `(N, C, h, w)`."""
        if hasattr(tower, "trunk"):
            return last_map(tower.trunk, pixels)
        index = len(tower.transformer.resblocks) - 1
        found = tower.forward_intermediates(pixels, indices=[index], intermediates_only=True)
        chosen: Tensor = found["image_intermediates"][0]
        return chosen

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        tower: Tower = self.skeleton
        return (map_channels(tower.trunk) if hasattr(tower, "trunk") else int(tower.conv1.out_channels),)


class OpenCLIPVision(LibraryTower):
    """Images to the cells of a feature map."""

    Config = OpenCLIPConfig

    @staticmethod
    def pretrained_settings(settings: JsonMapping) -> JsonObject:
        """The plain configuration for settings that name a checkpoint by `path`: `hf-hub:...` or `local-dir:...`.

        Raises:
            RecipeError: there is no such checkpoint.
        """
        rest = {key: value for key, value in settings.items() if key != "path"}
        try:
            found = library("open_clip", "open-clip").get_model_config(settings["path"])
        except (OSError, ValueError) as error:
            raise RecipeError(f"open_clip: no checkpoint at {settings['path']!r}: {error}") from error
        if found is None:
            raise RecipeError(f"open_clip: no checkpoint at {settings['path']!r}.")
        known = {key: found[key] for key in ("vision_cfg", "embed_dim", "quick_gelu") if key in found}
        known["vision_cfg"] = {**known["vision_cfg"], "timm_model_pretrained": False}
        return OpenCLIPConfig(**known, **rest).to_dict()

    def load_pretrained(self, path: str) -> None:
        """Take the weights of a checkpoint's image tower; what follows the chosen layer is left."""
        self.load_weights(library("open_clip", "open-clip").create_model(path).visual)


def cut_tower(tower: Tower, layer: int) -> nn.Module:
    """Remove what the chosen map does not pass. Raises RecipeError for a tower, or layer, that is not there."""
    if hasattr(tower, "trunk"):
        pruned(tower.trunk, layer, "the tower")
        tower.head = nn.Identity()
    elif hasattr(tower, "transformer"):
        count = len(tower.transformer.resblocks)
        if not -count <= layer < count:
            raise RecipeError(
                f"open_clip: layer {layer} does not exist: the tower has {count}, so {-count} to {count - 1}."
            )
        tower.prune_intermediate_layers(indices=[layer % count], prune_norm=True, prune_head=True)
        tower.attn_pool = None
    else:
        raise RecipeError(f"open_clip: towers of type {type(tower).__name__} are not read.")
    cut: nn.Module = tower
    return cut
