"""Our own road draws no bar for weights; what a user of transformers sees stays as it was."""

import pytest
from tests.factories.models import tiny
from transformers import AutoModelForImageTextToText

from medmvl.models.assemble import load
from medmvl.models.progress_bars import without_weight_bars


def test_loading_draws_no_bar_and_leaves_the_library_as_it_was(tmp_path, capfd: pytest.CaptureFixture[str]):
    model, processor = tiny()
    with without_weight_bars():
        model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    load(tmp_path)
    assert "it/s" not in capfd.readouterr().err
    AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert "Loading weights" in capfd.readouterr().err
