"""Curves: the picture is drawn, and a loss that jumps because batches hold answers of like length says so."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from medmvl.training.history import write_curves


def test_a_loss_that_jumps_by_length_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    plot = Axes.plot

    def spy(self: Axes, *values: Any, **how: Any) -> Any:
        labels.append(how["label"])
        return plot(self, *values, **how)

    monkeypatch.setattr(Axes, "plot", spy)
    records = [{"stage": name, "step": step, "loss": 1.0} for name in ("01-a", "02-b") for step in (1, 2)]
    write_curves(records, tmp_path / "curves.png", by_length={"02-b"})
    assert labels == ["training", "training (batches of like length: it jumps)"]
    assert (tmp_path / "curves.png").stat().st_size > 0
