"""Entries of CT-RATE's `vqa/*_vqa.json`: which type of question each turn is, and its options.

An entry is `{"id", "image", "conversations": [{"from": "human", "value", "type"}, {"from": "gpt", "value"}]}`;
a tag such as `<multiple_choice>` in the question says the type (github.com/ibrahimethemhamamci/CT-CHAT,
`VQA_dataset/` and `llava/serve/ctchat_validation_llama.py`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from medmvl.datasets.gathering.readers import as_records, text_field
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping

QUESTION_TYPES = {
    "long_answer": "long", "short_answer": "short", "multiple_choice": "choice",
    "report_generation": "report", "free_response": "long", "description": "long", "conversation": "long",
}  # fmt: skip
"""Tag or type to type of question; anything else is a short answer, as CT-CHAT's evaluation takes it."""
_TAG = re.compile(r"<(image|long_answer|short_answer|multiple_choice|report_generation)>")
_OPTION = re.compile(r"\(([a-z])\)\s*(.*?)\s*(?=\([a-z]\)|$)", re.DOTALL)


class Turn(NamedTuple):
    """One question with its answer."""

    question_type: str
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    more_answers: tuple[str, ...] = ()


def read_entry(entry: JsonMapping) -> tuple[list[Turn], bool]:
    """Return the turns, and whether they build on one another.

    Raises:
        UserError: where questions and answers do not take turns.
    """
    turns = as_records(entry.get("conversations"), "conversations")
    if not turns or len(turns) % 2:
        raise UserError(f"expected questions and answers by turns, found {len(turns)} of them")
    read = []
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        if asked.get("from") != "human" or answered.get("from") != "gpt":
            raise UserError("expected a human turn and then a gpt turn")
        read.append(_turn(asked, answered))
    builds = str(entry.get("id", "")).startswith("conversation") or turns[0].get("type") == "conversation"
    return read, builds and len(read) > 1


def _turn(asked: JsonMapping, answered: JsonMapping) -> Turn:
    value, answer = text_field(asked, "value"), text_field(answered, "value")
    tags = [tag for tag in _TAG.findall(value) if tag != "image"]
    question_type = QUESTION_TYPES.get(
        tags[0] if tags else str(asked.get("type") or answered.get("type")), "short"
    )
    text = _TAG.sub("", value).strip()
    if question_type != "choice":
        return Turn(question_type, text, answer)
    options = dict(_OPTION.findall(text))
    chosen = re.match(r"\(([a-z])\)", answer)
    if len(options) < 2 or chosen is None or chosen[1] not in options:
        return Turn("choice", text, answer)
    return Turn("choice", text, answer, tuple(options.values()), (options[chosen[1]], chosen[0]))
