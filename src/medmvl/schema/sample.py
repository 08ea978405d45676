"""Sample: one conversation about images and volumes, with its patient (a pseudonym) and the truth about it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from medmvl.messages import with_article
from medmvl.schema.blocks import Block, ImageBlock, TextBlock, VolumeBlock, foreign_block
from medmvl.schema.boxes import Box
from medmvl.schema.reasoning import holds_marks, split_reasoning
from medmvl.schema.strict import StrictModel

SCHEMA_VERSION = 1


class Message(StrictModel):
    """One turn. The role decides what is trained on: assistant text only, never by position."""

    role: Literal["system", "user", "assistant"]
    """Speaker."""
    content: tuple[Block, ...]
    """Blocks in order; a plain string is one block of text."""
    reasoning: str | None = None
    """Reasoning before an assistant's answer, without marks; learned by models with `thinking`, never scored."""

    @model_validator(mode="before")
    @classmethod
    def _plain_string_is_one_text_block(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("content"), str):
            return {**value, "content": ({"type": "text", "text": value["content"]},)}
        return value

    @model_validator(mode="before")
    @classmethod
    def _blocks_of_other_libraries_are_named(cls, value: object) -> object:
        content = value.get("content") if isinstance(value, dict) else None
        for number, block in enumerate(content if isinstance(content, (list, tuple)) else (), 1):
            if (said := foreign_block(block)) is not None:
                raise ValueError(f"block {number}: {said}")
        return value

    @model_validator(mode="after")
    def _only_users_show_images(self) -> Message:
        if self.role != "user" and self.visuals:
            raise ValueError(
                f"{with_article(self.role)} message holds an image or volume; only user messages may"
            )
        return self

    @model_validator(mode="after")
    def _only_assistants_reason(self) -> Message:
        if self.reasoning is None:
            return self
        if self.role != "assistant":
            raise ValueError(f"{with_article(self.role)} message has reasoning; only assistant messages may")
        if holds_marks(self.reasoning):
            raise ValueError(
                "reasoning holds a mark such as <think> or </think>; give the text between the marks"
            )
        return self

    @property
    def visuals(self) -> tuple[ImageBlock | VolumeBlock, ...]:
        """The images and volumes of this turn, in order."""
        return tuple(block for block in self.content if not isinstance(block, TextBlock))

    @property
    def text(self) -> str:
        """The text blocks joined as they are."""
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def reasons(self) -> bool:
        """Whether this is an assistant's turn with reasoning."""
        return self.role == "assistant" and bool((self.with_reasoning_apart().reasoning or "").strip())

    def with_reasoning_apart(self) -> Message:
        """The same turn with its reasoning in `reasoning`, also where it was written as a block at the answer's beginning."""
        first = self.content[0] if self.role == "assistant" and self.content else None
        if self.reasoning is not None or not isinstance(first, TextBlock):
            return self
        reasoning, answer = split_reasoning(first.text)
        if not reasoning:
            return self
        blocks = (first.model_copy(update={"text": answer}), *self.content[1:])
        return self.model_copy(update={"content": blocks, "reasoning": reasoning})

    def to_no_image(self) -> Message:
        """Only the text, as it would be written without anything to see."""
        blocks = tuple(block for block in self.content if isinstance(block, TextBlock))
        if blocks and not isinstance(self.content[0], TextBlock):
            # what separated the image from the question belongs to the image
            blocks = (blocks[0].model_copy(update={"text": blocks[0].text.lstrip("\n")}), *blocks[1:])
        return self.model_copy(update={"content": blocks or (TextBlock(text=""),)})


class Target(StrictModel):
    """The truth a task judges an answer by."""

    question_type: str
    """Type of question, such as `"nodule"` or `"report"`; metrics and controls are computed per type."""
    answers: tuple[str, ...] = Field(min_length=1)
    """Accepted answers; the first is the reference."""
    choices: tuple[str, ...] = ()
    """The closed set of answers; empty where the question is open."""
    categories: tuple[str, ...] | None = None
    """Topics, by the data set's own names, finer than `question_type` or across types; protocols score each too."""


class Sample(StrictModel):
    """One conversation with typed blocks. Identity fields are pseudonyms (a user's column or a keyed hash), never UIDs."""

    id: str = Field(min_length=1)
    """Unique name within the data set."""
    messages: tuple[Message, ...] = Field(min_length=1)
    """The turns in order."""
    patient: str | None = None
    """Pseudonym of the patient; splits and intervals go by it."""
    study: str | None = None
    """Pseudonym of the study."""
    image_group: str | None = None
    """Samples that share pixels share this; splits keep a group together where the patient is unknown."""
    days_before_current: NonNegativeInt | None = None
    """Days by which this sample's study is older than the patient's current study."""
    task: str | None = None
    """Name of the task it belongs to."""
    language: Literal["en", "zh"] | None = None
    """Language of the question and the answer."""
    target: Target | None = None
    """The truth an answer is judged by."""
    solution: str | None = None
    """Right answer to the last question, for the `grpo` objective; used where there is no `target`."""
    labels: dict[str, float] = Field(default_factory=dict)
    """Named truth about the study, for the `classification` objective: 1 present, 0 absent, no entry: unknown."""
    chosen: str | None = None
    """The better of two answers to the last question, for the `dpo` objective; `messages` then end with the question."""
    rejected: str | None = None
    """The worse of the two."""
    margin: float | None = None
    """Amount by which a judge finds `chosen` better."""
    boxes: tuple[Box, ...] = ()
    """Places of findings in the images and volumes."""
    schema_version: Literal[1] = 1
    """Version of this format."""

    @property
    def visuals(self) -> tuple[ImageBlock | VolumeBlock, ...]:
        """All images and volumes of the conversation, in order."""
        return tuple(block for message in self.messages for block in message.visuals)

    @property
    def has_answer(self) -> bool:
        """Whether some assistant turn has text, which is what `lm` training needs."""
        return any(message.role == "assistant" and message.text.strip() for message in self.messages)

    @property
    def has_reasoning(self) -> bool:
        """Whether the last turn is an assistant's with reasoning, which a model with `thinking` learns."""
        return self.messages[-1].reasons

    @property
    def has_earlier_reasoning(self) -> bool:
        """Whether a turn before the last one has reasoning, which a history does not keep."""
        return any(message.reasons for message in self.messages[:-1])

    def prompt(self) -> Sample:
        """The sample without its last assistant turns: what a model is asked."""
        messages = list(self.messages)
        while messages and messages[-1].role == "assistant":
            messages.pop()
        return self.model_copy(update={"messages": tuple(messages)})

    def to_no_image(self) -> Sample:
        """The same questions with every image and volume removed; boxes, which lie in them, too."""
        messages = tuple(message.to_no_image() for message in self.messages)
        return self.model_copy(update={"messages": messages, "boxes": ()})

    @field_validator("chosen", "rejected")
    @classmethod
    def _answers_say_something(cls, text: str | None) -> str | None:
        if text is not None and not split_reasoning(text)[1].strip():
            found = "holds reasoning alone" if text.strip() else "is empty"
            raise ValueError(
                f"the answer {found}, so no token of it can be preferred; write an answer, or leave the pair out"
            )
        return text

    @model_validator(mode="after")
    def _a_pair_is_two_answers(self) -> Sample:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected belong together, but one of them is missing")
        if (
            self.chosen is not None
            and self.rejected is not None
            and self.chosen.strip() == self.rejected.strip()
        ):
            raise ValueError("chosen and rejected are the same answer; there is nothing to prefer")
        return self

    @field_validator("labels")
    @classmethod
    def _labels_are_shares(cls, labels: dict[str, float]) -> dict[str, float]:
        for name, value in labels.items():
            if not 0 <= value <= 1:
                raise ValueError(
                    f"label '{name}' is {value:g}; expected 1 (present), 0 (absent) or a share between, and no entry where "
                    "it is uncertain or unknown"
                )
        return labels

    @model_validator(mode="after")
    def _boxes_must_lie_in_a_visual(self) -> Sample:
        visuals = self.visuals
        for box in self.boxes:
            if box.visual >= len(visuals):
                raise ValueError(
                    f"box '{box.label}' names visual {box.visual}, but the sample has {len(visuals)}"
                )
            needed = 6 if isinstance(visuals[box.visual], VolumeBlock) else 4
            if len(box.coordinates) != needed:
                raise ValueError(
                    f"box '{box.label}' has {len(box.coordinates)} numbers; its visual needs {needed}"
                )
        return self
