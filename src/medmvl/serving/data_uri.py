"""Images inside a request, as `data:...;base64,...`."""

from __future__ import annotations

import base64
import binascii

from medmvl.errors import UserError


def check_data_uri(uri: str) -> None:
    """Raise UserError where it is something else; addresses are never fetched and files of this machine never read."""
    head, comma, _ = uri[:256].partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise UserError(
            "send images and volumes inside the request, as data:...;base64,..., or upload them to /v1/files; "
            "addresses are not fetched"
        )


def decode_data_uri(uri: str) -> bytes:
    """The bytes of `data:...;base64,...`.

    Raises:
        UserError: it is something else, or damaged.
    """
    check_data_uri(uri)
    try:
        return base64.b64decode(uri.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise UserError("a data URI is not valid base64") from None
