"""Where the numbers of a training are shown besides `history.jsonl`: TensorBoard, Weights & Biases, trackio, by name.

Numbers alone are sent, and the stage's settings: no path, host, command line, sample or text. All stay on this machine, below
the run folder, unless the user asks for a server as these tools want it (`WANDB_MODE=online`, `TRACKIO_SPACE_ID`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.training.recipe import Stage, TrackerName

SETTINGS = (
    "objective", "batch_size", "micro_batch_size", "learning_rate", "weight_decay", "schedule", "warmup", "max_grad_norm",
    "epochs", "max_steps", "group", "precision",
)  # fmt: skip
"""Keys of a stage that are shown with its numbers: none of them reveals data or this machine."""


class Tracker(Protocol):
    """One run in a tool."""

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Show numbers at a step."""

    def finish(self) -> None:
        """Write what is left."""


class Weights:
    """Weights & Biases, offline unless `WANDB_MODE` says otherwise; a resumed stage goes on in the same run."""

    def __init__(self, folder: Path, title: str, settings: JsonObject) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "medmvl"),
            name=title,
            id=_identity(folder),
            resume="allow",
            dir=folder,
            config=settings,
            settings=wandb.Settings(
                mode=os.environ.get("WANDB_MODE", "offline"),
                console="off",
                silent=True,
                save_code=False,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                x_disable_meta=True,  # host, user, command line and working folder
                x_disable_machine_info=True,
                x_disable_stats=True,
            ),
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Show numbers at a step."""
        self.run.log({**numbers, "step": step}, step=step)

    def finish(self) -> None:
        """Write what is left."""
        self.run.finish()


class Trackio:
    """trackio, with one data base for a run; `TRACKIO_DIR`, `TRACKIO_SPACE_ID`, `TRACKIO_SERVER_URL` name others."""

    def __init__(self, folder: Path, title: str, settings: JsonObject) -> None:
        run = folder.parents[2]  # RUN/stages/NN-name/trackio
        os.environ.setdefault(
            "TRACKIO_DIR", str(run.absolute() / "trackio")
        )  # read once, when it is imported
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", "medmvl")
        self.run = trackio.init(
            project=project,
            name=f"{title}-{_identity(folder)}",
            resume="allow",
            embed=False,
            config=settings,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Show numbers at a step."""
        self.run.log(numbers, step=step)

    def finish(self) -> None:
        """Write what is left."""
        self.run.finish()


OPENED: dict[str, Callable[[Path, str, JsonObject], Tracker]] = {"wandb": Weights, "trackio": Trackio}
"""Trackers other than TensorBoard, which transformers drives."""


class Tracking(TrainerCallback):
    """Hands the numbers of a stage to a tracker."""

    def __init__(self, name: Literal["wandb", "trackio"], folder: Path, stage: Stage) -> None:
        self.name = name
        self.folder = folder
        self.stage = stage
        self.tracker: Tracker | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open it, on one process."""
        if state.is_world_process_zero:
            shown = self.stage.model_dump(mode="json", include=set(SETTINGS))
            modes = {part: tuning.mode for part, tuning in self.stage.parts.items()}
            self.tracker = OPENED[self.name](
                self.folder / self.name, self.stage.name, {**shown, "parts": modes}
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: JsonMapping | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the numbers of a step."""
        if self.tracker is not None:
            numbers = {name: float(value) for name, value in (logs or {}).items() if _is_number(value)}
            self.tracker.log(numbers, state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close it."""
        if self.tracker is not None:
            self.tracker.finish()
            self.tracker = None


def open_trackers(names: Sequence[TrackerName], folder: Path, stage: Stage) -> list[TrainerCallback]:
    """Callbacks for the trackers of a recipe, which write below the stage's `folder`."""
    callbacks: list[TrainerCallback] = []
    for name in names:
        if name == "tensorboard":
            callback = TensorBoardCallback()
            callback.logging_dir = str(folder / "tensorboard")
            callbacks.append(callback)
        else:
            callbacks.append(Tracking(name, folder, stage))
    return callbacks


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Look whether the tools are installed, before anything is trained.

    Raises:
        RecipeError: naming what is missing.
    """
    missing = [name for name in names if name in OPENED and find_spec(name) is None]
    if missing:
        listed = ",".join(missing)
        raise RecipeError(
            f"report_to: {', '.join(missing)} not installed; pip install -e '.[{listed}]' in the clone, or leave the name out"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _identity(folder: Path) -> str:
    """Equal for the same stage of the same run, which is resumed so; reveals nothing of its path."""
    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
