"""Parts of the Hugging Face hub, compared with the digests that the hub itself gives. `HF_ENDPOINT` names a mirror."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from medmvl.digests import file_sha256
from medmvl.errors import UserError
from medmvl.pretrained.parts import Hub

logger = logging.getLogger(__name__)
SAFE = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files of a folder of transformers that hold no code; pickles are fetched only where there is no safetensors."""
TEXT = (".json", ".txt", ".jinja")
PICKLES = ("*.bin", "*.pt")


def download(hub: Hub, folder: Path) -> Path:
    """Fetch a repository, or the one file that the part is, and compare it with the hub's digests.

    Returns:
        The folder, or the file.

    Raises:
        UserError: the hub is switched off or cannot be reached, the repository is gone or needs a form, or a digest differs.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        raise UserError(
            f"{hub.repo} is on the hub, and HF_HUB_OFFLINE switches the hub off here: unset it, or name a copy with --from"
        )
    from huggingface_hub import HfApi, hf_hub_download

    try:
        endpoint = os.environ.get("HF_ENDPOINT")
        info = HfApi(endpoint=endpoint).model_info(hub.repo, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings or []}
        chosen = [hub.file_name] if hub.file_name else _chosen(list(files))
        if not chosen or (hub.file_name and hub.file_name not in files):
            raise UserError(f"{hub.repo} on the hub no longer holds {hub.file_name or 'any weights'}")
        for name in chosen:
            hf_hub_download(hub.repo, name, revision=info.sha, local_dir=folder, endpoint=endpoint)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # its HTTP library changed from release to release, and so do its errors
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{hub.repo} could not be fetched from the hub: {said}. Name a copy with --from, or a mirror with HF_ENDPOINT; a "
            "model that needs a form needs your token (hf auth login)"
        ) from None
    for name in chosen:
        told = getattr(files[name], "lfs", None)
        if told is None and not name.endswith(TEXT):
            logger.warning("%s: the hub gives no digest of %s, so it was not compared", hub.repo, name)
        if told is not None and file_sha256(folder / name) != told.sha256:
            raise UserError(
                f"{hub.repo}: {name} is not what the hub says it is (its SHA-256 differs); fetch it again"
            )
    return folder / hub.file_name if hub.file_name else folder


def _chosen(names: list[str]) -> list[str]:
    """Files at the top of the repository: configuration, tokenizer, and weights in one format."""
    from fnmatch import fnmatch

    top = [name for name in names if "/" not in name]
    safe = [name for name in top if any(fnmatch(name, pattern) for pattern in SAFE)]
    if any(name.endswith(".safetensors") for name in safe):
        return safe
    pickles = [name for name in top if any(fnmatch(name, pattern) for pattern in PICKLES)]
    return safe + pickles if pickles else []
