"""What a server allows: where it listens, who may ask, and how much of everything."""

from __future__ import annotations

import hashlib
import hmac

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from medmvl.addresses import is_loopback
from medmvl.errors import UserError
from medmvl.schema.strict import StrictModel

MIB = 1024**2
LARGE_BODY = 1 * MIB
"""JSON bodies above this hold inline images or volumes."""


class Limits(StrictModel):
    """Limits on everything that a client could ask too much of."""

    upload_bytes: PositiveInt = 2048 * MIB
    """Bytes per uploaded file."""
    body_bytes: PositiveInt = 256 * MIB
    """Bytes per JSON body, inline images and volumes included."""
    expanded_bytes: PositiveInt = 4096 * MIB
    """Bytes of everything in one archive together, unpacked."""
    archive_files: PositiveInt = 10_000
    voxels: PositiveInt = 2**30
    """Voxels per image or volume; checked from its header, before pixels are decoded, wherever the format says it there."""
    files_per_key: PositiveInt = 64
    bytes_per_key: PositiveInt = 16384 * MIB
    file_seconds: PositiveFloat = 3600.0
    """Seconds without use after which an upload is deleted."""
    waiting: PositiveInt = 256
    """Questions that may wait; more are refused with 429."""
    seconds: PositiveFloat = 120.0
    """Seconds for one answer; what is not ready by then ends, or fails with 503."""
    new_tokens: PositiveInt = 2048
    """Longest answer a client may ask for."""
    answers: PositiveInt = 8
    """Largest `n`."""
    messages: PositiveInt = 1024
    """Turns per conversation."""
    characters: PositiveInt = 2**20
    """Characters of text per conversation."""
    visuals: PositiveInt = 32
    """Images and volumes per conversation."""
    stops: PositiveInt = 16
    """Stop texts per question."""
    stop_characters: PositiveInt = 256
    """Characters per stop text."""
    values: PositiveInt = 50_000
    """Objects, lists and members in one JSON body; counted before it is parsed."""
    uploads_at_once: PositiveInt = 8
    """More uploads at a time are refused with 429, and more than half as many of one client."""
    large_bodies_at_once: PositiveInt = 4
    """JSON bodies of more than `LARGE_BODY` bytes; more at a time are refused likewise."""
    reader_processes: PositiveInt = 2
    """Processes that read uploads, and bodies that are large or hold images; one client has all but one of them at most."""
    read_seconds: PositiveFloat = 300.0
    """Longest time to read one of them."""
    reads_waiting: PositiveInt = 16
    """Requests of one client that may wait for a reader process; more are refused with 429."""
    free_refusals: NonNegativeInt = 16
    """Number of wrong requests per client within a short time that cost it nothing."""
    longest_wait_seconds: NonNegativeFloat = 4.0
    """Longest wait of a client that was refused more often; 0 lets nobody wait."""
    waiting_refused: PositiveInt = 64
    """Requests of such a client that may wait; more are refused with 429."""
    header_seconds: PositiveFloat = 20.0
    """Time for the headers of a request; a connection that takes longer is closed."""
    body_seconds: PositiveFloat = 600.0
    """Time for the body of a request; what takes longer is refused with 408."""
    pause_seconds: PositiveFloat = 30.0
    """Longest pause within a body."""
    bytes_per_second: PositiveInt = 1024
    """Slowest body, after its first `pause_seconds`; what is slower is refused with 408."""


class ServeSettings(StrictModel):
    """How a server listens."""

    host: str = "127.0.0.1"
    port: NonNegativeInt = 8000
    keys: tuple[str, ...] = ()
    """API keys; without any, only this machine may ask."""
    model_name: str = "medmvl"
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; without them all clients of a
    proxy are one client."""
    page: bool = False
    """True where the page is served; its visitors are distinguished by a cookie."""
    limits: Limits = Limits()

    def check(self) -> None:
        """Raise UserError where others could reach a server that asks for no key."""
        if not self.keys and not is_loopback(self.host):
            raise UserError(
                f"{self.host} can be reached from other machines; give a key (--key-file, or MEDMVL_API_KEYS), "
                "or listen on 127.0.0.1"
            )
        if any(len(key) < 16 for key in self.keys):
            raise UserError("an API key has fewer than 16 characters; make one with: openssl rand -hex 24")


def owner_of(given: str | None, keys: tuple[str, ...]) -> str | None:
    """Who asks: a name made of the key, or None for a wrong one. Every key is compared, each in constant time."""
    if not keys:
        return "local"
    token = (given or "").removeprefix("Bearer ").encode()
    matches = [hmac.compare_digest(token, key.encode()) for key in keys]
    if not any(matches):
        return None
    return hashlib.sha256(token).hexdigest()[:16]


def visitor_owner(owner: str, cookie: str) -> str:
    """The owner of what one visitor of the page brings: others with the same key, or none, do not see it."""
    return f"{owner}/{hashlib.sha256(cookie.encode()).hexdigest()[:32]}"


def key_of(owner: str) -> str:
    """The part of an owner that all visitors with one key share."""
    return owner.partition("/")[0]
