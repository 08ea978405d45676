"""Reasoning before an answer: the marks around it, and how it is separated from the answer. No other file knows the marks.

A model of ours writes `<think>`, its reasoning, `</think>`, its answer, unless its LLM's chat template has marks of its own
(`medmvl.models.thinking` finds them). Answers from elsewhere may hold any of the marks that are in use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPENING, CLOSING = "<think>", "</think>"
"""The marks of Qwen 3, DeepSeek R1 and most others; those that our own chat templates get."""

_TAGS = r"think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratchpad"
_OPENINGS = rf"<\s*(?:{_TAGS})\s*>|◁think▷|<unused94>|\[THINK\]|<\|begin_of_thought\|>"
_CLOSINGS = rf"<\s*/\s*(?:{_TAGS})\s*>|◁/think▷|<unused95>|\[/THINK\]|<\|end_of_thought\|>"
_REASONING = (
    re.compile(rf"<\s*({_TAGS})\s*>.*?<\s*/\s*\1\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"◁think▷.*?◁/think▷|<unused94>.*?<unused95>|\[THINK\].*?\[/THINK\]", re.DOTALL),
    re.compile(r"<\|begin_of_thought\|>.*?<\|end_of_thought\|>", re.DOTALL),
    re.compile(r".*<\|channel\|>\s*final\s*<\|message\|>", re.DOTALL),
    re.compile(rf".*(?:{_CLOSINGS})", re.DOTALL | re.IGNORECASE),
    re.compile(rf"(?:{_OPENINGS}|<\|channel\|>\s*analysis\s*<\|message\|>).*", re.DOTALL | re.IGNORECASE),
)
"""In this order: closed blocks, what precedes a final channel, blocks whose beginning or whose end is missing."""
_SPELLED_OUT = re.compile(
    r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z]).*?(?:assistant\s*final|$)", re.DOTALL
)
"""Channels of gpt-oss whose marks were left out when the tokens were decoded: their names stick to the text."""
_LEADING = re.compile(rf"\s*(?:{_OPENINGS})(.*?)(?:{_CLOSINGS})(.*)", re.DOTALL | re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """An answer from anywhere without its blocks of reasoning; nothing is left of one that never ends its reasoning."""
    text = _SPELLED_OUT.sub("", text, count=1) if _SPELLED_OUT.match(text) else text
    if not any(mark in text for mark in "<◁["):
        return text
    for pattern in _REASONING:
        text = pattern.sub(" ", text)
    return text


def split_reasoning(text: str) -> tuple[str, str]:
    """Reasoning and answer of a text that begins with a closed block of reasoning; of any other, `""` and the text."""
    found = _LEADING.fullmatch(text)
    return (found[1].strip(), found[2].strip()) if found else ("", text)


def join_reasoning(reasoning: str, answer: str) -> str:
    """Both as one text, as they are written inline; `split_reasoning` takes it apart again."""
    return f"{OPENING}\n{reasoning}\n{CLOSING}\n\n{answer}" if reasoning else answer


def holds_marks(text: str) -> bool:
    """Whether a text spells a mark, which would begin or end reasoning where none does."""
    return re.search(f"{_OPENINGS}|{_CLOSINGS}", text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Split:
    """The part of a text so far that is final: whatever follows, it does not change."""

    reasoning: str
    answer: str
    closed: bool
    """True once the reasoning has ended."""


@dataclass(frozen=True)
class Marks:
    """The marks of one model, without white space around them. Its prompt ends with the opening one."""

    opening: str = OPENING
    closing: str = CLOSING

    def split(self, text: str, *, final: bool) -> Split:
        """Take apart what a model wrote after the opening mark.

        White space next to the marks belongs to neither side; an opening mark that the model repeats is left out.

        Args:
            text: all of it up to now; characters that are there will not change.
            final: nothing follows; what was held back, as it could have been the beginning of a mark, is given out.
        """
        text = text.lstrip()
        if text.startswith(self.opening):
            text = text[len(self.opening) :].lstrip()
        elif not final and self.opening.startswith(text):
            return Split("", "", False)  # the opening mark again, perhaps
        reasoning, mark, answer = text.partition(self.closing)
        if mark:
            return Split(reasoning.rstrip(), answer.lstrip(), True)
        sure = reasoning if final else reasoning[: beginning_of(reasoning, self.closing)]
        return Split(sure.rstrip(), "", False)


def beginning_of(text: str, mark: str) -> int:
    """Where the longest end of `text` starts that `mark` begins with; the length of the text where there is none."""
    for size in range(min(len(mark), len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return len(text) - size
    return len(text)
