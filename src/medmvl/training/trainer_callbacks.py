"""What the Trainer reports while it runs: the loss of the last steps, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medmvl.errors import RecipeError
from medmvl.messages import did_you_mean

if TYPE_CHECKING:
    from medmvl.training.trainer import StageTrainer


class RunningLoss(TrainerCallback):
    """Begins a resumed training with the loss summed since the last log, which transformers forgets."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Put the sum back where the number of processes is the same."""
        kept = self.trainer.running_loss
        if kept is not None and len(kept["sums"]) == args.world_size:
            self.trainer._tr_loss.fill_(kept["sums"][args.process_index])
            self.trainer._globalstep_last_logged = kept["since"]


class Until(TrainerCallback):
    """Ends a stage at the first validation where every wanted metric is reached."""

    def __init__(self, wanted: Mapping[str, float]) -> None:
        self.wanted = wanted

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Stop without a checkpoint of this step: what resumes from one would go on to the next validation."""
        found = {name.removeprefix("eval_"): value for name, value in (metrics or {}).items()}
        for name in self.wanted:
            if name not in found:
                raise RecipeError(
                    f"until: validation has no metric {name!r}{did_you_mean(name, found) or '.'} It has {', '.join(found)}"
                )
        if self.wanted and all(_reached(name, found[name], goal) for name, goal in self.wanted.items()):
            control.should_training_stop, control.should_save = True, False


def _reached(name: str, value: float, goal: float) -> bool:
    return value <= goal if name.split("/")[0].endswith("loss") else value >= goal


class Progress(TrainerCallback):
    """One line: the stage, how far it is, its loss and the last validation."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None
        self.shown: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start where the run is."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, leave=True)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the numbers that matter."""
        for name, value in (logs or {}).items():
            if name in ("loss", "reward") or (name.startswith("eval_") and "/" not in name):
                self.shown[name.removeprefix("eval_") if name != "eval_loss" else "val loss"] = f"{value:.3g}"
        if self.bar is not None:
            self.bar.set_postfix(self.shown, refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the finished line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
