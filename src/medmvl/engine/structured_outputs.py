"""Answers of a given form: choices, a regular expression, a JSON schema; llguidance says which token may come next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medmvl.engine.options import GenerationOptions
from medmvl.errors import UserError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerFast


class StructuredOutputs:
    """Makes the matcher of an answer's form, for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        self._known: LLTokenizer | None = None

    def matcher(self, options: GenerationOptions) -> Matcher | None:
        """A fresh matcher, or None for free text.

        Raises:
            UserError: the form cannot be read.
        """
        if not options.constrained:
            return None
        from llguidance import LLMatcher

        if self._known is None:
            self._known = self._vocabulary()
        matcher = LLMatcher(self._known, grammar_of(options))
        if matcher.is_error():
            raise UserError(f"the form of the answer cannot be read: {_first_line(matcher.get_error())}")
        return Matcher(matcher, self._stop_ids)

    def _vocabulary(self) -> LLTokenizer:
        from llguidance.hf import from_tokenizer

        try:
            return from_tokenizer(self._tokenizer, eos_token=self._stop_ids)
        except ValueError as error:
            raise UserError(
                f"this model's tokenizer cannot be held to a form ({error}); ask for free text"
            ) from None


class Matcher:
    """Follows one answer through its form."""

    def __init__(self, matcher: LLMatcher, stop_ids: list[int]) -> None:
        self._matcher = matcher
        self._stop_ids = stop_ids

    def allowed(self, num_logits: int) -> Tensor:
        """`(num_logits,)`, true for the tokens that may come next; only the stop ids once the form is complete."""
        allowed = torch.zeros(num_logits, dtype=torch.bool)
        if self._matcher.is_stopped():
            allowed[self._stop_ids] = True
            return allowed
        words = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        known = torch.from_numpy(np.unpackbits(words, bitorder="little")).bool()[:num_logits]
        allowed[: len(known)] = known
        return allowed

    def take(self, token: int) -> None:
        """Go on by one token."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())


def grammar_of(options: GenerationOptions) -> str:
    """The form of an answer as llguidance reads it."""
    from llguidance import LLMatcher

    if options.json_schema is not None:
        return str(
            LLMatcher.grammar_from_json_schema(options.json_schema, defaults={"whitespace_flexible": False})
        )
    pattern = options.regex or "|".join(re.escape(choice) for choice in options.choices)
    return str(LLMatcher.grammar_from_regex(pattern))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "unknown reason"
