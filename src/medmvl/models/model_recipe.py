"""The `model` section of a recipe, typed: checked without torch, so that a mistake is found at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from medmvl.json_types import JsonObject
from medmvl.schema.strict import StrictModel


class LLMRecipe(StrictModel):
    """Which LLM: a pretrained one by `path` (folder or hub id), or a fresh one by `config`."""

    path: str | None = None
    """Folder or hub id of a pretrained causal LLM."""
    config: JsonObject | None = None
    """A Hugging Face configuration with its `model_type`; the weights are fresh."""
    tokenizer: str | None = None
    """Folder or hub id of a tokenizer; default is the LLM's own."""
    tokenizer_vocab_size: PositiveInt | None = None
    """Learn a byte-level BPE of this size from the training text."""
    chat_template: str | None = None
    """`"plain"` or `"chatml"` for a bundled template, or Jinja text; default is the tokenizer's own."""
    template_kwargs: JsonObject = Field(default_factory=lambda: {"enable_thinking": False})
    """Variables for the chat template."""

    @model_validator(mode="after")
    def _one_source(self) -> LLMRecipe:
        if (self.path is None) == (self.config is None):
            raise ValueError("give exactly one of path (pretrained) and config (fresh weights)")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("config needs its model_type, such as qwen2")
        if self.config is not None and (self.tokenizer is None) == (self.tokenizer_vocab_size is None):
            raise ValueError("a fresh LLM needs exactly one of tokenizer and tokenizer_vocab_size")
        return self


class ModelRecipe(StrictModel):
    """The parts of a model, or `init`, a saved MedM-VL model to start from."""

    init: str | None = None
    """A folder of a saved MedM-VL model; nothing else but `thinking` may be given then."""
    llm: LLMRecipe | None = None
    """The LLM and its tokenizer."""
    image_encoder: JsonObject | None = None
    """Settings with `type`, or `{"type": "hf_vision", "path": ...}` for pretrained weights."""
    image_connector: JsonObject | None = None
    """Settings with `type`; `medmvl parts` lists the types."""
    volume_encoder: JsonObject | Literal["shared"] | None = None
    """Settings with `type`, or `shared`: the image encoder reads the slices."""
    volume_connector: JsonObject | None = None
    """Settings with `type`; `medmvl parts` lists the types."""
    image_processor: JsonObject | None = None
    """Settings of `ImageProcessor`: size, channels, mean, std and more."""
    volume_processor: JsonObject | None = None
    """Settings of `VolumeProcessor`: size, windows, spacing and more; `path`: those in the folder of an imported encoder."""
    max_length: PositiveInt = 2048
    """Token limit of a conversation, images and volumes included."""
    thinking: bool = False
    """Reason before the answer, unless asked not to; learned from the `reasoning` of the data's assistant turns."""

    @model_validator(mode="after")
    def _one_switch(self) -> ModelRecipe:
        if self.llm is not None and self.llm.template_kwargs.get("enable_thinking") and not self.thinking:
            raise ValueError(
                "llm.template_kwargs asks for reasoning (enable_thinking); set model.thinking: true instead"
            )
        return self

    @model_validator(mode="after")
    def _complete(self) -> ModelRecipe:
        given = self.model_fields_set - {"init", "thinking"}
        if self.init is not None and given:
            raise ValueError(
                f"init already says {', '.join(sorted(given))}; remove these keys or init; on "
                "the command line, 'model={init: FOLDER}' puts init in their place"
            )
        if self.init is None and self.llm is None:
            raise ValueError("a model needs llm, or init, a saved model to start from")
        for kind in ("image", "volume"):
            names = [f"{kind}_encoder", f"{kind}_connector", f"{kind}_processor"]
            missing = [name for name in names if getattr(self, name) is None]
            if missing and len(missing) < len(names):
                raise ValueError(
                    f"{', '.join(missing)} missing: encoder, connector and processor come together"
                )
        return self
