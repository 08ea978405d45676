"""The checkpoints that `medmvl import` reads: one line per format, tried in this order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medmvl.errors import UserError
from medmvl.exchange import encoders, gguf_llm, hf_llava, msiip_medmvl
from medmvl.exchange.imported import Components, Imported, ImportedEncoder, ImportedLLM


class Format(NamedTuple):
    """How one format is recognised and read."""

    recognise: Callable[[Path, Components], bool]
    """Test whether a folder or file is of this format, by its configuration or tensor names."""
    read: Callable[[Path, Components], Imported | ImportedEncoder | ImportedLLM]
    about: str


FORMATS: dict[str, Format] = {
    "gguf": Format(gguf_llm.recognise, gguf_llm.read, "an LLM alone in a GGUF file"),
    "medm-vl": Format(
        msiip_medmvl.recognise, msiip_medmvl.read, "a whole model of MSIIP/MedM-VL (model_type lvlm)"
    ),
    "hf-llava": Format(hf_llava.recognise, hf_llava.read, "LlavaForConditionalGeneration of transformers"),
    "encoder": Format(
        encoders.recognise,
        encoders.read,
        "a 3D encoder alone: " + ", ".join(layout.about for layout in encoders.PUBLISHED.values()),
    ),
}


def read_checkpoint(
    source: Path, components: Components, name: str | None = None
) -> tuple[str, Imported | ImportedEncoder | ImportedLLM]:
    """The format of a checkpoint, recognised by its content unless named, and what was read.

    A folder that is no checkpoint may hold one, such as `ckpt` next to its images.

    Raises:
        UserError: no such path or format, or nothing recognises it; the message lists what is known.
    """
    if not source.exists():
        raise UserError(f"{source} does not exist; name a folder or a file of weights.")
    known = "\n".join(f"  {key}: {known.about}" for key, known in FORMATS.items())
    if name is not None and name not in FORMATS:
        raise UserError(f"unknown format {name!r}. Known:\n{known}")
    if name is not None:
        return name, FORMATS[name].read(source, components)
    if key := _format_of(source, components):
        return key, FORMATS[key].read(source, components)
    within = sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
    found = [(path, key) for path in within if (key := _format_of(path, components))]
    if len(found) > 1:
        listed = ", ".join(path.name for path, _ in found)
        raise UserError(f"{source} holds several checkpoints: {listed}. Name one of these folders.")
    if not found:
        if _is_ours(source):
            raise UserError(
                f"{source} is a model of ours already: medmvl generate {source} ... asks it as it is"
            )
        raise UserError(f"{source} is none of the checkpoints that can be imported:\n{known}")
    path, key = found[0]
    imported = FORMATS[key].read(path, components)
    return key, replace(imported, notes=(f"found in {path}", *imported.notes))


def _is_ours(source: Path) -> bool:
    config = source / "config.json"
    return config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("model_type") == "medmvl"


def _format_of(source: Path, components: Components) -> str | None:
    return next((key for key, known in FORMATS.items() if known.recognise(source, components)), None)
