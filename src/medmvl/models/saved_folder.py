"""The folder of a saved model, looked at before anything of it is loaded."""

from __future__ import annotations

from pathlib import Path

from medmvl.digests import SUMS, first_damage, listed, num_bytes
from medmvl.errors import UserError

CHECKED_BYTES = 256 << 20
"""Models up to this size are hashed whenever they are loaded (about 0.2 s); of larger ones every file must be there."""


def check_is_model(folder: Path) -> None:
    """Find out at once, before anything is imported or read, that a folder holds no model.

    Raises:
        UserError: no folder, a link to nothing, or a file that every model has is missing.
    """
    if folder.is_symlink() and not folder.exists():
        raise UserError(
            f"{folder} is a link to {folder.readlink()}, which is not there: the model was moved or deleted. Copy a model "
            "as a folder: cp -rL RUN/model FOLDER."
        )
    missing = [name for name in ("config.json", "processor_config.json") if not (folder / name).is_file()]
    if missing:
        inside = (folder / "model" / "config.json").is_file()
        hint = (
            f"Did you mean {folder / 'model'}?"
            if inside
            else "Give a folder saved by training, such as RUN/model."
        )
        raise UserError(f"{folder}: no model found ({' and '.join(missing)} missing). {hint}")


def check_model_folder(folder: Path) -> None:
    """Find what would stop or falsify the loading of a model.

    Raises:
        UserError: no folder, a link to nothing, a file that is missing or not as it was written; the message names it.
    """
    check_is_model(folder)
    if (folder / SUMS).exists():
        check_files(folder, CHECKED_BYTES)


def check_files(folder: Path, max_bytes: int | None = None) -> None:
    """Compare the files of a folder with its list of digests; above `max_bytes`, only whether all are there.

    Raises:
        UserError: the message names the file.
    """
    damage: str | None
    if max_bytes is None or num_bytes(folder) <= max_bytes:
        damage = first_damage(folder)
    else:
        missing = [name for name in listed(folder) or () if not (folder / name).is_file()]
        damage = f"{folder / missing[0]} is missing" if missing else None
    if damage is not None:
        raise UserError(
            f"{damage}. Copy the model again; if you changed it yourself, delete {folder / SUMS}, and it is taken as it is."
        )
