"""Messages of other libraries about things that nobody here uses, kept from the terminal; everything else of theirs is shown.

transformers imports torchao wherever it is installed, and torchao then tells of GPU kernels that this machine has no use for.
"""

from __future__ import annotations

import logging

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
    for name in BEGINNINGS:
        logging.getLogger(name).addFilter(_Unneeded())
