"""Engine: a model, loaded once, that answers. The only place that decodes; everything that asks goes through it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from medmvl.data.trained_on import TrainedOn
from medmvl.datasets.loader import BlockLoader, ImageLoader
from medmvl.engine.batch import Progress, answer_samples, digest_in_memory, model_digest
from medmvl.engine.known_features import KnownFeatures
from medmvl.engine.likelihood import choice_logprobs
from medmvl.engine.loading import INT8, load_saved
from medmvl.engine.options import GREEDY, GenerationOptions
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.engine.question import question_blocks
from medmvl.engine.request import Answer, Failure, Request
from medmvl.engine.scan_cache import ScanCache
from medmvl.engine.sequence_decoder import SequenceDecoder
from medmvl.engine.sequences import SequenceState
from medmvl.engine.streaming import stream_pieces
from medmvl.errors import UserError
from medmvl.imaging.in_memory import Visual
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visuals import ProcessedSample, VisualLoader
from medmvl.schema import Message, Sample, TextBlock


class Engine(SequenceDecoder):
    """Answers requests, one batch at a time. Calls from several threads wait for one another."""

    def __init__(
        self,
        model: MedMVLForConditionalGeneration,
        processor: MedMVLProcessor,
        cache_bytes: int = 256 * 1024**2,
    ) -> None:
        super().__init__(model, processor, cache_bytes)
        self.scans = ScanCache(processor.process_visual)
        self.folder: Path | None = None
        """Where the model was loaded from."""
        self.in_eight_bits = False
        """Whether the LLM's linear layers are in 8 bits."""
        self._known_features = KnownFeatures(self.model, processor)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", dtype: str = "auto") -> Engine:
        """Load a saved model: offline, safetensors only, no code from the folder.

        Args:
            folder: what `save_pretrained` or a training run wrote.
            device: `"auto"` takes a GPU where there is one; else as PyTorch names devices.
            dtype: `"auto"` is bfloat16 on a GPU that has it, float32 elsewhere; or one of `DTYPES`;
                `"int8"` is as auto, with the LLM's linear layers in 8 bits.

        Raises:
            UserError: the folder holds no model, or the device or dtype is not there.
            MissingExtraError: int8 without its extra.
        """
        engine = cls(*load_saved(Path(folder), device, dtype))
        engine.folder = Path(folder)
        engine.in_eight_bits = dtype == INT8
        return engine

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """Patients that the model was trained on, as its folder says."""
        return None if self.folder is None else TrainedOn.read(self.folder)

    @property
    def identity(self) -> JsonObject:
        """Identity of the model in results: `model`, a digest that changes with settings or weights, and `dtype`."""
        loaded = self.folder is not None
        digest = self._folder_digest if loaded else digest_in_memory(self.model, self.processor)
        dtype = INT8 if self.in_eight_bits else str(self.model.dtype).removeprefix("torch.")
        return {"model": digest, "dtype": dtype}

    @cached_property
    def _folder_digest(self) -> str:
        assert self.folder is not None
        return model_digest(self.folder)

    @contextmanager
    def keeping_features(self, load: ImageLoader) -> Iterator[VisualLoader]:
        """What the model sees of the files of a data set: features are found, while those that are missing are made and kept.

        Where `load` changes what it reads, as other callables than a `BlockLoader` may, it does neither.
        """
        if not isinstance(load, BlockLoader):
            yield self.scans.wrap(load)
            return
        with self._known_features.keeping() as features:
            yield self.scans.wrap(load, features=features)

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits of the answerer that results should mention; an engine has none."""
        return ()

    @property
    def thinks(self) -> bool:
        """Whether the model reasons before it answers by default."""
        return bool(self.processor.thinking)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return torch.device(self.model.device)

    def answer(self, requests: Sequence[Request], options: GenerationOptions = GREEDY) -> list[Answer]:
        """Answer all requests in one batch.

        Raises:
            UserError: the first request that cannot be answered, by name; `try_answer` gives the others.
        """
        answers = []
        for outcome in self.try_answer(requests, options):
            if isinstance(outcome, Failure):
                raise UserError(f"{outcome.name}: {outcome.error}")
            answers.append(outcome)
        return answers

    def try_answer(
        self, requests: Sequence[Request], options: GenerationOptions = GREEDY
    ) -> list[Answer | Failure]:
        """Answer in one batch; a request whose file is broken gives a Failure and does not disturb the others."""
        started = time.perf_counter()
        outcomes: list[Answer | Failure | ProcessedSample] = [
            self.try_prepare(request, options) for request in requests
        ]
        prepared = [
            (outcome, request.owner)
            for outcome, request in zip(outcomes, requests, strict=True)
            if isinstance(outcome, ProcessedSample)
        ]
        decoded = iter(self.decode_batch(prepared, options) if prepared else [])
        seconds = time.perf_counter() - started
        return [
            self.answer_of(outcome, next(decoded), seconds)
            if isinstance(outcome, ProcessedSample)
            else outcome
            for outcome in outcomes
        ]

    def answer_samples(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        options: GenerationOptions = GREEDY,
        *,
        batch_size: int = 32,
        processes: ProcessGroup = SINGLE_PROCESS,
        progress: Progress | None = None,
    ) -> list[Failure]:
        """Answer a data set into the file `out`, see `medmvl.engine.batch.answer_samples`."""
        return answer_samples(
            self,
            samples,
            load,
            out,
            run,
            options,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )

    def choice_logprobs(
        self,
        samples: Sequence[Sample],
        load: ImageLoader,
        out: Path,
        run: JsonMapping,
        *,
        batch_size: int = 16,
        processes: ProcessGroup = SINGLE_PROCESS,
        progress: Progress | None = None,
    ) -> dict[str, list[float]]:
        """Log-likelihoods of the choices of closed samples, see `medmvl.engine.likelihood.choice_logprobs`."""
        return choice_logprobs(
            self, samples, load, out, run, batch_size=batch_size, processes=processes, progress=progress
        )

    def ask(
        self,
        question: str,
        *,
        images: Visual | Sequence[Visual] = (),
        volumes: Visual | Sequence[Visual] = (),
        priors: Mapping[str, int] | None = None,
        units: str | None = None,
        modality: str | None = None,
        history: Sequence[Message] = (),
        **options: Any,
    ) -> Answer:
        """Ask one question about images and volumes.

        Args:
            question: text of the question.
            images: one 2D image or several: a path, a `MedicalImage`, a NumPy array or a Pillow image each.
            volumes: one 3D volume or several, likewise; a DICOM folder is a path, `"folder#series=2"` chooses. A file is read
                and encoded once, however often it is asked about.
            priors: earlier studies: path, and the days by which it is older. They are volumes where volumes are given.
            units: declares the units of all of them, where they do not say it, such as `"HU"`.
            modality: declares the modality likewise, such as `"CT"`.
            history: the turns before this one.
            **options: fields of `GenerationOptions`, such as `max_new_tokens=64` or `choices=("yes", "no")`.

        Raises:
            UserError: an argument is unknown, a file cannot be read, or the conversation is too long.
        """
        blocks, in_memory = question_blocks(
            images, volumes, priors or {}, {"units": units, "modality": modality}
        )
        memory = {block: self.processor.process_visual(image) for block, image in in_memory.items()}
        cached = self.scans.wrap(BlockLoader(Path.cwd()), features=self._known_features.reader())
        turn = Message(role="user", content=(*blocks, TextBlock(text=question)))
        request = Request((*history, turn), lambda block: memory[block] if block in memory else cached(block))
        chosen = GenerationOptions.from_arguments(**options)
        if chosen.logprobs is None and chosen.num_beams == 1:
            chosen = chosen.model_copy(update={"logprobs": 0})
        return self.answer([request], chosen)[0]

    def stream(self, request: Request, options: GenerationOptions = GREEDY) -> Iterator[str]:
        """Answer one request piece by piece; the pieces joined are the text that `answer` gives.

        Reasoning comes before it as `ReasoningPiece`s. Closing the iterator stops the decoding.

        Raises:
            UserError: at once, when the request cannot be answered or beams are asked for.
        """
        if options.num_beams > 1:
            raise UserError(
                "beam search knows its answer only at the end and cannot be streamed; set num_beams to 1"
            )
        prepared = self.prepare(request, options)
        sequence = self.new_sequence(self.fitted(options, prepared))
        return stream_pieces(sequence, lambda: self.decode_sequences([prepared], [sequence], [request.owner]))

    def prepare(self, request: Request, options: GenerationOptions = GREEDY) -> ProcessedSample:
        """Read the request's images and make its tokens.

        Raises:
            UserError: naming the request.
        """
        outcome = self.try_prepare(request, options)
        if isinstance(outcome, Failure):
            raise UserError(f"{outcome.name}: {outcome.error}")
        return outcome

    def try_prepare(self, request: Request, options: GenerationOptions = GREEDY) -> ProcessedSample | Failure:
        """As `prepare`, with a Failure in place of an error."""
        try:
            prepared = self.processor.prepare(
                request.messages,
                request.load,
                supervised=False,
                add_generation_prompt=True,
                thinking=options.thinking,
                name=request.name,
            )
        except (ValueError, OSError) as error:
            return Failure(request.name, str(error).removeprefix(f"{request.name}: "))
        room = self.room(prepared, options.num_beams)
        wanted = 1 if options.shrink_to_fit else options.max_new_tokens
        if room is not None and wanted > room:
            length, limit = len(prepared.input_ids), options.max_new_tokens
            fits_alone = room != self.room(prepared)
            why = _crosses(length, limit, room) if fits_alone else _too_long(length, limit, room)
            return Failure(request.name, why)
        return prepared

    @staticmethod
    def answer_of(prepared: ProcessedSample, sequence: SequenceState, seconds: float) -> Answer:
        """The answer of a decoded sequence, with a description of the images and volumes."""
        return Answer(
            text=sequence.text,
            tokens=tuple(sequence.tokens),
            seconds=seconds,
            seen=tuple(visual.to_json() for visual in prepared.visuals),
            finish=sequence.finish or "length",
            num_prompt_tokens=len(prepared.input_ids),
            logprobs=tuple(sequence.logprobs),
            reasoning=sequence.reasoning,
            num_reasoning_tokens=sequence.num_reasoning_tokens,
        )


def _too_long(num_tokens: int, max_new_tokens: int, room: int) -> str:
    """Why a conversation and its answer do not fit into what the LLM reads, and what to do."""
    reads = num_tokens + room
    if room <= 0:
        return f"{num_tokens} tokens leave no room for an answer, as the LLM reads {reads}; ask with fewer images or turns"
    return (
        f"{num_tokens} tokens and an answer of up to {max_new_tokens} are more than the {reads} the LLM reads; "
        f"ask with fewer images or turns, or set max_new_tokens to at most {room}"
    )


def _crosses(num_tokens: int, max_new_tokens: int, room: int) -> str:
    """Why beams cannot answer a conversation that a single answer can, and what to do."""
    return (
        f"{num_tokens} tokens and an answer of up to {max_new_tokens} cross the {num_tokens + room} tokens after which this "
        "LLM turns positions otherwise (LongRoPE), where beams cannot follow; set num_beams to 1, or lower max_new_tokens"
    )
