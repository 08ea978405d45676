"""What an importer makes of a checkpoint, and how it is written: a complete folder of ours, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medmvl.errors import UserError
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars


@dataclass(frozen=True)
class Components:
    """What the user says about a checkpoint: where what it only names is (folders, or hub ids, so allowed), and trust."""

    llm: str | None = None
    image_encoder: str | None = None
    volume_encoder: str | None = None
    trust_pickle: bool = False
    """Run the code that pickled weights may hold; only for files from those whom the user trusts."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint of others as a model of ours, in evaluation mode."""

    model: MedMVLForConditionalGeneration
    processor: MedMVLProcessor
    notes: tuple[str, ...] = ()
    """What was left out or decided, for the user."""

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


@without_weight_bars()
def write_folder(save: Callable[[Path], None], out: Path) -> None:
    """Let `save` write a new folder; it appears under its name when it is whole.

    Raises:
        UserError: `out` exists and is not an empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty; name a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        unfinished.chmod(0o755)
        save(unfinished)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
