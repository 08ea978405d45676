"""Conversations before they are tokens: from transformers' dicts to typed messages, and which question a visual belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from medmvl.errors import SampleError
from medmvl.imaging import MedicalImage
from medmvl.imaging.in_memory import as_medical_image
from medmvl.json_types import JsonMapping
from medmvl.models.visuals import ProcessedVisual, VisualLoader
from medmvl.schema import ImageBlock, Message, TextBlock, VisualBlock, VolumeBlock
from medmvl.schema.reasoning import holds_marks


def visual_blocks(messages: Sequence[Message]) -> list[VisualBlock]:
    """The images and volumes of a conversation, in order."""
    return [block for message in messages for block in message.visuals]


def questions(messages: Sequence[Message]) -> list[str]:
    """For every visual what its user says from its message up to the next answer: known before any answer is."""
    found = []
    for number, message in enumerate(messages):
        if not message.visuals:
            continue  # joined for every turn, long conversations would take quadratic time
        asked = takewhile(lambda other: other.role == "user", messages[number:])
        found += [" ".join(other.text for other in asked)] * len(message.visuals)
    return found


def load_visuals(
    messages: Sequence[Message], load: VisualLoader, name: str
) -> Iterator[tuple[ProcessedVisual, str]]:
    """Yield what the model sees of every visual block, in order, with the question it is asked about.

    Raises:
        SampleError: a block of images holds a volume, or the other way round.
    """
    for block, question in zip(visual_blocks(messages), questions(messages), strict=True):
        visual = load(block)
        if visual.kind != block.type:
            raise SampleError(
                f"{name}: its {block.type} block holds {'an image' if visual.kind == 'image' else 'a volume'}."
            )
        yield visual, question


def parse_conversation(
    conversation: Sequence[JsonMapping],
) -> tuple[list[Message], dict[VisualBlock, MedicalImage]]:
    """Typed messages, and the image of every visual block; blocks are numbered, so that no two are equal."""
    messages: list[Message] = []
    visuals: dict[VisualBlock, MedicalImage] = {}
    for turn in conversation:
        content = turn["content"]
        blocks: list[TextBlock | VisualBlock] = []
        for item in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if item["type"] == "text":
                blocks.append(TextBlock(text=item["text"]))
                continue
            days: Any = item.get("days_before_current")
            block = (
                ImageBlock(image=f"memory:{len(visuals)}", days_before_current=days)
                if item["type"] == "image"
                else VolumeBlock(volume=f"memory:{len(visuals)}", days_before_current=days)
            )
            given: Any = item.get(item["type"], item.get("path"))
            visuals[block] = as_medical_image(given)
            blocks.append(block)
        reasoning = turn.get("reasoning_content", turn.get("reasoning"))
        messages.append(
            Message.model_construct(role=turn["role"], content=tuple(blocks), reasoning=reasoning)
        )
    return messages, visuals


def brings_reasoning(messages: Sequence[Message]) -> bool:
    """Whether a finished conversation ends with a turn of the assistant that has reasoning."""
    return bool(messages) and messages[-1].reasons


def reasoning_of_turns(messages: Sequence[Message]) -> list[str]:
    """The reasoning of every turn, as far as a template is given it: a history has none, only turns after the last question."""
    last = max((place for place, turn in enumerate(messages) if turn.role == "user"), default=-1)
    return [(turn.reasoning or "") if place > last else "" for place, turn in enumerate(messages)]


def reasoning_apart(messages: Sequence[Message], name: str) -> list[Message]:
    """The turns with reasoning that was written into answers taken out of them.

    Raises:
        SampleError: an answer holds marks elsewhere than around a block at its beginning.
    """
    apart = [message.with_reasoning_apart() for message in messages]
    if any(message.role == "assistant" and holds_marks(message.text) for message in apart):
        raise SampleError(
            f"{name}: an answer holds a mark of reasoning, such as <think>, elsewhere than around a block at its beginning; "
            "give the reasoning as the message's `reasoning`"
        )
    return apart
