"""A conversation as one string: the LLM's own chat template renders it, and what the assistant says is found again.

Two private-use characters mark what the assistant says while the template renders, two others its reasoning; where they come
out is where the labels are. So roles are never guessed from position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from medmvl.errors import SampleError
from medmvl.json_types import JsonMapping

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OPEN, _CLOSE, _OPEN_REASONING, _CLOSE_REASONING = "\ue0f0", "\ue0f1", "\ue0f2", "\ue0f3"
OWN_MARKS = re.compile("[\ue0f0-\ue0f3]")
"""The characters that mark texts while a template renders; no text may hold them."""

_SPECIAL = re.compile(r"<\|\w+\|>")
"""Placeholders in the text of a turn: a template may put images elsewhere."""
DAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The day that templates are given: Llama 3's own where none is given. A prompt that changes by the day is another prompt."""
_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")

Span = tuple[int, int]


@dataclass(frozen=True)
class Turn:
    """One message as text; every image and volume is a single placeholder in it."""

    role: str
    text: str
    reasoning: str = ""
    """Reasoning of an assistant after the last question, in a conversation that is rendered with it."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as one string."""

    text: str
    answers: list[Span]
    """Places of the assistant's texts."""
    reasoning: list[Span | None]
    """Place of the reasoning before each of them."""


BUNDLED_TEMPLATES = ("plain", "chatml")
"""`plain` is for base models that have none; `chatml` has no system prompt of its own."""


def bundled_or_own(template: str | Mapping[str, str]) -> str:
    """Jinja text: of a bundled template where one is named, else the text itself, or the default of several.

    It writes the same on every day.
    """
    if not isinstance(template, str):
        template = template["default"]
    if template not in BUNDLED_TEMPLATES:
        return _TODAY.sub(lambda call: json.dumps(DAY.strftime(call[2])), template)
    return resources.files("medmvl.models").joinpath(f"templates/{template}.jinja").read_text("utf-8")


def render(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Turn],
    settings: JsonMapping,
    *,
    add_generation_prompt: bool,
    thinking: bool,
    name: str,
) -> Rendered:
    """The conversation as one string, and where in it the assistant's texts and their reasoning are.

    Args:
        tokenizer: has the chat template.
        turns: the conversation.
        settings: further variables of the template.
        add_generation_prompt: whether to end with the LLM's cue to answer.
        thinking: whether the template is given the reasoning of turns.
        name: names the sample in errors.

    Raises:
        SampleError: the template refuses it, drops a turn, or rewrites what the assistant says.
    """
    messages = [_message(turn, thinking=thinking) for turn in turns]
    try:
        marked = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **settings
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise SampleError(f"{name}: the chat template refuses this conversation: {error}") from error
    assert isinstance(marked, str)
    _check_asked(marked, turns, name)
    return _unmark(marked, [turn for turn in turns if turn.role == "assistant"], name)


def _check_asked(marked: str, turns: Sequence[Turn], name: str) -> None:
    """Raise SampleError where what a user or the system says is not in the string; white space may differ."""
    shown = " ".join(marked.split())
    for number, turn in enumerate(turns, 1):
        pieces = _SPECIAL.split(turn.text) if turn.role != "assistant" else []
        if any(" ".join(piece.split()) not in shown for piece in pieces):
            raise SampleError(
                f"{name}: the chat template drops or rewrites turn {number}, of the {turn.role}: the model would not read it. "
                "Leave that turn out, put its text into a user's turn, or choose another chat_template."
            )


def _message(turn: Turn, *, thinking: bool) -> dict[str, str]:
    """A turn as a template takes it, with our marks; `reasoning_content` is the name by which templates know reasoning."""
    if turn.role != "assistant":
        return {"role": turn.role, "content": turn.text}
    message = {"role": turn.role, "content": f"{_OPEN}{turn.text.strip()}{_CLOSE}"}
    if thinking and turn.reasoning:
        message["reasoning_content"] = f"{_OPEN_REASONING}{turn.reasoning.strip()}{_CLOSE_REASONING}"
    return message


def _unmark(marked: str, answers: Sequence[Turn], name: str) -> Rendered:
    """The text without our marks, and where they were."""
    closes = {_OPEN: _CLOSE, _OPEN_REASONING: _CLOSE_REASONING}
    text, opened, start = "", "", 0
    spans: list[Span] = []
    before: list[Span | None] = []
    reasoning: Span | None = None
    for piece in re.split(f"({OWN_MARKS.pattern})", marked):
        if piece in closes:
            opened, start = piece, len(text)
        elif piece and piece == closes.get(opened):
            if opened == _OPEN:
                spans.append((start, len(text)))
                before.append(reasoning)
            reasoning = (start, len(text)) if opened == _OPEN_REASONING else None
            opened = ""
        else:
            text += piece
    if [text[slice(*span)] for span in spans] != [turn.text.strip() for turn in answers]:
        raise SampleError(
            f"{name}: the chat template drops or rewrites what the assistant says ({len(answers)} answers given, "
            f"{len(spans)} rendered); such a conversation cannot be trained on with it."
        )
    kept = zip(before, answers, strict=True)
    if any(span is not None and text[slice(*span)] != turn.reasoning.strip() for span, turn in kept):
        raise SampleError(f"{name}: the chat template rewrites the reasoning before an answer")
    return Rendered(text, spans, before)
