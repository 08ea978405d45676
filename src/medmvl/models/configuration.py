"""MedMVLConfig: which parts a model is made of. Plain data, no I/O; the weight prefixes are the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.connectors import ConnectorConfig, check_connector, parse_connector_config
from medmvl.models.encoders import (
    EncoderConfig,
    parse_image_encoder_config,
    parse_volume_encoder_config,
)
from medmvl.models.part_names import PARTS
from medmvl.models.parts import PLUGIN_GROUPS
from medmvl.plugins import installed

SHARED_VOLUME_ENCODER: JsonObject = {"type": "slices", "encoder": "shared"}


@strict
class MedMVLConfig(PreTrainedConfig):
    """Configuration of a medical large vision-language model.

    Args:
        llm: configuration of any Hugging Face causal LLM, as a config object or a dict with its `model_type`.
        image_encoder: settings of the 2D encoder, a dict with `type`; None for a model without images.
        image_connector: settings of its connector.
        volume_encoder: settings of the 3D encoder; `"shared"` reads volumes slice by slice through the image encoder.
        volume_connector: settings of its connector.
        image_token_id: vocabulary id of the image placeholder.
        volume_token_id: vocabulary id of the volume placeholder.
        image_size: `(height, width)` of the pixels the processor makes; also the size an idle encoder is run at.
        volume_size: `(depth, height, width)`, likewise.
        plugins: which package, in which version, each part from outside comes from; filled in here.

    Raises:
        RecipeError: an unknown part or key, or an encoder without its connector.
    """

    model_type = "medmvl"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "llm": SubConfigSpec(config_class=AutoConfig, model_type="qwen2")
    }
    has_no_defaults_at_init = True

    llm: JsonObject | PreTrainedConfig | None = None
    image_encoder: JsonObject | None = None
    image_connector: JsonObject | None = None
    volume_encoder: JsonObject | str | None = None
    volume_connector: JsonObject | None = None
    image_token_id: int | None = None
    volume_token_id: int | None = None
    image_size: list[int] | tuple[int, ...] | None = None
    volume_size: list[int] | tuple[int, ...] | None = None
    plugins: dict[str, str] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Check the parts and fill in their defaults."""
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]  # transformers does not annotate it
        if self.volume_encoder == "shared":
            self.volume_encoder = dict(SHARED_VOLUME_ENCODER)
        for name in ("image", "volume"):
            encoder, connector = getattr(self, f"{name}_encoder"), getattr(self, f"{name}_connector")
            if (encoder is None) != (connector is None):
                raise RecipeError(
                    f"{name}_encoder and {name}_connector come together: "
                    f"{'the connector' if connector is None else 'the encoder'} is missing."
                )
        settings: JsonObject = {name: getattr(self, name) for name in PARTS if name != "llm"}
        try:
            parts = VisualParts.from_settings(settings)
        except RecipeError as error:
            if not self.plugins:
                raise
            made_with = ", ".join(f"{part} from {source}" for part, source in self.plugins.items())
            raise RecipeError(f"{error} This model was made with plug-ins: {made_with}.") from error
        for name, config in parts.configs().items():
            setattr(self, name, config)
        self.plugins = plugins_of(parts.configs()) or None

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """The LLM's configuration, which generation and caches are sized by."""
        assert isinstance(self.llm, PreTrainedConfig)
        return self.llm


def plugins_of(parts: Mapping[str, JsonObject | None]) -> dict[str, str]:
    """Package and version of every part that is not built in, by its key of the configuration."""
    roles = {key: "connector" if key.endswith("connector") else key.replace("_", " ") for key in parts}
    named = [(key, roles[key], settings) for key, settings in parts.items() if settings]
    inner = [
        (f"{key}.encoder", "image encoder", settings["encoder"])
        for key, _, settings in named
        if isinstance(settings.get("encoder"), dict)
    ]
    offered = {
        key: installed(PLUGIN_GROUPS[role]).get(settings["type"]) for key, role, settings in named + inner
    }
    return {key: plugin.source for key, plugin in offered.items() if plugin is not None}


class VisualParts:
    """The typed configurations of encoders and connectors: what is known of visual tokens before anything is built."""

    def __init__(
        self,
        image_encoder: EncoderConfig | None,
        image_connector: ConnectorConfig | None,
        volume_encoder: EncoderConfig | None,
        volume_connector: ConnectorConfig | None,
    ) -> None:
        self.encoders = {"image": image_encoder, "volume": volume_encoder}
        self.connectors = {"image": image_connector, "volume": volume_connector}

    @classmethod
    def from_settings(cls, parts: JsonMapping) -> VisualParts:
        """Parse plain dicts by the keys of a model configuration; a missing or empty one is a part that is not there."""
        image = parse_image_encoder_config(parts["image_encoder"]) if parts.get("image_encoder") else None
        volume = (
            parse_volume_encoder_config(parts["volume_encoder"], image)
            if parts.get("volume_encoder")
            else None
        )
        connectors = (
            parse_connector_config(parts[key]) if parts.get(key) else None
            for key in ("image_connector", "volume_connector")
        )
        image_connector, volume_connector = connectors
        return cls(image, image_connector, volume, volume_connector)

    def configs(self) -> JsonObject:
        """The parts as plain dicts with their defaults filled in; None where there is none."""
        encoders = {
            f"{kind}_encoder": part.to_dict() if part else None for kind, part in self.encoders.items()
        }
        connectors = {
            f"{kind}_connector": part.to_dict() if part else None for kind, part in self.connectors.items()
        }
        return encoders | connectors

    def grid(self, kind: str, size: tuple[int, ...]) -> tuple[int, int, int]:
        """The encoder's grid of tokens `(d, h, w)` for pixels of `size`."""
        encoder = self.encoders[kind]
        if encoder is None:
            raise RecipeError(
                f"this model has no {kind} encoder, but was given {'an image' if kind == 'image' else 'a volume'}."
            )
        return encoder.grid(size)

    def check(self, kind: str, size: tuple[int, ...]) -> None:
        """Raise RecipeError, with the reason, where the connector cannot take what the encoder makes of pixels of `size`."""
        encoder, connector = self.encoders[kind], self.connectors[kind]
        assert encoder is not None and connector is not None
        check_connector(connector, encoder.widths, encoder.grids(size))

    def kept_share(self, kind: str, grid: tuple[int, int, int]) -> float:
        """The share of the encoder's tokens that the connector does not leave out."""
        connector = self.connectors[kind]
        assert connector is not None
        return connector.kept_share(grid)

    def num_tokens(self, kind: str, grid: tuple[int, int, int]) -> int:
        """How many tokens the connector gives the LLM for this grid."""
        connector = self.connectors[kind]
        assert connector is not None
        return connector.num_tokens(grid)


AutoConfig.register(MedMVLConfig.model_type, MedMVLConfig, exist_ok=True)
