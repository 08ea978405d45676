"""The parts of a model: its attributes, the prefixes of its weights, the keys of its configuration and of recipes."""

from __future__ import annotations

from typing import Literal, get_args

PartName = Literal["image_encoder", "image_connector", "volume_encoder", "volume_connector", "llm"]
PARTS: tuple[PartName, ...] = get_args(PartName)
