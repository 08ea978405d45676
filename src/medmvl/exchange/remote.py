"""Paths and hub ids: what a user names may be downloaded, what a checkpoint names is looked for on this machine only."""

from __future__ import annotations

import re
from pathlib import Path

from medmvl.errors import UserError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NO_CODE = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.jinja")


def local_folder(source: str) -> Path:
    """A folder or file that is there, or the download of a hub id that the user named.

    Raises:
        UserError: neither is there.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(source):
        raise UserError(
            f"{source} does not exist; name a folder, a file of weights, or a hub id like owner/name."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, allow_patterns=list(_NO_CODE)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{source} is no path on this machine, and could not be downloaded: {str(error).splitlines()[0]}"
        ) from None


def named_by_checkpoint(name: str, checkpoint: Path, given: str | None, option: str) -> Path:
    """The folder of a component: what the user gave, else what the checkpoint names, found on this machine.

    A relative path is looked for from here, next to the checkpoint and above it; a hub id in the local cache.

    Raises:
        UserError: it is not there; the message names the option to give.
    """
    if given is not None:
        return local_folder(given)
    for start in (Path(), checkpoint, checkpoint.parent):
        if (start / name).is_dir():
            return start / name
    if _HUB_ID.fullmatch(name):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (LocalEntryNotFoundError, OSError):
            pass
    raise UserError(
        f"the checkpoint {checkpoint} names {name!r}, which is neither a folder here or next to it nor in the local cache; "
        f"give its folder, or its hub id to download it, with --{option}."
    )
