"""`medmvl export`: a model of ours as a folder for others, by format; each is one line in FORMATS."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from medmvl.atomic_files import write_json, write_text
from medmvl.digests import state_of
from medmvl.errors import UserError
from medmvl.exchange.export_llava import export_llava
from medmvl.exchange.imported import write_folder
from medmvl.exchange.model_card import model_card
from medmvl.exchange.self_contained import export_self_contained
from medmvl.models.assemble import load
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS
from medmvl.models.progress_bars import without_weight_bars
from medmvl.models.tuning import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter, merge_lora

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

BASE_FILE = "adapter_base.json"


@dataclass(frozen=True)
class Export:
    """What is to be exported."""

    source: Path
    """Folder of a model; for `adapter` one that a training run wrote; for `merged` also an exported adapter."""
    out: Path
    dtype: torch.dtype | None = None
    """Cast the weights; None keeps them."""
    base: Path | None = None
    """The model that an exported adapter belongs to."""
    results: Path | None = None
    """`results.json` of an evaluation, for the model card."""


class ExportFormat(NamedTuple):
    """One way to give a model away."""

    write: Callable[[Export, Path], None]
    about: str


@without_weight_bars()
def export(name: str, what: Export) -> None:
    """Write the folder `what.out`, whole or not at all.

    Raises:
        UserError: an unknown format, a model that the format cannot hold, or an `out` that is not empty.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}. Known: {', '.join(FORMATS)}.")
    if what.base is not None and not _is_adapter(what.source):
        raise UserError(f"--base belongs to an exported adapter, and {what.source} is none.")
    request = {
        "format": name, "model": state_of(what.source), "dtype": what.dtype,
        "base": None if what.base is None else state_of(what.base),
        "results": None if what.results is None else state_of(what.results),
    }  # fmt: skip
    write_folder(lambda folder: FORMATS[name].write(what, folder), what.out, request)


def _is_adapter(folder: Path) -> bool:
    return (folder / BASE_FILE).is_file()


def _loaded(what: Export) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """Model and processor, of an adapter with its base."""
    if not _is_adapter(what.source):
        return load(what.source)
    if what.base is None:
        raise UserError(f"{what.source} holds an adapter alone; name the model it belongs to with --base.")
    model, processor = load(what.base)
    load_adapter(model, what.source)
    merge_lora(model)
    return model, processor


_LOAD_LLAVA = """\
from transformers import AutoProcessor, LlavaForConditionalGeneration
model = LlavaForConditionalGeneration.from_pretrained(FOLDER)
processor = AutoProcessor.from_pretrained(FOLDER)"""
_LOAD_OURS = """\
import medmvl
model = medmvl.load(FOLDER)
model.ask("Is there a nodule?", images=["scan.dcm"])"""
_LOAD_ADAPTER = "medmvl export FOLDER OUT --format merged --base BASE"


def _llava(what: Export, folder: Path) -> None:
    model, processor = _loaded(what)
    export_llava(model, processor, folder, what.dtype)
    _card(what, model, folder, "llava", _LOAD_LLAVA)


_LOAD_CODE = """\
from transformers import AutoModelForImageTextToText, AutoProcessor
# needs transformers, torch, peft, pydantic, jinja2, pillow, pydicom, nibabel, pynrrd; runs the code in medmvl_code.py
model = AutoModelForImageTextToText.from_pretrained(FOLDER, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True)"""


def _self_contained(what: Export, folder: Path) -> None:
    model, processor = _loaded(what)
    export_self_contained(model, processor, folder, what.dtype)
    _card(what, model, folder, "self-contained", _LOAD_CODE)


def _merged(what: Export, folder: Path) -> None:
    model, processor = _loaded(what)
    if what.dtype is not None:
        model.to(what.dtype)  # type: ignore[arg-type]  # its decorator hides that `self` is bound
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    _card(what, model, folder, "merged", _LOAD_OURS)


def _adapter(what: Export, folder: Path) -> None:
    """What a run's last stage trained, without the rest: adapters, and parts trained whole."""
    trained = what.source / "adapter"
    if not (trained / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{what.source} holds no adapter: name the model of a training run whose last stage trained some part with "
            "lora or dora (RUN/model)."
        )
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        shutil.copyfile(trained / name, folder / name)
    model, _ = load(what.source)
    write_json(
        folder / BASE_FILE,
        {"parts": {k: v for k, v in model.config.to_dict().items() if k in PARTS and k != "llm"}},
    )
    _card(what, model, folder, "adapter", _LOAD_ADAPTER)


def _card(what: Export, model: MedMVLForConditionalGeneration, folder: Path, name: str, loading: str) -> None:
    write_text(folder / "README.md", model_card(model, what.source, name, what.results, loading))


FORMATS: dict[str, ExportFormat] = {
    "llava": ExportFormat(
        _llava, "LlavaForConditionalGeneration of transformers; 2D models whose parts allow it"
    ),
    "merged": ExportFormat(_merged, "a complete folder of ours, adapters merged into the weights"),
    "self-contained": ExportFormat(_self_contained, "with the code that runs it, for trust_remote_code=True"),
    "adapter": ExportFormat(_adapter, "only what the last stage of a run trained; --base merges it again"),
}
