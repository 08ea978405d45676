"""`/v1/chat/completions`: the engine's answers in OpenAI's shape, whole or streamed."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from medmvl.engine import Answer, Failure, GenerationOptions, Request
from medmvl.engine.scheduler import Scheduler
from medmvl.engine.sequences import ReasoningPiece, TokenLogprob
from medmvl.json_types import JsonObject
from medmvl.serving.guard import error_body
from medmvl.serving.metrics import Metrics
from medmvl.serving.protocol import as_protocol

FINISH = {"stop": "stop", "length": "length", "cancelled": "stop", "deadline": "length"}
STATUS = {"input": 400, "memory": 503, "deadline": 503, "cancelled": 499, "internal": 500}


class FailedError(Exception):
    """A question that could not be answered, with the HTTP status that says whose fault it was."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(as_protocol(failure.error))
        self.status = STATUS[failure.reason]
        self.code = failure.reason


class Completions:
    """Answers one request of the protocol with one or several answers."""

    def __init__(self, scheduler: Scheduler, metrics: Metrics, model_name: str, seconds: float) -> None:
        self.scheduler = scheduler
        self.metrics = metrics
        self.model_name = model_name
        self.seconds = seconds

    async def whole(self, request: Request, options: Sequence[GenerationOptions]) -> JsonObject:
        """The complete response.

        Raises:
            FailedError: an answer could not be given.
            BusyError: too many questions wait.
        """
        tasks = [
            asyncio.ensure_future(self.scheduler.answer(request, option, seconds=self.seconds))
            for option in options
        ]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        answers = [self._answered(outcome) for outcome in outcomes]
        return {
            **self._head("chat.completion"),
            "choices": [self._choice(number, answer) for number, answer in enumerate(answers)],
            "usage": usage_of(answers),
            "seen": list(answers[0].seen),
        }

    async def stream(
        self, request: Request, options: Sequence[GenerationOptions], *, with_usage: bool
    ) -> AsyncIterator[str]:
        """Server-sent events, `[DONE]` last; an error after the first event comes as an event of its own."""
        head = self._head("chat.completion.chunk")
        answers: list[Answer] = []
        for number, _ in enumerate(options):
            yield _event({**head, "choices": [_delta(number, {"role": "assistant", "content": ""})]})
        try:
            async for number, piece in self._merged(request, options):
                if isinstance(piece, str):
                    name = "reasoning" if isinstance(piece, ReasoningPiece) else "content"
                    yield _event({**head, "choices": [_delta(number, {name: piece})]})
                    continue
                answer = self._answered(piece)
                answers.append(answer)
                last = _delta(number, {}, FINISH[answer.finish])
                if answer.logprobs:
                    last["logprobs"] = self._logprobs(answer)
                yield _event({**head, "choices": [last], "seen": list(answer.seen)})
        except FailedError as error:
            yield _event(error_body(error.status, str(error), error.code))
        else:
            if with_usage:
                yield _event({**head, "choices": [], "usage": usage_of(answers)})
        yield "data: [DONE]\n\n"

    async def _merged(
        self, request: Request, options: Sequence[GenerationOptions]
    ) -> AsyncIterator[tuple[int, str | Answer | Failure]]:
        """The pieces of all answers as they come, each with its number."""
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        started = time.perf_counter()

        async def follow(number: int, option: GenerationOptions) -> None:
            try:
                async for piece in self.scheduler.stream(request, option, seconds=self.seconds):
                    queue.put_nowait((number, piece))
            except ValueError as error:
                queue.put_nowait((number, Failure(request.name, str(error))))

        tasks = [asyncio.ensure_future(follow(number, option)) for number, option in enumerate(options)]
        try:
            left, first = len(tasks), True
            while left:
                number, piece = await queue.get()
                if first:
                    self.metrics.first.observe(time.perf_counter() - started)
                    first = False
                left -= not isinstance(piece, str)
                yield number, piece
        finally:
            for task in tasks:
                task.cancel()

    def _answered(self, outcome: Answer | Failure) -> Answer:
        if isinstance(outcome, Failure):
            raise FailedError(outcome)
        self.metrics.seconds.observe(outcome.seconds)
        self.metrics.tokens.labels("answer").inc(len(outcome.tokens))
        self.metrics.tokens.labels("prompt").inc(outcome.num_prompt_tokens)
        return outcome

    def _head(self, object_type: str) -> JsonObject:
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}", "object": object_type, "created": int(time.time()),
            "model": self.model_name,
        }  # fmt: skip

    def _choice(self, number: int, answer: Answer) -> JsonObject:
        reasoning = {} if answer.reasoning is None else {"reasoning": answer.reasoning}
        return {
            "index": number,
            "message": {"role": "assistant", **reasoning, "content": answer.text, "refusal": None},
            "logprobs": self._logprobs(answer) if answer.logprobs else None,
            "finish_reason": FINISH[answer.finish],
        }

    def _logprobs(self, answer: Answer) -> JsonObject:
        """Those of the content, as the protocol has them: reasoning is left out."""
        content = answer.logprobs[answer.num_reasoning_tokens :]
        return {"content": [self._entry(found) for found in content], "refusal": None}

    def _entry(self, found: TokenLogprob) -> JsonObject:
        top = [self._token(token, logprob) for token, logprob in found.top]
        return {**self._token(found.token, found.logprob), "top_logprobs": top}

    def _token(self, token: int, logprob: float) -> JsonObject:
        text = self.scheduler.engine.processor.tokenizer.decode([token])
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


def usage_of(answers: Sequence[Answer]) -> JsonObject:
    """Tokens read and written; the prompt counts once, and reasoning is among those written."""
    prompt = answers[0].num_prompt_tokens if answers else 0
    written = sum(len(answer.tokens) for answer in answers)
    usage: JsonObject = {
        "prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written,
    }  # fmt: skip
    if any(answer.reasoning is not None for answer in answers):
        reasoning = sum(answer.num_reasoning_tokens for answer in answers)
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def _delta(number: int, delta: JsonObject, finish: str | None = None) -> JsonObject:
    return {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}


def _event(body: JsonObject) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
