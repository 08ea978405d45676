"""Messages of other libraries about things that nobody here uses, kept from the terminal; everything else of theirs is shown.

transformers imports torchao wherever it is installed, and torchao then warns of GPU kernels that this machine has no use for.
Each process of a `torchrun` would say that its model uses all of its weights, which some models do and others do not.
"""

from __future__ import annotations

import logging
import os

BEGINNINGS: dict[str, tuple[str, ...]] = {
    "torchao": ("Failed to load ",),
    "torchao.kernel.intmm": ("Warning: Detected no triton",),
    "torch.utils._pytree": ("%s is an Enum subclass", "<enum "),
}
"""Logger, and how the messages begin that are kept back."""


class _Unneeded(logging.Filter):
    """Keeps back the records of one logger that begin in a known way."""

    def filter(self, record: logging.LogRecord) -> bool:
        beginnings = BEGINNINGS.get(record.name, ())
        return not (str(record.msg).startswith(beginnings) or record.getMessage().startswith(beginnings))


def keep_back() -> None:
    """Filter those messages in this process; `import medmvl` calls it once."""
    if (
        "TORCHELASTIC_RUN_ID" in os.environ
    ):  # DDP writes past Python, at this level; torch reads it when it is imported
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for name in BEGINNINGS:
        logging.getLogger(name).addFilter(_Unneeded())
