"""A conversation on the command line: a scan that was shown stays the one it was."""

from pathlib import Path

import numpy as np
import pytest

from medmvl.cli.chat import Conversation
from medmvl.engine.options import GREEDY
from medmvl.errors import UserError
from medmvl.schema import VolumeBlock
from tests.factories.engine import tiny_engine


def test_a_file_that_was_replaced_does_not_take_the_place_of_the_scan_that_was_shown(tmp_path: Path) -> None:
    """As where every export goes into one file."""
    block = VolumeBlock(volume=str(tmp_path / "export.npz"))
    conversation = Conversation(tiny_engine(), GREEDY, {})
    for seed in (0, 0, 1):
        values = np.random.default_rng(seed).normal(0, 300, (4, 16, 16)).astype(np.float32)
        np.savez(tmp_path / "export.npz", array=values, units="HU")
        if seed == 0:
            conversation.add(block)
    shown = conversation.seen[block].digest
    with pytest.raises(UserError, match="not the scan any more"):
        conversation.add(block)
    assert conversation.seen[block].digest == shown and len(conversation.waiting) == 2
    conversation.reset()
    conversation.add(block)
    assert conversation.seen[block].digest != shown
