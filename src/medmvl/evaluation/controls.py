"""Controls: what a score is worth without looking. The majority answer, and the model without its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medmvl.schema import Message, Sample, TextBlock
from medmvl.tasks import Group, group_of, target_of


def majority_answers(samples: Iterable[Sample]) -> dict[Group, str]:
    """The most frequent reference answer of every group; the first seen among equals.

    A group never mixes languages, kinds of question, or 2D with 3D. Samples without a known answer do not
    count.
    """
    counts: dict[Group, Counter[str]] = {}
    for sample in samples:
        target = target_of(sample)
        if target is not None:
            counts.setdefault(group_of(sample), Counter())[target.answers[0]] += 1
    return {group: counter.most_common(1)[0][0] for group, counter in counts.items()}


def without_visuals(sample: Sample) -> Sample:
    """The same questions with every image and volume removed; boxes, which lie in them, too."""
    messages = tuple(_text_only(message) for message in sample.messages)
    return sample.model_copy(update={"messages": messages, "boxes": ()})


def _text_only(message: Message) -> Message:
    blocks = tuple(block for block in message.content if isinstance(block, TextBlock))
    if blocks and not isinstance(message.content[0], TextBlock):
        # what separated the image from the question belongs to the image
        blocks = (blocks[0].model_copy(update={"text": blocks[0].text.lstrip("\n")}), *blocks[1:])
    return message.model_copy(update={"content": blocks or (TextBlock(text=""),)})
