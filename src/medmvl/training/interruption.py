"""Ctrl-C, or SIGTERM from a scheduler, in a training: one more step, a checkpoint, and out; the second ends at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SAME_S = 1.0
"""Seconds within which signals count as one: a terminal and `torchrun` both pass a Ctrl-C on."""


Handler = Callable[[int, FrameType | None], object] | int | None
"""What `signal.signal` takes and gives back."""


class StoppedError(KeyboardInterrupt):
    """A training that was asked to stop and can go on."""

    def __init__(self, where: str, number: int) -> None:
        super().__init__(f"stopped {where}; the same command goes on from there")
        self.number = number
        """The signal."""


class Interruption(TrainerCallback):
    """Ends a training after the step in which it was asked to stop, with a checkpoint; all processes at the same step."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that came, if any."""
        self._since = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Listen during the block. Outside the main thread of a program nothing is listened to."""
        numbers = [signal.SIGINT, *([] if PartialState().num_processes > 1 else [signal.SIGTERM])]
        before: dict[signal.Signals, Handler] = {}
        try:
            for number in numbers:
                before[number] = signal.signal(number, self._asked)
        except ValueError:
            pass  # not the main thread
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self, where: str) -> None:
        """Raise StoppedError where a stop was asked for."""
        if self.number is not None:
            raise StoppedError(where, self.number)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop where any process was asked to."""
        if _any_process(self.number or 0, args) and state.global_step < state.max_steps:
            self.number = self.number or signal.SIGINT
            control.should_save = control.should_training_stop = True

    def _asked(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._since = number, now
            if PartialState().is_main_process:
                os.write(2, b"\nstopping after this step, with a checkpoint; once more ends at once\n")
        elif now - self._since > SAME_S:
            sys.stderr.flush()
            os._exit(128 + number)


def _any_process(number: int, args: TrainingArguments) -> bool:
    if args.world_size == 1:
        return number > 0
    flag = torch.tensor(number, device=args.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
