"""From a conversation to token ids and labels: one rendering of the LLM's own chat template, one tokenisation.

Labels are found by the places of the assistant's texts in the rendered string, so no piece is ever tokenised on its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from medmvl.errors import SampleError
from medmvl.json_types import JsonMapping
from medmvl.models.chat_rendering import OWN_MARKS, Rendered, Span, Turn, render
from medmvl.models.supervision import Tokenised, supervised_tokens
from medmvl.models.thinking import ReasoningCue, find_cue, with_reasoning

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REMEMBERED = 1 << 14


@dataclass(frozen=True)
class Encoded:
    """Token ids of a conversation, placeholders not yet expanded."""

    ids: list[int]
    supervised: list[bool]
    """True where a token is the assistant's text or its end of turn."""


class ChatTokenizer:
    """Renders and tokenises conversations with one tokenizer.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        placeholders: the special tokens that stand for visuals; text must not spell them.
        template_kwargs: passed to every rendering, such as `{"enable_thinking": False}`.
        split_at_placeholders: tokenise the text between two placeholders separately, as some checkpoints were trained; a
            tokenizer that marks the beginning of a text (SentencePiece) then does so after every visual.
        thinking: the model learns to reason before it answers; a template that has no place for it gets one.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        placeholders: Sequence[str],
        template_kwargs: JsonMapping,
        *,
        split_at_placeholders: bool = False,
        thinking: bool = False,
    ) -> None:
        if not tokenizer.is_fast:
            raise SampleError(
                f"{type(tokenizer).__name__} is a slow tokenizer; labels need the fast one of the same model."
            )
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs)
        self.thinking = thinking
        cuts = [text for text in (*placeholders, tokenizer.bos_token) if text]
        self._between = re.compile(f"({'|'.join(map(re.escape, cuts))})") if split_at_placeholders else None
        self._marks_beginnings = split_at_placeholders and _marks_beginnings(tokenizer)
        # many samples ask in the same words
        self._encoded: dict[tuple[tuple[Turn, ...], bool, bool], Encoded] = {}
        added = tokenizer.added_tokens_decoder
        self._special_ids = {i for i, token in added.items() if token.special} | set(
            tokenizer.all_special_ids
        )
        reserved = {token.content for token in added.values() if token.special} | set(placeholders)
        self.reserved = re.compile(
            "|".join(re.escape(text) for text in sorted(reserved, key=len, reverse=True)) or r"(?!)"
        )
        self._answer_prefix = ""
        self._flaw: SampleError | None = None
        self.end_of_turn_id: int | None = None
        if thinking and not self._knows_reasoning():
            self._give_reasoning()
        try:
            self._answer_prefix = self._find_answer_prefix()
            self.end_of_turn_id = self._find_end_of_turn(Turn("assistant", "b"))
        except SampleError as error:
            self._flaw = error
        if thinking and self.end_of_turn_id is None and isinstance(self._cue, ReasoningCue):
            self.end_of_turn_id = self._find_end_of_turn(Turn("assistant", "b", reasoning="r"))

    @property
    def stop_token_ids(self) -> list[int]:
        """The ids that end an answer: the template's end of turn and the tokenizer's own end."""
        return sorted({self.end_of_turn_id, self.tokenizer.eos_token_id} - {None})

    def check_teachable(self, *, thinking: bool | None = None) -> None:
        """Raise SampleError where the template works for prompts but not for training, such as one without an end of turn.

        Args:
            thinking: whether reasoning is to be taught; None: as the model is asked.
        """
        if self.thinking if thinking is None else thinking:
            self.reasoning_cue  # noqa: B018
        elif self._flaw is not None:
            raise self._flaw

    @property
    def reasoning_cue(self) -> ReasoningCue:
        """The text that asks this model to reason.

        Raises:
            SampleError: its chat template has no place for reasoning.
        """
        if isinstance(self._cue, SampleError):
            raise SampleError(f"this model cannot be asked to reason before it answers: {self._cue}")
        return self._cue

    @cached_property
    def _cue(self) -> ReasoningCue | SampleError:
        try:
            return find_cue(self)
        except SampleError as error:
            return error

    def _knows_reasoning(self) -> bool:
        return isinstance(self._cue, ReasoningCue)

    def _give_reasoning(self) -> None:
        """Put our marks around reasoning where the template has no place for it and nothing else is wrong with it."""
        try:
            gap = self._find_answer_prefix()
        except SampleError:
            return
        own = self.tokenizer.chat_template
        self.tokenizer.chat_template = with_reasoning(str(own), gap)
        del self._cue
        if not self._knows_reasoning():
            self.tokenizer.chat_template = own

    def check_text(self, text: str, name: str) -> str:
        """Return the text; refuse what would be read as a special token or as our own marks.

        Raises:
            SampleError: naming the sample and the token.
        """
        found = self.reserved.search(text)
        if found:
            raise SampleError(
                f"{name}: its text spells the special token {found.group()!r}, which the model would obey instead of read; "
                "remove it from the text (images and volumes are blocks of their own)."
            )
        if OWN_MARKS.search(text):
            raise SampleError(
                f"{name}: its text holds a private-use character from U+E0F0 to U+E0F3; remove it."
            )
        return text

    def encode(
        self, turns: Sequence[Turn], *, add_generation_prompt: bool, name: str, thinking: bool = False
    ) -> Encoded:
        """Token ids and supervision of a conversation.

        With `thinking`, a prompt ends with the opening mark, and supervised are the turns that have reasoning: opening mark
        where the template's cue lacks it, reasoning, closing mark, answer, end of turn. Earlier turns have none, so they are
        context only.

        Raises:
            SampleError: the template refuses the conversation, rewrites an answer, or gives it no end of turn.
        """
        key = (tuple(turns), add_generation_prompt, thinking)
        if key not in self._encoded:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            self._encoded[key] = self._encode(turns, add_generation_prompt, name, thinking)
        return self._encoded[key]

    def _encode(
        self, turns: Sequence[Turn], add_generation_prompt: bool, name: str, thinking: bool
    ) -> Encoded:
        found = self.rendered(
            turns, add_generation_prompt=add_generation_prompt, thinking=thinking, name=name
        )
        tokens = self.tokenised(found.text + self._opening(add_generation_prompt, thinking))
        spans = self._taught(found, thinking)
        return Encoded(tokens.ids, supervised_tokens(tokens, spans, self._special_ids, name))

    def _opening(self, add_generation_prompt: bool, thinking: bool) -> str:
        """Text after the template's own cue to answer, where that does not ask for reasoning by itself."""
        return self.reasoning_cue.opening if thinking and add_generation_prompt else ""

    def _taught(self, found: Rendered, thinking: bool) -> list[Span]:
        """Spans of the text that are learned, without ends of turns."""
        prefix = self.reasoning_cue.opening if thinking else self._answer_prefix
        if not thinking and self._flaw is not None:
            return []
        spans = []
        for (start, end), reasoning in zip(found.answers, found.reasoning, strict=True):
            if thinking and reasoning is None:
                continue
            begin = start if reasoning is None else reasoning[0]
            spans.append((begin - (len(prefix) if found.text[:begin].endswith(prefix) else 0), end))
        return spans

    def tokenised(self, text: str) -> Tokenised:
        """Ids, and where in the text each begins and ends."""
        ids: list[int] = []
        offsets: list[Span] = []
        start = 0
        for piece in self._between.split(text) if self._between else [text]:
            if piece:
                mark = " " if self._marks_beginnings and piece.startswith(" ") else ""
                tokens = self.tokenizer(mark + piece, add_special_tokens=False, return_offsets_mapping=True)
                ids += tokens["input_ids"]
                shift = start - len(mark)
                offsets += [
                    (max(start, shift + low), max(start, shift + high))
                    for low, high in tokens["offset_mapping"]
                ]
            start += len(piece)
        return Tokenised(text, ids, offsets)

    def prompt(
        self, turns: Sequence[Turn], *, add_generation_prompt: bool, name: str, thinking: bool = False
    ) -> str:
        """The conversation as one string, as it is tokenised."""
        found = self.rendered(
            turns, add_generation_prompt=add_generation_prompt, thinking=thinking, name=name
        )
        return found.text + self._opening(add_generation_prompt, thinking)

    def rendered(
        self, turns: Sequence[Turn], *, add_generation_prompt: bool, thinking: bool, name: str
    ) -> Rendered:
        """The conversation as one string, and where in it the assistant's texts and their reasoning are.

        Raises:
            SampleError: the template refuses it, or rewrites what the assistant says.
        """
        switch = {"enable_thinking": thinking} if thinking or self.thinking else {}
        return render(
            self.tokenizer,
            turns,
            {**self.template_kwargs, **switch},
            add_generation_prompt=add_generation_prompt,
            thinking=thinking,
            name=name,
        )

    def _find_answer_prefix(self) -> str:
        """White space that the template puts between its cue to answer and the answer: the model has to write it itself."""
        question, name = Turn("user", "a"), "the chat template"
        cue = self.rendered([question], add_generation_prompt=True, thinking=False, name=name).text
        finished = [question, Turn("assistant", "b")]
        found = self.rendered(finished, add_generation_prompt=False, thinking=False, name=name)
        text, [(start, _)] = found.text, found.answers
        if not text.startswith(cue) or text[len(cue) : start].strip():
            raise SampleError(
                f"the chat template cues an answer with {cue!r}, but in a finished conversation {text[:start]!r} comes before "
                "it: what is trained would not be what is asked. Choose other template_kwargs or another chat_template."
            )
        return text[len(cue) : start]

    def _find_end_of_turn(self, answer: Turn) -> int:
        encoded = self.encode(
            [Turn("user", "a"), answer],
            add_generation_prompt=False,
            name="the chat template",
            thinking=bool(answer.reasoning),
        )
        return encoded.ids[max(i for i, flag in enumerate(encoded.supervised) if flag)]


def _marks_beginnings(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a text begins with a mark of its own (SentencePiece), which the fast tokenizer leaves out before a space."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[:1]
    return bool(first) and first[0].startswith("\u2581")
