"""Every turn of a conversation as text, before the chat template joins them: one placeholder per visual, words around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from medmvl.models.chat_rendering import Turn
from medmvl.models.conversations import reasoning_apart, reasoning_of_turns
from medmvl.models.placeholders import PLACEHOLDERS
from medmvl.schema import Message, TextBlock, VisualBlock


@dataclass(frozen=True, kw_only=True)
class TurnWriter:
    """Writes messages as one processor does; see `MedMVLProcessor` for its settings of these names."""

    check_text: Callable[[str, str], str]
    """Returns a text of the named sample, or refuses it."""
    visual_suffix: str
    suffix_before_words: bool
    prior_prefix: str
    reasons: bool
    """True where the model learns to reason: reasoning is separated from answers."""

    def write(self, messages: Sequence[Message], name: str, *, thinking: bool) -> list[Turn]:
        """One turn per message, with its reasoning where `thinking` says that it is rendered.

        Raises:
            SampleError: a text spells a special token, or an answer holds a mark of reasoning inside.
        """
        if self.reasons:
            messages = reasoning_apart(messages, name)
        reasoning = reasoning_of_turns(messages) if thinking else [""] * len(messages)
        return [
            Turn(
                message.role,
                "".join(self._texts(message.content, name)),
                self.check_text(thoughts, name),
            )
            for message, thoughts in zip(messages, reasoning, strict=True)
        ]

    def _texts(self, content: Sequence[TextBlock | VisualBlock], name: str) -> Iterator[str]:
        """Yield the text of every block of a message; a visual is its placeholder with what belongs around it."""
        for block, after in zip_longest(content, content[1:]):
            if isinstance(block, TextBlock):
                yield self.check_text(block.text, name)
                continue
            days = block.days_before_current
            before_words = isinstance(after, TextBlock) and after.text[:1].strip() != ""
            suffix = self.visual_suffix if before_words or not self.suffix_before_words else ""
            yield (self.prior_prefix.format(days=days) if days else "") + PLACEHOLDERS[block.type] + suffix
