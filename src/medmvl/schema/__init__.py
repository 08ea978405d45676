"""What is said about images: samples, their blocks, boxes and targets, and their JSON Lines form."""

from medmvl.schema.blocks import (
    Block,
    Declaration,
    Declarations,
    ImageBlock,
    TextBlock,
    VisualBlock,
    VolumeBlock,
)
from medmvl.schema.boxes import Box
from medmvl.schema.jsonl import dump_sample, iter_samples, parse_sample, write_samples
from medmvl.schema.sample import SCHEMA_VERSION, Message, Sample, Target

__all__ = [
    "SCHEMA_VERSION", "Block", "Box", "Declaration", "Declarations", "ImageBlock", "Message", "Sample", "Target", "TextBlock",
    "VisualBlock", "VolumeBlock", "dump_sample", "iter_samples", "parse_sample", "write_samples",
]  # fmt: skip
