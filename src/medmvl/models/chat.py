"""From a conversation to token ids and labels: one rendering of the LLM's own chat template, one tokenisation.

What the assistant says is marked by two private-use characters while the template renders; where they come out is where the
labels are. So roles are never guessed from position, and no piece is ever tokenised on its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from medmvl.errors import SampleError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_REMEMBERED = 1 << 14
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
IMAGE_TOKEN, VOLUME_TOKEN = "<|image|>", "<|volume|>"


@dataclass(frozen=True)
class Turn:
    """One message as text; every image and volume is a single placeholder in it."""

    role: str
    text: str


@dataclass(frozen=True)
class Encoded:
    """Token ids of a conversation, placeholders not yet expanded."""

    ids: list[int]
    supervised: list[bool]
    """True where a token is the assistant's text or its end of turn."""


def plain_template() -> str:
    """The bundled chat template for base models that have none."""
    return resources.files("medmvl.models").joinpath("templates/plain.jinja").read_text("utf-8")


class ChatTokenizer:
    """Renders and tokenises conversations with one tokenizer.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        placeholders: the special tokens that stand for visuals; text must not spell them.
        template_kwargs: passed to every rendering, such as `{"enable_thinking": False}`.
        split_at_placeholders: tokenise the text between two placeholders separately, as some checkpoints were trained; a
            tokenizer that marks the beginning of a text (SentencePiece) then does so after every visual.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        placeholders: Sequence[str],
        template_kwargs: Mapping[str, Any],
        *,
        split_at_placeholders: bool = False,
    ) -> None:
        if not tokenizer.is_fast:
            raise SampleError(
                f"{type(tokenizer).__name__} is a slow tokenizer; labels need the fast one of the same model."
            )
        self.tokenizer = tokenizer
        self.template_kwargs = dict(template_kwargs)
        cuts = [text for text in (*placeholders, tokenizer.bos_token) if text]
        self._between = re.compile(f"({'|'.join(map(re.escape, cuts))})") if split_at_placeholders else None
        self._marks_beginnings = split_at_placeholders and _marks_beginnings(tokenizer)
        self._encoded: dict[tuple[tuple[Turn, ...], bool], Encoded] = {}  # many samples ask in the same words
        added = tokenizer.added_tokens_decoder
        self._special_ids = {i for i, token in added.items() if token.special} | set(
            tokenizer.all_special_ids
        )
        reserved = {token.content for token in added.values() if token.special} | set(placeholders)
        self._reserved = re.compile(
            "|".join(re.escape(text) for text in sorted(reserved, key=len, reverse=True)) or r"(?!)"
        )
        self._answer_prefix = ""
        self._flaw: SampleError | None = None
        self.end_of_turn_id: int | None = None
        try:
            self._answer_prefix = self._find_answer_prefix()
            self.end_of_turn_id = self._find_end_of_turn()
        except SampleError as error:
            self._flaw = error

    @property
    def stop_token_ids(self) -> list[int]:
        """The ids that end an answer: the template's end of turn and the tokenizer's own end."""
        return sorted({self.end_of_turn_id, self.tokenizer.eos_token_id} - {None})

    def check_teachable(self) -> None:
        """Raise SampleError where the template can be asked with but not trained with, such as one without an end of turn."""
        if self._flaw is not None:
            raise self._flaw

    def check_text(self, text: str, name: str) -> str:
        """Return the text; refuse what would be read as a special token or as our own marks.

        Raises:
            SampleError: naming the sample and the token.
        """
        found = self._reserved.search(text)
        if found:
            raise SampleError(
                f"{name}: its text spells the special token {found.group()!r}, which the model would obey instead of read; "
                "remove it from the text (images and volumes are blocks of their own)."
            )
        if _OPEN in text or _CLOSE in text:
            raise SampleError(
                f"{name}: its text holds the private-use character U+E0F0 or U+E0F1; remove it."
            )
        return text

    def encode(self, turns: Sequence[Turn], *, add_generation_prompt: bool, name: str) -> Encoded:
        """Token ids and supervision of a conversation.

        Raises:
            SampleError: the template refuses the conversation, rewrites an answer, or gives it no end of turn.
        """
        key = (tuple(turns), add_generation_prompt)
        if key not in self._encoded:
            if len(self._encoded) >= _REMEMBERED:
                self._encoded.clear()
            self._encoded[key] = self._encode(turns, add_generation_prompt, name)
        return self._encoded[key]

    def _encode(self, turns: Sequence[Turn], add_generation_prompt: bool, name: str) -> Encoded:
        text, spans = self.render(turns, add_generation_prompt=add_generation_prompt, name=name)
        ids, offsets = self.tokenised(text)
        supervised = [False] * len(ids)
        for start, end in spans if self._flaw is None else ():
            prefix = len(self._answer_prefix) if text[:start].endswith(self._answer_prefix) else 0
            self._supervise(supervised, ids, offsets, (start - prefix, end), text, name)
        return Encoded(ids, supervised)

    def tokenised(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and where in the text each begins and ends."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
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
        return ids, offsets

    def render(
        self, turns: Sequence[Turn], *, add_generation_prompt: bool, name: str
    ) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as one string, and where in it the assistant's texts are."""
        messages = [
            {
                "role": turn.role,
                "content": f"{_OPEN}{turn.text.strip()}{_CLOSE}" if turn.role == "assistant" else turn.text,
            }
            for turn in turns
        ]
        try:
            marked = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **self.template_kwargs
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise SampleError(f"{name}: the chat template refuses this conversation: {error}") from error
        return self._unmark(marked, [m["content"][1:-1] for m in messages if m["role"] == "assistant"], name)

    @staticmethod
    def _unmark(marked: str, answers: Sequence[str], name: str) -> tuple[str, list[tuple[int, int]]]:
        pieces = re.split(f"{_OPEN}(.*?){_CLOSE}", marked, flags=re.DOTALL)
        if pieces[1::2] != list(answers):
            raise SampleError(
                f"{name}: the chat template drops or rewrites what the assistant says ({len(answers)} answers given, "
                f"{len(pieces) // 2} rendered); such a conversation cannot be trained on with it."
            )
        spans, position = [], 0
        for number, piece in enumerate(pieces):
            if number % 2:
                spans.append((position, position + len(piece)))
            position += len(piece)
        return "".join(pieces), spans

    def _supervise(
        self,
        supervised: list[bool],
        ids: Sequence[int],
        offsets: Sequence[tuple[int, int]],
        span: tuple[int, int],
        text: str,
        name: str,
    ) -> None:
        """Mark the tokens of one answer and the end of turn after it."""
        start, end = span
        inside = [i for i, (low, high) in enumerate(offsets) if low < end and high > start]
        for index in inside:
            low, high = offsets[index]
            if text[low:start].strip() or text[end:high].strip():
                raise SampleError(
                    f"{name}: a token joins an answer with the chat template's own text; use another template."
                )
            supervised[index] = True
        after = (
            inside[-1] + 1
            if inside
            else next((i for i, (low, _) in enumerate(offsets) if low >= end), len(ids))
        )
        while (
            after < len(ids)
            and ids[after] not in self._special_ids
            and not text[slice(*offsets[after])].strip()
        ):
            supervised[after] = True
            after += 1
        if after == len(ids) or ids[after] not in self._special_ids:
            raise SampleError(
                f"{name}: the chat template puts no end-of-turn token after the assistant's text."
            )
        supervised[after] = True

    def _find_answer_prefix(self) -> str:
        """White space that the template puts between its cue to answer and the answer: the model has to write it itself."""
        question, name = Turn("user", "a"), "the chat template"
        cue, _ = self.render([question], add_generation_prompt=True, name=name)
        text, [(start, _)] = self.render(
            [question, Turn("assistant", "b")], add_generation_prompt=False, name=name
        )
        if not text.startswith(cue) or text[len(cue) : start].strip():
            raise SampleError(
                f"the chat template cues an answer with {cue!r}, but in a finished conversation {text[:start]!r} comes before "
                "it: what is trained would not be what is asked. Choose other template_kwargs or another chat_template."
            )
        return text[len(cue) : start]

    def _find_end_of_turn(self) -> int:
        encoded = self.encode(
            [Turn("user", "a"), Turn("assistant", "b")], add_generation_prompt=False, name="the chat template"
        )
        return encoded.ids[max(i for i, flag in enumerate(encoded.supervised) if flag)]


def _marks_beginnings(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a text begins with a mark of its own (SentencePiece), which the fast tokenizer leaves out before a space."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[:1]
    return bool(first) and first[0].startswith("\u2581")
