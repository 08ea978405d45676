"""`medmvl serve MODEL` and `medmvl playground MODEL`: this machine alone may ask, unless keys are given."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import Device, Dtype, ModelFolder
from medmvl.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from medmvl.serving.settings import ServeSettings

GRACE_SECONDS = 10
"""Seconds, beyond the longest time of one answer, until a stopping server closes the connections that are left."""
KEYS_VARIABLE = "MEDMVL_API_KEYS"


Host = Annotated[str, typer.Option(help="Other than loopback needs keys.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")]
KeyFile = Annotated[
    Path | None, typer.Option(help=f"API keys, one per line; or comma-separated in {KEYS_VARIABLE}.")
]
Name = Annotated[str, typer.Option(help="What clients call the model.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="Longest time for one answer.")]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(
        help="Reverse proxy whose X-Forwarded-For is trusted; without it all its clients count as one. May be repeated."
    ),
]
LongestWait = Annotated[
    float,
    typer.Option(
        min=0, help="Seconds that a client waits at most after many refused requests; 0: nobody waits."
    ),
]


def serve(
    model: ModelFolder,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    key_file: KeyFile = None,
    name: Name = "medmvl",
    seconds: Seconds = 120.0,
    trusted_proxy: TrustedProxy = None,
    longest_wait: LongestWait = 4.0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    page: Annotated[bool, typer.Option("--page", help="Serve the page, too.")] = False,
) -> None:
    """Answer questions over HTTP until stopped; what waits is answered before it ends."""
    limits = {"seconds": seconds, "longest_wait_seconds": longest_wait}
    settings = _settings(host, port, key_file, name, limits, trusted_proxy, page=page)
    _run(model, settings, device, dtype)


def playground(
    model: ModelFolder,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    key_file: KeyFile = None,
    name: Name = "medmvl",
    seconds: Seconds = 120.0,
    trusted_proxy: TrustedProxy = None,
    longest_wait: LongestWait = 4.0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in this machine's browser.")
    ] = True,
) -> None:
    """Look at scans and ask about them in a browser, until stopped."""
    limits = {"seconds": seconds, "longest_wait_seconds": longest_wait}
    settings = _settings(host, port, key_file, name, limits, trusted_proxy, page=True)
    _run(model, settings, device, dtype, open_browser=open_browser)


def _settings(
    host: str,
    port: int,
    key_file: Path | None,
    name: str,
    limits: dict[str, float],
    proxies: list[str] | None,
    *,
    page: bool,
) -> ServeSettings:
    for package in ("fastapi", "fastapi_offline", "uvicorn", "multipart", "prometheus_client", "pebble"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"{package} is missing; install it with: pip install -e '.[serve]' in the clone"
            )
    from medmvl.serving.settings import Limits, ServeSettings

    settings = ServeSettings(
        host=host,
        port=port,
        keys=read_keys(key_file),
        model_name=name,
        limits=Limits.model_validate(limits),
        page=page,
        trusted_proxies=tuple(proxies or ()),
    )
    settings.check()
    return settings


def _run(
    model: Path, settings: ServeSettings, device: str, dtype: str, *, open_browser: bool = False
) -> None:
    import uvicorn

    from medmvl.engine import Engine
    from medmvl.serving.api import create_app
    from medmvl.serving.connections import StoppingServer, protocol_with

    app = create_app(Engine.load(model, device, dtype), settings)
    with listen(settings.host, settings.port) as opened:
        address = f"http://{settings.host}:{opened.getsockname()[1]}"
        typer.echo(f"medmvl is running on {address}{', page and API' if settings.page else ''}", err=True)
        if open_browser:
            webbrowser.open(address)  # it connects as soon as the server answers: the socket listens already
        config = uvicorn.Config(
            app,
            log_level="info",
            access_log=False,
            server_header=False,
            http=protocol_with(settings.limits.header_seconds),
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=math.ceil(settings.limits.seconds)
            + GRACE_SECONDS,  # a client that never reads keeps nobody waiting
        )
        server = app.state.server
        server.readers.start()
        StoppingServer(config, server.stop).run(sockets=[opened])
    if any(thread.name.startswith(("read", "decode")) for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(1)  # a scan that is still being read would keep the process for as long as it takes


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; try --port 0 for any free one"
        ) from None


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
        raise UserError(f"{key_file}: no key found; write one per line")
    return keys
