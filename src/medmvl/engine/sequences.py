"""A batch as it is decoded: each sequence keeps its own options, seed, form, stop texts and listener.

The decoding loop takes the likeliest token; a sequence that samples adds Gumbel noise of its own seed to its logits, which
makes the likeliest token a sample, so that nobody's answer depends on who shares the batch.
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

Finish = Literal["stop", "length", "cancelled", "deadline"]
INCOMPLETE = "\ufffd"
"""What decoding gives for the first bytes of a character whose last bytes are still to come."""


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
    """On the clock of `time.monotonic`."""
    listen: Callable[[str], None] | None = None
    """Receives the text piece by piece; the pieces joined are the text."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    end_token: int | None = None
    """The id that ended the answer, which is not among `tokens`; None where it ended otherwise."""
    end_logprob: float | None = None
    """How likely that was, where log-probabilities are asked for."""
    finish: Finish | None = None
    _given: int = 0
    _text: str = ""
    _noise: torch.Generator | None = None
    _seen: Tensor | None = None

    @property
    def reads_logits(self) -> bool:
        """Whether `adjust` has anything to do."""
        return self.options.sampled or self.matcher is not None or self.options.logprobs is not None

    @property
    def text(self) -> str:
        """What was answered, up to where a stop text begins."""
        text = self.decode(self.tokens)
        return text[: self._stop_at(text)]

    def adjust(self, logits: Tensor) -> Tensor:
        """The logits `(vocabulary,)` whose largest is the next token."""
        if self.options.logprobs is not None:
            self._seen = logits.float().log_softmax(-1)
        if self.matcher is not None:
            logits = logits.masked_fill(~self.matcher.allowed(len(logits)).to(logits.device), -math.inf)
        return self._sampled(logits.float()) if self.options.sampled else logits

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
        self._tell(final=self.finish is not None)

    def _append(self, token: int) -> None:
        self.tokens.append(token)
        self._note(token)
        if self.matcher is not None:
            self.matcher.take(token)
        if self.listen is not None or self.options.stop:
            self._text = self.decode(self.tokens)

    def _end(self) -> Finish | None:
        complete = self.matcher is not None and self.matcher.complete
        if complete or self._stop_at(self._text) < len(self._text):
            return "stop"
        if len(self.tokens) >= self.options.max_new_tokens:
            return "length"
        if self.cancelled():
            return "cancelled"
        late = self.deadline is not None and time.monotonic() > self.deadline
        return "deadline" if late else None

    def _sampled(self, logits: Tensor) -> Tensor:
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

    def _tell(self, *, final: bool) -> None:
        """Give out text that will not change: no half characters, nothing that may begin a stop text."""
        if self.listen is None:
            return
        text = self._text
        sure = self._stop_at(text)
        if not final:
            sure = min(
                sure, len(text.rstrip(INCOMPLETE)), *(_overlap(text, stop) for stop in self.options.stop)
            )
        if sure > self._given:
            self.listen(text[self._given : sure])
            self._given = sure


def _overlap(text: str, stop: str) -> int:
    """Where the longest end of `text` that `stop` begins with starts."""
    for size in range(min(len(stop), len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return len(text) - size
    return len(text)
