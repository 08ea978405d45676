"""What an importer makes of a checkpoint, and how it is written: a complete folder of ours, or nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medmvl.digests import write_sums
from medmvl.json_types import JsonMapping
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars
from medmvl.outputs import whole_folder


@dataclass(frozen=True)
class Components:
    """What the user says about a checkpoint: where what it only names is (folders, or hub ids, so allowed), and trust."""

    llm: str | None = None
    image_encoder: str | None = None
    volume_encoder: str | None = None
    convention: str | None = None
    """The preprocessing that a 3D encoder was trained with, where its tensors do not show it."""
    trust_pickle: bool = False
    """Run the code that pickled weights may hold; only for files from a trusted source."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint of others as a model of ours, in evaluation mode."""

    model: MedMVLForConditionalGeneration
    processor: MedMVLProcessor
    notes: tuple[str, ...] = ()
    """Notes on what was left out or decided, for the user."""

    def save(self, folder: Path) -> None:
        """Write model and processor; use it through `write_folder`."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


@dataclass(frozen=True)
class ImportedEncoder:
    """An encoder alone, as a folder that recipes name by `path`."""

    save: Callable[[Path], None]
    """Writes the files of the folder."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportedLLM:
    """An LLM alone, as a folder of transformers that recipes name by `path`."""

    save: Callable[[Path], None]
    """Writes the files of the folder."""
    notes: tuple[str, ...] = ()


@without_weight_bars()
def write_folder(save: Callable[[Path], None], out: Path, request: JsonMapping | None = None) -> bool:
    """Let `save` write a new folder with a list of digests; it appears under its name when it is whole.

    Args:
        save: writes the files.
        out: a new or empty folder, or one that the same request made, which is then left as it is.
        request: what decides the files; None: a folder that is there is never taken for this one.

    Returns:
        False where `out` was complete already.

    Raises:
        UserError: `out` exists and holds something else, or another process writes it.
    """

    def write(folder: Path) -> None:
        save(folder)
        write_sums(folder)

    return whole_folder(out, request or {"made": secrets.token_hex(8)}, write, private=False)
