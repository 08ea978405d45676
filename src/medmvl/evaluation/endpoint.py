"""A model behind an OpenAI-compatible endpoint, asked like a local one: same files, same resume, failures listed.

Nothing leaves this machine unless that was asked for: other hosts need `allow_remote`, no redirect is followed, and
an endpoint on this machine is reached without any proxy.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medmvl.addresses import is_loopback
from medmvl.datasets.loader import ImageLoader
from medmvl.engine import AnswerFile, Failure, GenerationOptions, StoredAnswer
from medmvl.engine.answer_file import RECORD
from medmvl.engine.batch import Progress, check_ids, plan
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.errors import MissingExtraError, UserError
from medmvl.evaluation.endpoint_content import ScanContent, check_volume_as
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.outputs import continued_file
from medmvl.schema import Message, Sample, TextBlock
from medmvl.schema.reasoning import split_reasoning, without_reasoning

if TYPE_CHECKING:
    from openai import APIError, OpenAI
    from openai.types.chat.chat_completion import Choice

logger = logging.getLogger(__name__)
FATAL = (401, 403)
"""Errors that every question would meet, such as a wrong key; the evaluation stops instead of counting all answers as wrong."""
_LONGEST_ERROR = 300
_Keep = Callable[[Sequence[StoredAnswer], Sequence[Failure]], None]


@dataclass(frozen=True)
class EndpointOptions:
    """Where an endpoint is and how it is asked."""

    url: str
    """Address, such as `http://127.0.0.1:8000/v1`."""
    model: str | None = None
    """Name of the model on the server; None takes the only one."""
    key: str | None = field(default=None, repr=False)
    allow_remote: bool = False
    """Images and questions may be sent to a host that is not this machine."""
    volume_as: str = "auto"
    """`volume`: as medmvl's server takes them; `slices:N`: N axial slices; `auto`: the first where it is that server."""
    concurrency: int = 4
    timeout_s: float = 120.0
    retries: int = 5
    """Attempts after 429, 503 or a broken connection, each after a longer wait."""


class Endpoint:
    """An OpenAI-compatible endpoint as an `Answerer`: `evaluate` takes it in place of an engine."""

    def __init__(self, options: EndpointOptions) -> None:
        """Find out which server answers.

        Raises:
            UserError: the address is another machine's without leave, nobody answers, or the model is unknown.
            MissingExtraError: the client is not installed.
        """
        check_volume_as(options.volume_as)
        loopback = _check_address(options)
        self.options = options
        self.client = _client(options, loopback)
        self.model, ours = self._choose_model()
        self.volume_as = (
            ("volume" if ours else "refuse") if options.volume_as == "auto" else options.volume_as
        )
        self._renamed: dict[str, str | None] = {}

    @property
    def digest(self) -> str:
        """Names the endpoint, the model and how volumes are shown: answers of two are never mixed."""
        words = f"{self.options.url} {self.model} {self.volume_as}"
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def trained_on(self) -> None:
        """None: an endpoint does not say which patients its model was trained on."""
        return None

    @property
    def identity(self) -> JsonObject:
        """What `results.json` says of the model."""
        return {
            "model": self.digest, "endpoint": self.options.url, "endpoint_model": self.model,
            "volume_as": self.volume_as,
        }  # fmt: skip

    @property
    def thinks(self) -> bool:
        """False: an endpoint does not say whether its model reasons before it answers."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the endpoint did not take as it was asked."""
        if self._renamed.get("temperature", "") is None:
            return ("the endpoint takes no temperature: its answers are not greedy and may change",)
        return ()

    def answer_samples(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        options: GenerationOptions,
        *,
        batch_size: int = 1,
        processes: ProcessGroup = SINGLE_PROCESS,
        progress: Progress | None = None,
    ) -> list[Failure]:
        """As `medmvl.engine.answer_samples`; answers have no tokens.

        `concurrency` of the options counts instead of `batch_size`.

        Raises:
            SampleError: two samples have one id.
            UserError: `out` belongs to another run, several processes ask, or the server refuses all questions.
        """
        if processes.size > 1:
            raise UserError("an endpoint is asked by one process; use --concurrency instead of torchrun")
        check_ids(samples)
        with continued_file(out, RECORD):
            return self._answer_missing(samples, load, out, run, options, progress)

    def _answer_missing(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        options: GenerationOptions,
        progress: Progress | None,
    ) -> list[Failure]:
        file = AnswerFile(out, {**run, "options": options.model_dump(mode="json")})
        if progress is not None:
            progress(len(set(file.answers) & {sample.id for sample in samples}))
        failures: list[Failure] = []
        lock = Lock()

        def keep(answers: Sequence[StoredAnswer], failed: Sequence[Failure]) -> None:
            with lock:
                file.append(answers)
                failures.extend(failed)
                if progress is not None:
                    progress(len(answers) + len(failed))

        with ThreadPoolExecutor(self.options.concurrency) as workers:
            scans = list(_by_scan(samples, set(file.answers)))
            waiting = [workers.submit(self._answer_scan, scan, load, options, keep) for scan in scans]
            try:
                for done in as_completed(waiting):
                    done.result()
            except _RefusedError as error:
                workers.shutdown(cancel_futures=True)
                raise UserError(f"endpoint {self.options.url}: {error}") from None
            except BaseException:
                workers.shutdown(cancel_futures=True)
                raise
        file.rewrite([file.answers[sample.id] for sample in samples if sample.id in file.answers])
        return failures

    def choice_logprobs(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        *,
        batch_size: int = 1,
        processes: ProcessGroup = SINGLE_PROCESS,
        progress: Progress | None = None,
    ) -> dict[str, list[float]]:
        """Raise UserError: an endpoint gives no likelihood of given answers."""
        raise UserError(
            "calibration scores given answers by their likelihood, which an endpoint does not give; leave it out"
        )

    def _answer_scan(
        self, groups: list[list[Sample]], load: ImageLoader, options: GenerationOptions, keep: _Keep
    ) -> None:
        """Ask all questions about one scan, whose pixels are read and sent up once."""
        with ScanContent(self.client, load, self.volume_as) as content:
            for same in groups:
                try:
                    answer = self._ask(same[0].prompt().messages, content, options)
                    keep([replace(answer, id=sample.id) for sample in same], [])
                except (ValueError, OSError, _api_error()) as error:
                    words = self._words(error)
                    keep([], [Failure(sample.id, words) for sample in same])
                    logger.warning("%s: %s", same[0].id, words)

    def _ask(
        self, messages: Sequence[Message], content: ScanContent, options: GenerationOptions
    ) -> StoredAnswer:
        turns: list[Any] = [{"role": turn.role, "content": _content(turn, content)} for turn in messages]
        for _ in range(3):
            settings: JsonObject = {"temperature": 0.0, "max_tokens": options.max_new_tokens}
            if options.thinking is not None:
                switch = {"enable_thinking": options.thinking}
                settings["extra_body"] = {"chat_template_kwargs": switch}
            named = {self._renamed.get(name, name): value for name, value in settings.items()}
            try:
                reply = self.client.chat.completions.create(
                    model=self.model, messages=turns, **{name: value for name, value in named.items() if name}
                )
            except _api_error() as error:
                if getattr(error, "status_code", None) in FATAL:
                    raise _RefusedError(self._words(error)) from None
                if not self._give_way(error):
                    raise
                continue
            if not getattr(reply, "choices", None):
                raise UserError("the endpoint's reply holds no answer")
            return _stored(reply.choices[0])
        raise UserError("the endpoint refuses max_tokens, max_completion_tokens and temperature in turn")

    def _give_way(self, error: BaseException) -> bool:
        """Whether the server named a setting that it does not take; it is adapted from now on."""
        other: dict[str, str | None] = {"max_tokens": "max_completion_tokens", "temperature": None}
        name = getattr(error, "param", None)
        if getattr(error, "status_code", None) != 400 or name not in other or name in self._renamed:
            return False
        self._renamed[name] = other[name]
        return True

    def _choose_model(self) -> tuple[str, bool]:
        """The name to ask for, and whether medmvl's own server answers."""
        try:
            found = [(entry.id, getattr(entry, "owned_by", "")) for entry in self.client.models.list().data]
        except _api_error() as error:
            status = getattr(error, "status_code", None)
            if status in (404, 405, 501) and self.options.model:
                return self.options.model, False
            raise UserError(f"endpoint {self.options.url}: {self._words(error)}") from None
        names = [name for name, _ in found]
        wanted = self.options.model or (names[0] if len(names) == 1 else None)
        if wanted is None or (names and wanted not in names):
            shown = ", ".join(names[:20]) or "none"
            raise UserError(f"--endpoint-model {wanted or 'is needed'}: the endpoint has {shown}")
        return wanted, (wanted, "medmvl") in found

    def _words(self, error: BaseException) -> str:
        """An error's message without the key, cut short."""
        words = " ".join(str(error).split())
        if self.options.key:
            words = words.replace(self.options.key, "***")
        if getattr(error, "status_code", None) in (401, 403):
            words += "; the key is read from MEDMVL_ENDPOINT_KEY"
        if type(error).__name__ == "APIConnectionError":
            words += f" Nothing answers at {self.options.url}: is the server running, and the port right?"
        return words[:_LONGEST_ERROR]


def _stored(choice: Choice) -> StoredAnswer:
    """The answer without its reasoning, which servers return separately or leave in the text between marks."""
    text = str(choice.message.content or "")
    reasoning = getattr(choice.message, "reasoning", None) or getattr(
        choice.message, "reasoning_content", None
    )
    answer = without_reasoning(text)
    if answer != text:
        reasoning, answer = reasoning or split_reasoning(text)[0], answer.strip()
    cut = getattr(choice, "finish_reason", None) == "length"
    return StoredAnswer("", answer, (), cut=cut, reasoning=str(reasoning) if reasoning is not None else None)


class _RefusedError(Exception):
    """The server refuses every question; `answer_samples` gives it on as a UserError."""


def _check_address(options: EndpointOptions) -> bool:
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--endpoint {options.url!r}: expected an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise UserError(
            "--endpoint: keep secrets out of the address; the key is read from MEDMVL_ENDPOINT_KEY"
        )
    loopback = is_loopback(parts.hostname)
    if not loopback and not options.allow_remote:
        raise UserError(
            f"--endpoint: {parts.hostname} is another machine, and the images and questions would be sent there. If the "
            "data may leave this machine, say so with --send-data-to-endpoint"
        )
    return loopback


def _client(options: EndpointOptions, loopback: bool) -> OpenAI:
    try:
        import openai
    except ImportError:
        raise MissingExtraError(
            "openai is missing; install it with: pip install -e '.[endpoint]' in the clone"
        ) from None
    http = openai.DefaultHttpxClient(
        trust_env=not loopback, follow_redirects=False, timeout=options.timeout_s
    )
    return openai.OpenAI(
        base_url=options.url,
        api_key=options.key or "none",
        max_retries=options.retries,
        timeout=options.timeout_s,
        http_client=http,
    )


def _api_error() -> type[APIError]:
    import openai

    return openai.APIError


def _by_scan(samples: Sequence[Sample], done: set[str]) -> Iterator[list[list[Sample]]]:
    """Questions that stand alone where nothing is shown, else all about one scan; equal ones are asked once."""
    (groups,) = plan(samples, done, max(1, len(samples)), merge_equal=True) or [[]]
    for visuals, about in groupby(groups, key=lambda same: same[0].visuals):
        if visuals:
            yield list(about)
        else:
            yield from ([same] for same in about)


def _content(turn: Message, content: ScanContent) -> str | list[JsonObject]:
    if not turn.visuals:
        return turn.text
    parts: list[JsonObject] = []
    for block in turn.content:
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
        else:
            parts += content.parts(block)
    return parts
