"""Named protocols: published ways to score, quirks included, and ours, `strict` and `reader`, which come next to them."""

from __future__ import annotations

from medmvl.errors import UserError
from medmvl.messages import did_you_mean
from medmvl.tasks.protocols.base import Protocol
from medmvl.tasks.protocols.ctchat import CTCHAT
from medmvl.tasks.protocols.m3d import M3D, RAD_3D
from medmvl.tasks.protocols.medevalkit import MEDEVALKIT
from medmvl.tasks.protocols.medmvl_ctrate import MEDMVL_CTRATE
from medmvl.tasks.protocols.reader import READER
from medmvl.tasks.protocols.strict import STRICT
from medmvl.tasks.protocols.unimed import UNIMED
from medmvl.tasks.protocols.vlm3d import VLM3D

PROTOCOLS: dict[str, Protocol] = {
    "strict": STRICT,
    "reader": READER,
    "unimed": UNIMED,
    "medmvl-ctrate": MEDMVL_CTRATE,
    "m3d": M3D,
    "3d-rad": RAD_3D,
    "ctchat": CTCHAT,
    "medevalkit": MEDEVALKIT,
    "vlm3d": VLM3D,
}


def find_protocol(name: str) -> Protocol:
    """Return a protocol by its exact name.

    Raises:
        UserError: listing the nearest, and all known names.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"no protocol '{name}'{did_you_mean(name, PROTOCOLS, 2) or '.'} Known protocols: {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name]


__all__ = ["PROTOCOLS", "READER", "STRICT", "Protocol", "find_protocol"]
