"""Curves: the image is drawn, and a loss that jumps because batches hold answers of like length says so."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medmvl.training.history import write_curves


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the lines that are drawn."""
    found: list[str] = []
    plot = Axes.plot

    def spy(self: Axes, *values: Any, **how: Any) -> Any:
        found.append(how["label"])
        return plot(self, *values, **how)

    monkeypatch.setattr(Axes, "plot", spy)
    return found


def test_a_loss_that_jumps_by_length_says_so(tmp_path: Path, labels: list[str]) -> None:
    records = [{"stage": name, "step": step, "loss": 1.0} for name in ("01-a", "02-b") for step in (1, 2)]
    write_curves(records, tmp_path / "curves.png", by_length={"02-b"})
    assert labels == ["training", "training (batches of like length: it jumps)"]
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_a_stage_that_learns_from_rewards_shows_them(tmp_path: Path, labels: list[str]) -> None:
    names = (
        "reward", "reward/judge", "attack/best", "attack/empty", "attack/reference", "kl", "entropy", "answer_length",
        "groups_without_spread", "clip_high",
    )  # fmt: skip
    records = [{"stage": "01-sft", "step": step, "loss": 1.0} for step in (1, 2)]
    records += [
        {"stage": "02-learn", "step": step, "loss": 0.0, **dict.fromkeys(names, 0.5)} for step in (1, 2)
    ]
    records += [{"stage": "02-learn", "step": 2, "eval_reward": 0.5, "eval_reward/side": 0.4}]
    write_curves(records, tmp_path / "curves.png")
    assert set(names) | {"reward", "reward/side"} <= set(labels)


def test_no_frame_stays_empty_for_want_of_a_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    subplots = Figure.subplots
    monkeypatch.setattr(
        Figure,
        "subplots",
        lambda self, *shape, **how: (rows.append(shape[0]), subplots(self, *shape, **how))[1],
    )
    records = [{"stage": "01-a", "step": step, "loss": 1.0} for step in (1, 2)]
    write_curves(records, tmp_path / "curves.png")
    write_curves(
        [*records, {"stage": "02-b", "step": 1, "eval_answer_accuracy": 0.5}], tmp_path / "curves.png"
    )
    assert rows == [1, 2]
