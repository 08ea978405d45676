"""What happened in a run: one line per logged step in `history.jsonl`, and an image of the curves."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medmvl.atomic_files import atomic_write, write_text
from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = JsonObject


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """JSON Lines."""
    write_text(
        path, "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records)
    )


def read_lines(path: Path) -> list[Record]:
    """The records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_history(out: Path, stages: Sequence[Path]) -> list[Record]:
    """Join the histories of finished stages, each record with its stage, into `history.jsonl`."""
    records = [
        {"stage": folder.name, **{key: value for key, value in record.items() if key != "epoch"}}
        for folder in stages
        for record in read_lines(folder / "model" / "history.jsonl")
    ]
    write_lines(out / "history.jsonl", records)
    return records


def write_curves(records: Sequence[Record], path: Path, by_length: Collection[str] = ()) -> None:
    """Draw loss and accuracies over steps, one column per stage; of stages that learn from rewards what these need, too.

    Args:
        records: of `write_history`.
        path: the image.
        by_length: stages whose batches hold samples of like length. Short answers are easier to predict than reports, so
            their training loss jumps from batch to batch; the legend says so.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(record["stage"] for record in records))
    rewarded = {record["stage"] for record in records if "reward" in record}
    judged = {record["stage"] for record in records if any(_is_accuracy(key) for key in record)}
    rows = 1 + bool(judged) + (len(REWARD_PANELS) if rewarded else 0)
    figure = Figure(figsize=(4.5 * len(stages), 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(stages), squeeze=False)
    for column, stage in enumerate(stages):
        own = [record for record in records if record["stage"] == stage]
        loss = axes[0, column]
        training = "training (batches of like length: it jumps)" if stage in by_length else "training"
        _draw(loss, own, {"loss": training, "eval_loss": "validation"})
        loss.set(title=stage, xlabel="step", ylabel="loss")
        if judged:
            _draw_accuracies(axes[1, column], own)
        for axis, (title, chosen) in zip(
            axes[1 + bool(judged) :, column], REWARD_PANELS.items(), strict=False
        ):
            if stage not in rewarded:
                axis.set_axis_off()
                continue
            _draw(axis, own, {name: name.removeprefix("eval_") for name in _matching(own, chosen)})
            axis.set(xlabel="step", ylabel=title)
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")


REWARD_PANELS = {
    "reward": ("reward", "reward/", "attack/best", "attack/no_image", "attack/reference"),
    "validation reward": ("eval_reward", "eval_reward/"),
    "reward of attacks": ("attack/",),
    "share": ("groups_without_spread", "truncated", "clip_low", "clip_high"),
    "tokens per answer": ("answer_length",),
    "nats per token": ("entropy", "kl"),
}
"""Panels of a stage that learns from rewards: the axis, and names of numbers or their beginnings."""


def _matching(records: Sequence[Record], chosen: Sequence[str]) -> list[str]:
    """Names of numbers that some record has, equal to one chosen or, where that ends in a slash, beginning with it."""
    known = sorted({key for record in records for key in record})
    return [
        name
        for name in known
        if any(name == one or (one.endswith("/") and name.startswith(one)) for one in chosen)
    ]


def _is_accuracy(key: str) -> bool:
    return key.startswith("eval_") and "accuracy" in key


def _draw_accuracies(axis: Axes, records: Sequence[Record]) -> None:
    """Accuracies of the validation; nothing, not an empty frame, of a stage without any."""
    names = sorted({key for record in records for key in record if _is_accuracy(key)})
    if not names:
        axis.set_axis_off()
        return
    _draw(axis, records, {name: name.removeprefix("eval_") for name in names})
    axis.set(xlabel="step", ylabel="validation accuracy", ylim=(0, 1.02))


def _draw(axis: Axes, records: Sequence[Record], names: dict[str, str]) -> None:
    for key, label in names.items():
        points = [(record["step"], record[key]) for record in records if key in record]
        if points:
            marker = "o" if len(points) < 20 else None
            axis.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=3)
    axis.grid(alpha=0.3)
    if 4 < len(axis.lines) <= 16:  # below the curves, which it would cover
        axis.legend(fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    elif 0 < len(axis.lines) <= 16:
        axis.legend(fontsize=7)
