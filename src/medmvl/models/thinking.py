"""How a chat template writes reasoning: its marks, found by a probe; a template that has none gets ours.

A prompt that asks for reasoning ends with the opening mark, so that the model cannot but reason. Where the template's own cue
does not have it, it is put there and learned as well: elsewhere, with the same template, the model writes it itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from medmvl.errors import SampleError
from medmvl.models.chat_rendering import Turn
from medmvl.schema.reasoning import CLOSING, OPENING, Marks

if TYPE_CHECKING:
    from medmvl.models.chat import ChatTokenizer


@dataclass(frozen=True)
class ReasoningCue:
    """What asks a model to reason."""

    opening: str
    """Text between the template's own cue to answer and the reasoning: the mark, or nothing where the cue ends with it."""
    marks: Marks
    closing_id: int | None
    """Id of the closing mark where it is a special token, which decoding leaves out."""


def find_cue(chat: ChatTokenizer) -> ReasoningCue:
    """Find out how a chat template writes reasoning.

    Raises:
        SampleError: it does not, drops it, or cues it with something else than what comes before it in a finished conversation.
    """
    question, name = Turn("user", "a"), "the chat template"
    cue = chat.rendered([question], add_generation_prompt=True, thinking=True, name=name).text
    turns = [question, Turn("assistant", "b", reasoning="r")]
    found = chat.rendered(turns, add_generation_prompt=False, thinking=True, name=name)
    if found.reasoning[0] is None:
        raise SampleError("the chat template has no place for reasoning before an answer")
    (start, end), (answer, _) = found.reasoning[0], found.answers[0]
    if not found.text.startswith(cue):
        raise SampleError(
            f"the chat template cues reasoning with {cue!r}, but in a finished conversation {found.text[:start]!r} comes "
            "before it: what is trained would not be what is asked. Choose another chat_template."
        )
    opening, closing = found.text[len(cue) : start], found.text[end:answer].strip()
    mark = opening.strip() or closing.replace("/", "", 1)
    if not closing or not (cue + opening).rstrip().endswith(mark):
        raise SampleError(f"the chat template puts no marks around reasoning: {found.text!r}")
    return ReasoningCue(opening, Marks(mark, closing), _special_id(chat, closing))


def _special_id(chat: ChatTokenizer, closing: str) -> int | None:
    spelled = chat.reserved.findall(closing)
    if not spelled:
        return None
    if spelled != [closing]:
        raise SampleError(
            f"the chat template ends reasoning with {closing!r}, in which are the special tokens {', '.join(spelled)}; only a "
            "mark that is one token, or plain text, is supported. Choose another chat_template"
        )
    found = chat.tokenizer.convert_tokens_to_ids(closing)
    assert isinstance(found, int)
    return found


def decode_with_mark(decode: Callable[[Sequence[int]], str], cue: ReasoningCue, ids: Sequence[int]) -> str:
    """The text of ids with the closing mark in it, also where that is a special token."""
    if cue.closing_id is None or cue.closing_id not in ids:
        return decode(ids)
    place = list(ids).index(cue.closing_id)
    return decode(ids[:place]) + cue.marks.closing + decode(ids[place + 1 :])


def with_reasoning(template: str, gap: str) -> str:
    """A chat template that knows no reasoning, with `<think>` and `</think>` around it.

    Args:
        template: reads `messages` and `add_generation_prompt`.
        gap: white space that it puts between its cue and an answer.
    """
    before, after = _frame()
    return before + template.removesuffix("\n") + after.replace("GAP", json.dumps(gap))


@cache
def _frame() -> tuple[str, str]:
    text = resources.files("medmvl.models").joinpath("templates/reasoning.jinja").read_text("utf-8")
    text = text.replace("OPENING", OPENING).replace("CLOSING", CLOSING)
    _, _, rest = text.partition("-#}\nBEFORE\n")
    before, _, after = rest.partition("\nAFTER\n")
    return before, after.strip()
