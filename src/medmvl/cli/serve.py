"""`medmvl serve MODEL`: an OpenAI-compatible server; this machine alone may ask, unless keys are given."""

from __future__ import annotations

import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from medmvl.errors import MissingExtraError, UserError

GRACE_SECONDS = 10
"""Beyond the longest time of one answer, until a server that was told to stop cuts who is still connected."""
KEYS_VARIABLE = "MEDMVL_API_KEYS"


def serve(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    host: Annotated[str, typer.Option(help="Other than loopback needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(help=f"API keys, one a line; or comma-separated in {KEYS_VARIABLE}.")
    ] = None,
    name: Annotated[str, typer.Option(help="What clients call the model.")] = "medmvl",
    seconds: Annotated[float, typer.Option(min=0.1, help="Longest time for one answer.")] = 120.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8.")] = "auto",
) -> None:
    """Answer questions over HTTP until stopped; what waits is answered before it ends."""
    for package in ("fastapi", "uvicorn", "multipart", "prometheus_client"):
        if find_spec(package) is None:
            raise MissingExtraError(f"{package} is missing; install it with: pip install 'medmvl[serve]'")
    import uvicorn

    from medmvl.engine import Engine
    from medmvl.serving.api import create_app
    from medmvl.serving.settings import Limits, ServeSettings

    settings = ServeSettings(
        host=host, port=port, keys=read_keys(key_file), model_name=name, limits=Limits(seconds=seconds)
    )
    settings.check()
    app = create_app(Engine.load(model, device, dtype), settings)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="info", access_log=False, server_header=False,
        timeout_graceful_shutdown=math.ceil(seconds) + GRACE_SECONDS,  # a client that never reads keeps nobody
    )  # fmt: skip
    uvicorn.Server(config).run()


def read_keys(key_file: Path | None) -> tuple[str, ...]:
    """The keys of a file, or of the environment.

    Raises:
        UserError: the file holds none.
    """
    if key_file is None:
        found = os.environ.get(KEYS_VARIABLE, "").split(",")
        return tuple(key.strip() for key in found if key.strip())
    lines = key_file.read_text(encoding="utf-8").splitlines()
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise UserError(f"{key_file}: no key found; write one a line")
    return keys
