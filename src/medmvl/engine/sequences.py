"""A batch as it is decoded: each sequence keeps its own options, seed, form, stop texts, marks of reasoning and listener.

The decoding loop takes the likeliest token; a sequence that samples adds Gumbel noise of its own seed to its logits, which
makes the likeliest token a sample, so that nobody's answer depends on what shares the batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from medmvl.engine.options import GenerationOptions
from medmvl.engine.structured_outputs import Matcher
from medmvl.schema.reasoning import Marks, Split, beginning_of, join_reasoning

Finish = Literal["stop", "length", "cancelled", "deadline"]
INCOMPLETE = "\ufffd"
"""Replacement character that decoding gives while the last bytes of a character are missing."""
GAP = 2
"""Characters of white space between the closing mark and an answer of a given form."""


class ReasoningPiece(str):
    """A piece of reasoning in a stream; other pieces are of the answer."""

    __slots__ = ()


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer, how likely it was before any form or sampling, and the likeliest at its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(eq=False)
class SequenceState:
    """One answer in the making."""

    options: GenerationOptions
    stop_ids: frozenset[int]
    decode: Callable[[Sequence[int]], str]
    matcher: Matcher | None = None
    cancelled: Callable[[], bool] = lambda: False
    deadline: float | None = None
    """Deadline on the clock of `time.monotonic`."""
    listen: Callable[[str], None] | None = None
    """Receives reasoning, as `ReasoningPiece`s, and text piece by piece; the pieces of each joined are the whole."""
    marks: Marks | None = None
    """Given where the prompt ends with the opening mark: what is written begins with reasoning."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    end_token: int | None = None
    """The id that ended the answer, which is not among `tokens`; None where it ended otherwise."""
    end_logprob: float | None = None
    """How likely that was, where log-probabilities are asked for."""
    finish: Finish | None = None
    _given: int = 0
    _given_reasoning: int = 0
    _text: str = ""
    _answering: bool = False
    _noise: torch.Generator | None = None
    _seen: Tensor | None = None

    @property
    def reads_logits(self) -> bool:
        """Whether `adjust` has anything to do."""
        return self.options.sampled or self.matcher is not None or self.options.logprobs is not None

    @property
    def text(self) -> str:
        """What was answered, up to where a stop text begins; empty where the reasoning did not end."""
        text = self._parts(self.decode(self.tokens), final=True).answer
        return text[: self._stop_at(text)]

    @property
    def reasoning(self) -> str | None:
        """What was written before the answer; None where no reasoning was asked for."""
        return None if self.marks is None else self._parts(self.decode(self.tokens), final=True).reasoning

    @property
    def inline(self) -> str:
        """Reasoning and answer as one text, which rewards of form read; the others leave reasoning out."""
        return join_reasoning(self.reasoning or "", self.text)

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens before the answer, marks and white space among them; all where there is no answer."""
        if self.marks is None:
            return 0
        low, high = 0, len(self.tokens)
        while low < high:  # the first that many tokens with an answer in them
            middle = (low + high) // 2
            answered = self._parts(self.decode(self.tokens[: middle + 1]), final=False).answer
            low, high = (low, middle) if answered else (middle + 1, high)
        return low

    def _parts(self, text: str, *, final: bool) -> Split:
        return Split("", text, True) if self.marks is None else self.marks.split(text, final=final)

    def adjust(self, logits: Tensor) -> Tensor:
        """The logits `(vocabulary,)` whose largest is the next token."""
        if self.options.logprobs is not None:
            self._seen = logits.float().log_softmax(-1)
        if self.matcher is None:
            return self._sampled(logits)
        if self.marks is not None and not self._answering:
            free = self._before_answer(self._sampled(logits).clone(), self.marks)
            if free is not None:
                return free
        self._answering = True
        return self._sampled(
            logits.masked_fill(~self.matcher.allowed(len(logits)).to(logits.device), -math.inf)
        )

    def _before_answer(self, logits: Tensor, marks: Marks) -> Tensor | None:
        """Logits of a token of reasoning or of the gap after it; None where the answer's form begins.

        The turn does not end here, and no token closes the reasoning and begins the answer at once.
        """
        closed = marks.split(self._text, final=False).closed
        while True:
            token = int(logits.argmax())
            text = self.decode([*self.tokens, token])
            found = marks.split(text, final=False)
            gap = len(text) - text.find(marks.closing) - len(marks.closing)
            if token not in self.stop_ids and (not found.closed or (not found.answer and gap <= GAP)):
                return logits
            if closed:
                return None
            logits[token] = -math.inf

    def take(self, token: int) -> None:
        """Append the chosen token and update `finish`."""
        if self.finish is not None:
            return
        if token in self.stop_ids:
            self.finish, self.end_token = "stop", token
            self.end_logprob = None if self._seen is None else float(self._seen[token])
        else:
            self._append(token)
            self.finish = self._end()
        self._release(final=self.finish is not None)

    def _append(self, token: int) -> None:
        self.tokens.append(token)
        self._note(token)
        if self.matcher is not None and (self.marks is None or self._answering):
            self.matcher.take(token)
        formed_later = self.matcher is not None and self.marks is not None
        if self.listen is not None or self.options.stop or formed_later:
            self._text = self.decode(self.tokens)

    def _end(self) -> Finish | None:
        if self.matcher is not None and self.matcher.complete:
            return "stop"
        if self.options.stop:
            answer = self._parts(self._text, final=False).answer
            if self._stop_at(answer) < len(answer):
                return "stop"
        if len(self.tokens) >= self.options.max_new_tokens:
            return "length"
        if self.cancelled():
            return "cancelled"
        late = self.deadline is not None and time.monotonic() > self.deadline
        return "deadline" if late else None

    def _sampled(self, logits: Tensor) -> Tensor:
        if not self.options.sampled:
            return logits
        logits = logits.float()
        if self._noise is None:
            self._noise = torch.Generator().manual_seed(self.options.seed)
        scaled = logits / self.options.temperature
        if self.options.top_p < 1.0:
            ordered, index = scaled.softmax(-1).sort(descending=True)
            beyond = ordered.cumsum(-1) - ordered >= self.options.top_p
            scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(0, index, beyond), -math.inf)
        uniform = torch.rand(scaled.shape, generator=self._noise).clamp(1e-20, 1 - 1e-7)
        return scaled - (-uniform.log()).log().to(scaled.device)

    def _note(self, token: int) -> None:
        if self._seen is None or self.options.logprobs is None:
            return
        values, index = self._seen.topk(self.options.logprobs) if self.options.logprobs else ((), ())
        top = tuple((int(i), float(v)) for i, v in zip(index, values, strict=True))
        self.logprobs.append(TokenLogprob(token, float(self._seen[token]), top))

    def _stop_at(self, text: str) -> int:
        found = [place for stop in self.options.stop if (place := text.find(stop)) >= 0]
        return min(found, default=len(text))

    def _release(self, *, final: bool) -> None:
        """Hand final text to the listener: no half characters, nothing that may begin a stop text or a mark."""
        if self.listen is None:
            return
        found = self._parts(self._text if final else self._text.rstrip(INCOMPLETE), final=final)
        if self.marks is not None and len(found.reasoning) > self._given_reasoning:
            self.listen(ReasoningPiece(found.reasoning[self._given_reasoning :]))
            self._given_reasoning = len(found.reasoning)
        text = found.answer
        sure = self._stop_at(text)
        if not final:
            sure = min([sure, *(beginning_of(text, stop) for stop in self.options.stop)])
        if sure > self._given:
            self.listen(text[self._given : sure])
            self._given = sure
