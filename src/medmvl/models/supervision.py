"""Which tokens of a rendered conversation are learned: the assistant's texts and the ends of their turns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medmvl.errors import SampleError
from medmvl.models.chat_rendering import Span


@dataclass(frozen=True)
class Tokenised:
    """A text as token ids."""

    text: str
    ids: list[int]
    offsets: list[Span]
    """Place of each token in the text."""


def supervised_tokens(
    tokens: Tokenised, spans: Sequence[Span], special_ids: Collection[int], name: str
) -> list[bool]:
    """For every token whether it is learned.

    Args:
        tokens: the rendered conversation.
        spans: what the assistant says in it.
        special_ids: ids of special tokens, one of which ends a turn.
        name: names the sample in errors.

    Raises:
        SampleError: a token joins an answer with the template's own text, or an answer has no end of turn.
    """
    supervised = [False] * len(tokens.ids)
    for span in spans:
        answer = _tokens_of(tokens, span, name)
        after = answer[-1] + 1 if answer else _first_from(tokens, span[1])
        for index in (*answer, *range(after, _end_of_turn(tokens, after, special_ids, name) + 1)):
            supervised[index] = True
    return supervised


def _tokens_of(tokens: Tokenised, span: Span, name: str) -> list[int]:
    """Indices of the tokens of one answer."""
    start, end = span
    inside = [i for i, (low, high) in enumerate(tokens.offsets) if low < end and high > start]
    for index in inside:
        low, high = tokens.offsets[index]
        if tokens.text[low:start].strip() or tokens.text[end:high].strip():
            raise SampleError(
                f"{name}: a token joins an answer with the chat template's own text; use another template."
            )
    return inside


def _first_from(tokens: Tokenised, place: int) -> int:
    return next((i for i, (low, _) in enumerate(tokens.offsets) if low >= place), len(tokens.ids))


def _end_of_turn(tokens: Tokenised, after: int, special_ids: Collection[int], name: str) -> int:
    """Index of the special token that ends the turn, with nothing but white space from `after` to it."""
    while (
        after < len(tokens.ids)
        and tokens.ids[after] not in special_ids
        and not tokens.text[slice(*tokens.offsets[after])].strip()
    ):
        after += 1
    if after == len(tokens.ids) or tokens.ids[after] not in special_ids:
        raise SampleError(f"{name}: the chat template puts no end-of-turn token after the assistant's text.")
    return after
