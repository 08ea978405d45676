"""A model of ours with the code that runs it: `trust_remote_code=True` loads the folder where our package is not installed.

transformers copies one file of such a folder and imports it. That file holds the needed rooms of this package as a zip archive,
unpacks it next to itself and imports it under our own name; where the package is installed, the installed one is used.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import textwrap
import zipfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from medmvl import __version__
from medmvl.atomic_files import write_json, write_text
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor

if TYPE_CHECKING:
    import torch

MODULE = "medmvl_code"
ROOMS = (
    "__init__.py",
    "errors.py",
    "atomic_files.py",
    "digests.py",
    "json_types.py",
    "messages.py",
    "plugins.py",
    "auto_classes.py",
    "foreign_warnings.py",
    "imaging",
    "schema",
    "models",
)
"""What a model needs of this package."""
_CLASSES = {
    "AutoConfig": "MedMVLConfig",
    "AutoModelForImageTextToText": "MedMVLForConditionalGeneration",
    "AutoProcessor": "MedMVLProcessor",
}
_PROGRAM = '''\
"""The code of a MedM-VL model: medmvl {version} (Apache-2.0), the rooms that a model needs, as a zip archive in base64.

Its SHA-256 is {digest}. Unpack it to read it: `python {module}.py FOLDER`.
"""

import base64
import hashlib
import importlib
import io
import sys
import tempfile
import zipfile
from pathlib import Path

ARCHIVE = """
{archive}
"""


def unpack(folder):
    """Write the archive's files into a folder, whole or not at all."""
    if (folder / "medmvl" / "__init__.py").is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = base64.b64decode(ARCHIVE)
    if hashlib.sha256(data).hexdigest() != "{digest}":
        raise ValueError("the archive in {module}.py is damaged; download the folder again")
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    zipfile.ZipFile(io.BytesIO(data)).extractall(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / "medmvl" / "__init__.py").is_file():  # another process was not first
            raise


def find():
    """Our package: the installed one, else the one in this file."""
    if importlib.util.find_spec("medmvl") is None:
        folder = Path(__file__).resolve().parent / "medmvl-{digest}"
        unpack(folder)
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    return importlib.import_module("medmvl")


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
else:
    importlib.import_module("importlib.util")
    medmvl = find()
    MedMVLConfig = medmvl.MedMVLConfig
    MedMVLForConditionalGeneration = medmvl.MedMVLForConditionalGeneration
    MedMVLProcessor = medmvl.MedMVLProcessor
'''


def export_self_contained(
    model: MedMVLForConditionalGeneration, processor: MedMVLProcessor, folder: Path, dtype: torch.dtype | None
) -> None:
    """Write model, processor and the code of both."""
    if dtype is not None:
        model.to(dtype)  # type: ignore[arg-type]  # its decorator hides that `self` is bound
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_text(folder / f"{MODULE}.py", program())
    places = {auto: f"{MODULE}.{name}" for auto, name in _CLASSES.items()}
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((folder / name).read_text("utf-8"))
        write_json(folder / name, settings | {"auto_map": places})


def program() -> str:
    """The file with the code; the same package gives the same text."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(_sources().items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(data.getvalue()).hexdigest()
    lines = textwrap.fill(base64.b64encode(data.getvalue()).decode("ascii"), 120)
    return _PROGRAM.format(version=__version__, digest=digest, module=MODULE, archive=lines)


def _sources() -> dict[str, bytes]:
    root = resources.files("medmvl")
    found: dict[str, bytes] = {}
    for name in ROOMS:
        found |= _files(root.joinpath(name), f"medmvl/{name}")
    return found


def _files(place: Traversable, name: str) -> dict[str, bytes]:
    if place.is_file():
        return {name: place.read_bytes()} if name.endswith((".py", ".jinja")) else {}
    found: dict[str, bytes] = {}
    for inside in place.iterdir():
        found |= _files(inside, f"{name}/{inside.name}")
    return found
