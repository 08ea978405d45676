"""MedMVLProcessor: conversations with images and volumes to what the model takes. The only place that builds a prompt.

Every visual block becomes as many placeholders as encoder and connector will give tokens, known before the model runs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.in_memory import Visual
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.chat import ChatTokenizer
from medmvl.models.chat_rendering import Turn, bundled_or_own
from medmvl.models.collation import collate
from medmvl.models.configuration import MedMVLConfig, VisualParts
from medmvl.models.conversations import brings_reasoning, load_visuals, visual_blocks
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.placeholders import IMAGE_TOKEN, PLACEHOLDERS, VOLUME_TOKEN, expand_placeholders
from medmvl.models.processor_calls import process_conversations, process_prompts, render_conversations
from medmvl.models.turns import TurnWriter
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visuals import ProcessedSample, ProcessedVisual, VisualLoader
from medmvl.models.volume_processing import VolumeProcessor
from medmvl.schema import Message, VisualBlock


class MedMVLProcessor(ProcessorMixin):
    """Tokenizer, image processor and volume processor of one model.

    Args:
        tokenizer: the LLM's fast tokenizer; the two placeholder tokens are added where they are missing.
        parts: the model's encoders and connectors as plain dicts (keys `image_encoder`, `image_connector`, ...), from which
            the number of tokens of every visual is known.
        image_processor: the `ImageProcessor` or its settings, where the model reads images.
        volume_processor: the `VolumeProcessor` or its settings, where it reads volumes.
        max_length: the longest sequence, text and visual tokens together.
        visual_suffix: text after the placeholders of every visual.
        suffix_before_words: put it only before text that does not begin with white space of its own.
        split_at_placeholders: tokenise the text between two visuals separately (see `ChatTokenizer`).
        prior_prefix: text before a visual of an earlier study; `{days}` is how much earlier.
        template_kwargs: passed to every rendering of the chat template.
        chat_template: replaces the tokenizer's own; `"plain"` and `"chatml"` are bundled, and base models get `"plain"`.
        thinking: the model reasons before it answers, unless it is asked not to.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        parts: JsonMapping | None = None,
        image_processor: ImageProcessor | JsonMapping | None = None,
        volume_processor: VolumeProcessor | JsonMapping | None = None,
        max_length: int = 2048,
        visual_suffix: str = "\n",
        prior_prefix: str = "[-{days} d] ",
        template_kwargs: JsonMapping | None = None,
        chat_template: str | None = None,
        suffix_before_words: bool = False,
        split_at_placeholders: bool = False,
        thinking: bool = False,
    ) -> None:
        tokenizer.chat_template = bundled_or_own(chat_template or tokenizer.chat_template or "plain")
        missing = [token for token in PLACEHOLDERS.values() if token not in tokenizer.get_added_vocab()]
        if missing:
            tokenizer.add_special_tokens(
                {"additional_special_tokens": missing}, replace_extra_special_tokens=False
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.thinking = thinking
        self.template_kwargs = dict(template_kwargs or {"enable_thinking": False})
        self.chat = ChatTokenizer(
            tokenizer,
            list(PLACEHOLDERS.values()),
            self.template_kwargs,
            split_at_placeholders=split_at_placeholders,
            thinking=thinking,
        )
        super().__init__(  # type: ignore[no-untyped-call]  # transformers does not annotate it
            tokenizer, chat_template=tokenizer.chat_template
        )
        self.visual_parts = VisualParts.from_settings(parts or {})
        self.parts = self.visual_parts.configs()
        self.image_processor = _settings(ImageProcessor, image_processor)
        self.volume_processor = _settings(VolumeProcessor, volume_processor)
        self.max_length = max_length
        self.visual_suffix = visual_suffix
        self.prior_prefix = prior_prefix
        self.suffix_before_words = suffix_before_words
        self.split_at_placeholders = split_at_placeholders

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: JsonObject, **kwargs: Any) -> Any:
        """Load the settings; one this release does not know is an error: without it the model would see something else.

        Raises:
            UserError: the folder was saved by another release.
        """
        known = {*inspect.signature(cls.__init__).parameters, "processor_class", "auto_map"}
        if unknown := sorted(set(processor_dict) - known):
            raise UserError(
                f"processor_config.json has settings unknown to this release: {', '.join(unknown)}. The model was saved "
                "by another release; load it there, or rename the keys as CHANGELOG.md says"
            )
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """What transformers saves and loads in files of its own: the image and volume processors are our settings instead."""
        return ["tokenizer"]

    @property
    def image_token_id(self) -> int:
        """Vocabulary id of the image placeholder."""
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    @property
    def volume_token_id(self) -> int:
        """Vocabulary id of the volume placeholder."""
        return int(self.tokenizer.convert_tokens_to_ids(VOLUME_TOKEN))

    @property
    def placeholder_kinds(self) -> dict[int, str]:
        """The kind of visual that each placeholder's id stands for."""
        return {self.image_token_id: "image", self.volume_token_id: "volume"}

    @property
    def stop_token_ids(self) -> list[int]:
        """The ids that end an answer."""
        return self.chat.stop_token_ids

    @property
    def model_input_names(self) -> list[str]:
        """Keys of a batch that the model takes."""
        return [
            "input_ids", "attention_mask", "pixel_values", "pixel_values_volumes", "volume_positions_mm", "volume_kept",
            "visual_table", "question_ids", "visual_features", "features_kept", "visuals_to_keep",
        ]  # fmt: skip

    @property
    def visual_preprocessor(self) -> VisualPreprocessor:
        """What turns images and volumes into pixels."""
        return VisualPreprocessor(self.visual_parts, self.image_processor, self.volume_processor)

    def process_visual(self, image: MedicalImage) -> ProcessedVisual:
        """What the model sees of an image or volume, with the matrix back to it.

        Raises:
            UserError: the model does not read this kind.
        """
        return self.visual_preprocessor.process(image)

    def visual_loader(self, load: Callable[[VisualBlock], MedicalImage]) -> VisualLoader:
        """What the model sees of the blocks that `load` reads."""
        return lambda block: self.process_visual(load(block))

    def prepare(
        self,
        messages: Sequence[Message],
        load: VisualLoader,
        *,
        supervised: bool,
        add_generation_prompt: bool = False,
        thinking: bool | None = None,
        name: str = "the conversation",
    ) -> ProcessedSample:
        """Turn one conversation into token ids, labels and pixels.

        Args:
            messages: the conversation.
            load: gives the `ProcessedVisual` of a block.
            supervised: whether to make labels of the assistant's turns.
            add_generation_prompt: whether to end with the LLM's cue to answer.
            thinking: whether to ask for reasoning before the answer; None: as the model was made. A finished conversation has
                reasoning where the model has `thinking` and its last turn brings some.
            name: names the sample in errors.

        Raises:
            SampleError: the conversation is too long, spells a special token, or cannot be rendered.
        """
        thinking = self.thinks(messages, thinking)
        if supervised:
            self.chat.check_teachable(thinking=thinking)
        visuals = [self._guided(*found) for found in load_visuals(messages, load, name)]
        turns = self.turns(messages, name, thinking=thinking)
        encoded = self.chat.encode(
            turns, add_generation_prompt=add_generation_prompt, name=name, thinking=thinking
        )
        return self.expand(encoded.ids, encoded.supervised if supervised else None, visuals, name)

    def _guided(self, visual: ProcessedVisual, question: str) -> ProcessedVisual:
        """The visual with the tokens of its question, where these guide its connector."""
        connector = self.visual_parts.connectors[visual.kind]
        if connector is None or not connector.guided_by_text:
            return visual
        text = self.tokenizer(
            question.strip() or self.visual_suffix, add_special_tokens=False, return_tensors="pt"
        )
        return visual.guided_by(text["input_ids"][0])

    def thinks(self, messages: Sequence[Message], asked: bool | None = None) -> bool:
        """Whether a conversation is rendered with reasoning; where it is not, an empty block tells the model so."""
        if messages and messages[-1].role == "assistant":
            return self.thinking and brings_reasoning(messages)
        return self.thinking if asked is None else asked

    def turns(self, messages: Sequence[Message], name: str, *, thinking: bool = False) -> list[Turn]:
        """The text of every turn, with one placeholder per visual, and reasoning where it is rendered."""
        writer = TurnWriter(
            check_text=self.chat.check_text,
            visual_suffix=self.visual_suffix,
            suffix_before_words=self.suffix_before_words,
            prior_prefix=self.prior_prefix,
            reasons=self.thinking,
        )
        return writer.write(messages, name, thinking=thinking)

    def expand(
        self,
        ids: Sequence[int],
        supervised: Sequence[bool] | None,
        visuals: Sequence[ProcessedVisual],
        name: str,
    ) -> ProcessedSample:
        """Token ids with one placeholder per visual become a sample, see `expand_placeholders`."""
        return expand_placeholders(ids, supervised, visuals, self.placeholder_kinds, self.max_length, name)

    def count_tokens(self, messages: Sequence[Message], name: str = "the conversation") -> tuple[int, int]:
        """Text tokens and visual tokens of a conversation, known without reading a pixel.

        Where sizes vary, or unchanged patches are dropped, it is the most there may be.
        """
        visual = sum(self.tokens_of(block.type) for block in visual_blocks(messages))
        return self.count_text_tokens(messages, name), visual

    def count_text_tokens(self, messages: Sequence[Message], name: str = "the conversation") -> int:
        """Tokens of a conversation without its images and volumes."""
        thinking = self.thinks(messages)
        turns = self.turns(messages, name, thinking=thinking)
        encoded = self.chat.encode(turns, add_generation_prompt=False, name=name, thinking=thinking)
        return len(encoded.ids) - sum(1 for _ in visual_blocks(messages))

    def tokens_of(self, kind: str) -> int:
        """Tokens of an image or volume, all tiles or crops together; the most where sizes vary or tokens are dropped."""
        return self.visual_preprocessor.max_tokens(kind)

    def collate(self, samples: Sequence[ProcessedSample], padding_side: str = "right") -> BatchFeature:
        """Make a batch of conversations."""
        return collate(samples, pad_id=int(self.tokenizer.pad_token_id), padding_side=padding_side)

    def __call__(
        self,
        text: str | Sequence[str],
        images: Sequence[Visual] | None = None,
        volumes: Sequence[Visual] | None = None,
        return_tensors: str = "pt",
        padding_side: str = "left",
        **kwargs: Any,
    ) -> BatchFeature:
        """Process rendered prompts that hold one placeholder per visual, as other transformers processors do.

        Args:
            text: one prompt or several, such as `apply_chat_template(..., tokenize=False)` gives.
            images: paths, `MedicalImage`s or Pillow images, in the order of all `<|image|>` placeholders.
            volumes: paths or `MedicalImage`s, in the order of all `<|volume|>` placeholders.
            return_tensors: only `"pt"`.
            padding_side: `"left"` for generation.
            **kwargs: `truncation` is refused; other settings of processors have no meaning here.
        """
        if return_tensors != "pt" or kwargs.get("truncation"):
            raise UserError(
                "MedMVLProcessor returns PyTorch tensors (return_tensors='pt') and never truncates."
            )
        prompts = [text] if isinstance(text, str) else list(text)
        samples = process_prompts(self, prompts, {"image": images or (), "volume": volumes or ()})
        return self.collate(samples, padding_side)

    def apply_chat_template(  # type: ignore[override]  # one call gives a prompt or a batch, and blocks hold images
        self,
        conversation: Sequence[JsonMapping] | Sequence[Sequence[JsonMapping]],
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Render one conversation, or several, in the usual form of dicts with `role` and typed `content`.

        Images and volumes are given in the block itself: a path, a `MedicalImage` or (images) a Pillow image. `enable_thinking`
        says whether to ask for reasoning; default is as the model was made.

        Returns:
            The prompt, or with `tokenize` the batch (`return_dict=False`: its `input_ids`).
        """
        asked: bool | None = kwargs.get("enable_thinking")
        batched = bool(conversation) and not isinstance(conversation[0], Mapping)
        conversations: list[Any] = list(conversation) if batched else [conversation]
        if not tokenize:
            texts = render_conversations(self, conversations, add_generation_prompt, asked)
            return texts if batched else texts[0]
        samples = process_conversations(self, conversations, add_generation_prompt, asked)
        batch = self.collate(samples, padding_side="left")
        return batch if return_dict else batch["input_ids"]

    def decode(
        self, ids: int | Sequence[int] | Tensor, skip_special_tokens: bool = True, **kwargs: Any
    ) -> str:
        """The text of generated ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **kwargs))

    def to_dict(self) -> JsonObject:
        """The settings as `processor_config.json` holds them."""
        return {
            "processor_class": type(self).__name__,
            "parts": copy.deepcopy(self.parts),
            "image_processor": self.image_processor.model_dump(mode="json") if self.image_processor else None,
            "volume_processor": self.volume_processor.model_dump(mode="json")
            if self.volume_processor
            else None,
            "max_length": self.max_length,
            "visual_suffix": self.visual_suffix,
            "suffix_before_words": self.suffix_before_words,
            "split_at_placeholders": self.split_at_placeholders,
            "prior_prefix": self.prior_prefix,
            "template_kwargs": self.template_kwargs,
            "thinking": self.thinking,
        }


Settings = TypeVar("Settings", ImageProcessor, VolumeProcessor)


def _settings(processor_class: type[Settings], given: Settings | JsonMapping | None) -> Settings | None:
    return processor_class.from_settings(given) if isinstance(given, Mapping) else given


AutoProcessor.register(MedMVLConfig, MedMVLProcessor, exist_ok=True)
