"""The processor called as transformers' own are: rendered prompts with their visuals, and conversations of dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medmvl.errors import UserError
from medmvl.imaging.in_memory import Visual, as_medical_image
from medmvl.json_types import JsonMapping
from medmvl.models.conversations import parse_conversation
from medmvl.models.visuals import ProcessedSample

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

_NAME = "the conversation"


def process_prompts(
    processor: MedMVLProcessor, prompts: Sequence[str], visuals: Mapping[str, Sequence[Visual]]
) -> list[ProcessedSample]:
    """Samples of rendered prompts; `visuals` are those of each kind, in the order of all placeholders.

    Raises:
        UserError: there are more or fewer visuals than placeholders, or questions guide a connector of this model.
    """
    if any(part is not None and part.guided_by_text for part in processor.visual_parts.connectors.values()):
        raise UserError(
            "a connector of this model is guided by the question, which a rendered prompt does not tell apart; give the "
            "conversation to apply_chat_template(..., tokenize=True)."
        )
    queues = {kind: list(given) for kind, given in visuals.items()}
    samples = [
        _process_prompt(processor, prompt, queues, f"text {number}") for number, prompt in enumerate(prompts)
    ]
    if left := {kind: len(queue) for kind, queue in queues.items() if queue}:
        raise UserError(f"more visuals than placeholders: {left} left over.")
    return samples


def _process_prompt(
    processor: MedMVLProcessor, prompt: str, queues: Mapping[str, list[Visual]], name: str
) -> ProcessedSample:
    ids = processor.chat.tokenised(prompt).ids
    kinds = processor.placeholder_kinds
    visuals = []
    for kind in [kinds[token] for token in ids if token in kinds]:
        if not queues[kind]:
            raise UserError(f"{name}: more {kind} placeholders than {kind}s.")
        visuals.append(processor.process_visual(as_medical_image(queues[kind].pop(0))))
    return processor.expand(ids, None, visuals, name)


def render_conversations(
    processor: MedMVLProcessor,
    conversations: Sequence[Sequence[JsonMapping]],
    add_generation_prompt: bool,
    asked: bool | None,
) -> list[str]:
    """The prompt of each conversation, with one placeholder per visual; `asked` says whether it asks for reasoning."""
    texts = []
    for conversation in conversations:
        messages, _ = parse_conversation(conversation)
        thinking = processor.thinks(messages, asked)
        turns = processor.turns(messages, _NAME, thinking=thinking)
        text = processor.chat.prompt(
            turns, add_generation_prompt=add_generation_prompt, name=_NAME, thinking=thinking
        )
        texts.append(text)
    return texts


def process_conversations(
    processor: MedMVLProcessor,
    conversations: Sequence[Sequence[JsonMapping]],
    add_generation_prompt: bool,
    asked: bool | None,
) -> list[ProcessedSample]:
    """A sample of each conversation, whose images and volumes are in their blocks; `asked` as above."""
    samples = []
    for messages, images in map(parse_conversation, conversations):
        load = processor.visual_loader(images.__getitem__)
        samples.append(
            processor.prepare(
                messages, load, supervised=False, add_generation_prompt=add_generation_prompt, thinking=asked
            )
        )
    return samples
