"""Prepared conversations to sequences of tokens: greedy or sampled, token by token, or by beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Lock

import torch
from transformers import GenerationConfig

from medmvl.engine.decoding import decode
from medmvl.engine.model_inputs import ModelInputs
from medmvl.engine.options import GenerationOptions
from medmvl.engine.sequences import SequenceState
from medmvl.engine.structured_outputs import StructuredOutputs
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.rotary_border import is_within, sides
from medmvl.models.thinking import decode_with_mark
from medmvl.models.visuals import ProcessedSample


class SequenceDecoder:
    """A model that decodes one batch at a time. Calls from several threads wait for one another."""

    def __init__(
        self, model: MedMVLForConditionalGeneration, processor: MedMVLProcessor, cache_bytes: int
    ) -> None:
        self.model = model.eval()
        self.model.generation_config = GenerationConfig()  # the LLM's own may sample; options decide here
        self.processor = processor
        self._pad_id = int(processor.tokenizer.pad_token_id)
        self.inputs = ModelInputs(self.model, self._pad_id, cache_bytes)
        self.border = self.inputs.border
        self._placeholders = [processor.image_token_id, processor.volume_token_id]
        self._structured_outputs = StructuredOutputs(processor.tokenizer, processor.stop_token_ids)
        self._lock = Lock()

    def room(self, prepared: ProcessedSample, num_beams: int = 1) -> int | None:
        """Tokens of an answer that the LLM's context leaves; None where it has no limit. Beams end at the LLM's border."""
        limit = getattr(self.model.config.llm, "max_position_embeddings", None)
        length = len(prepared.input_ids)
        if num_beams > 1 and self.border is not None and is_within(length, self.border):
            limit = self.border if limit is None else min(self.border, int(limit))
        return None if limit is None else int(limit) - length

    def fitted(self, options: GenerationOptions, prepared: ProcessedSample) -> GenerationOptions:
        """The options, with no more new tokens than fit after the conversation where `shrink_to_fit` is set."""
        room = self.room(prepared, options.num_beams)
        if not options.shrink_to_fit or room is None or room >= options.max_new_tokens:
            return options
        return options.model_copy(update={"max_new_tokens": room})

    def new_sequence(self, options: GenerationOptions) -> SequenceState:
        """A sequence to decode into.

        Raises:
            UserError: the form the answer should have cannot be read, or the model cannot reason as it should.
        """
        stop_ids = frozenset(self.processor.stop_token_ids)
        matcher = self._structured_outputs.matcher(options)
        if not (self.processor.thinking if options.thinking is None else options.thinking):
            return SequenceState(options, stop_ids, self.processor.decode, matcher)
        cue = self.processor.chat.reasoning_cue
        written = partial(decode_with_mark, self.processor.decode, cue)
        return SequenceState(options, stop_ids, written, matcher, marks=cue.marks)

    def decode_sequences(
        self,
        prepared: Sequence[ProcessedSample],
        sequences: Sequence[SequenceState],
        owners: Sequence[str] = (),
    ) -> None:
        """Decode a batch into its sequences. Calls from several threads wait for one another.

        Args:
            prepared: the conversations.
            sequences: from `new_sequence`, one per conversation, or equally many for each, those of one next to each other: its
                prompt is read once; they hold the answers afterwards.
            owners: whose scans each conversation shows; nothing cached for another is used.
        """
        owners = owners or [""] * len(prepared)
        times = len(sequences) // len(prepared)
        with self._lock, torch.inference_mode():
            for side in sides([len(sample.input_ids) for sample in prepared], self.border):
                own = [sequences[place * times + copy] for place in side for copy in range(times)]
                self._decode_side([prepared[place] for place in side], own, [owners[place] for place in side])

    def _decode_side(
        self, prepared: Sequence[ProcessedSample], sequences: Sequence[SequenceState], owners: Sequence[str]
    ) -> None:
        """Decode conversations on one side of the LLM's border; an answer that crosses it is read from the beginning."""
        border = self.border if is_within(len(prepared[0].input_ids), self.border) else None
        inputs = self.inputs.after_prefix(prepared, owners) or self.inputs.of(prepared, owners)
        keep = partial(self.inputs.keep_prefix, prepared, owners)
        decode(self.model, inputs, sequences, self._placeholders, keep, border)
        left = [place for place, sequence in enumerate(sequences) if sequence.finish is None]
        if left:
            times = len(sequences) // len(prepared)
            further = [_with_tokens(prepared[place // times], sequences[place].tokens) for place in left]
            self._decode_side(
                further, [sequences[place] for place in left], [owners[place // times] for place in left]
            )

    def forget(self) -> None:
        """Let go of visual tokens and beginnings that were kept: the weights they were made with have changed."""
        self.inputs.visual_tokens.clear()
        self.inputs.prefixes.clear()

    def search_beams(
        self,
        prepared: Sequence[ProcessedSample],
        sequences: Sequence[SequenceState],
        options: GenerationOptions,
        owners: Sequence[str],
    ) -> None:
        """Fill the sequences with the best beam of each conversation."""
        stop_ids = self.processor.stop_token_ids
        config = GenerationConfig(
            **options.arguments(),
            eos_token_id=stop_ids,
            pad_token_id=self._pad_id,
            suppress_tokens=self._placeholders,
        )
        with self._lock, torch.inference_mode():
            inputs = self.inputs.of(prepared, owners)
            output = self.model.generate(**inputs, generation_config=config)
        for sequence, tokens in zip(
            sequences, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True
        ):
            for token in tokens:
                sequence.take(token)

    def decode_batch(
        self, prepared: Sequence[tuple[ProcessedSample, str]], options: GenerationOptions
    ) -> list[SequenceState]:
        """The answers to conversations, each of which comes with the owner of its scans."""
        samples, owners = [sample for sample, _ in prepared], [owner for _, owner in prepared]
        sequences = [self.new_sequence(self.fitted(options, sample)) for sample in samples]
        if options.num_beams == 1:
            self.decode_sequences(samples, sequences, owners)
            return sequences
        alike: dict[tuple[int, bool], list[int]] = {}
        for index, (sample, sequence) in enumerate(zip(samples, sequences, strict=True)):
            within = is_within(len(sample.input_ids), self.border)
            alike.setdefault((sequence.options.max_new_tokens, within), []).append(index)
        # one length and one side of the border per search, so that no answer depends on what shares its batch
        for same in alike.values():
            self.search_beams(
                [samples[index] for index in same],
                [sequences[index] for index in same],
                sequences[same[0]].options,
                [owners[index] for index in same],
            )
        return sequences


def _with_tokens(sample: ProcessedSample, tokens: Sequence[int]) -> ProcessedSample:
    """A conversation with what was written after it."""
    return replace(sample, input_ids=torch.cat([sample.input_ids, torch.tensor(tokens)]), labels=None)
