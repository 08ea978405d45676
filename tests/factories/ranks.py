"""Several processes of one training, forked from the tests' own, so that they cost no imports."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.factories.forks import fork_medmvl


def train_in_ranks(
    arguments: Sequence[object],
    count: int,
    logs: Path,
    *,
    die: tuple[int, int] | None = None,
    kill_after: float | None = None,
    seconds: float = 120,
    holds_store: bool = False,
) -> list[int]:
    """Run `medmvl train ARGUMENTS` in `count` processes; returns their exit codes, minus the signal where one ended them.

    Args:
        arguments: of the command.
        count: of processes.
        logs: folder that gets what each prints, in files of the rank's number.
        die: rank and step: it kills itself after that step.
        kill_after: seconds after which all are ended by SIGKILL, wherever they are.
        seconds: after which all are killed and the test fails.
        holds_store: the ranks meet at a store of this process, as `torchrun` holds it, and not at one of the first rank.
    """
    _import_before_forking()
    logs.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = {
        rank: _fork(rank, count, port, arguments, logs / str(rank), die, holds_store=holds_store)
        for rank in range(count)
    }
    with _store(port) if holds_store else nullcontext():
        codes = _wait(children, seconds, kill_after)
    if set(codes) != set(children):
        text = "\n".join((logs / str(rank)).read_text()[-2000:] for rank in children)
        pytest.fail(f"ranks {sorted(set(children) - set(codes))} were still running:\n{text}")
    return [codes[rank] for rank in range(count)]


@contextmanager
def _store(port: int) -> Iterator[None]:
    """Where the ranks meet, held by who started them, as by `torchrun`; made after the forks, for it has threads."""
    import torch.distributed

    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    yield
    del store


def _import_before_forking() -> None:
    import matplotlib.pyplot
    import torch.distributed.checkpoint
    import torch.distributed.fsdp
    import torch.utils.tensorboard

    import medmvl.cli.train
    import medmvl.training.run

    assert matplotlib.pyplot and torch.distributed.fsdp and medmvl.training.run


def _fork(
    rank: int,
    count: int,
    port: int,
    arguments: Sequence[object],
    log: Path,
    die: tuple[int, int] | None,
    *,
    holds_store: bool,
) -> int:
    def before() -> None:
        _forget_processes()
        if count > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
            os.environ |= {name: str(value) for name, value in names.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = str(holds_store)
        if die is not None and die[0] == rank:
            _die_after(die[1])

    return fork_medmvl(["train", *map(str, arguments)], log, before=before)


def _forget_processes() -> None:
    """An earlier training in the test's process left accelerate knowing of one process alone."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def _die_after(step: int) -> None:
    from medmvl.training.trainer_callbacks import Progress

    on_step_end: Callable[..., None] = Progress.on_step_end

    def dying(self: Progress, args: object, state: object, *rest: object, **more: object) -> None:
        on_step_end(self, args, state, *rest, **more)
        if state.global_step == step:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)

    Progress.on_step_end = dying  # type: ignore[method-assign, assignment]


def train_with_a_kill(recipe: Path, folder: Path, *, step: int) -> str:
    """Train into `folder/whole`, and into `folder/killed`, killed after a step and continued; what the last one printed."""
    assert train_in_ranks([recipe, "--out", folder / "whole"], 1, folder / "logs") == [0]
    killed = [recipe, "--out", folder / "killed"]
    assert train_in_ranks(killed, 1, folder / "first", die=(0, step)) == [-9]
    assert train_in_ranks(killed, 1, folder / "second") == [0]
    return (folder / "second" / "0").read_text()


def _wait(children: dict[int, int], seconds: float, kill_after: float | None) -> dict[int, int]:
    codes: dict[int, int] = {}
    start = time.monotonic()
    deadline = start + seconds
    while len(codes) < len(children) and time.monotonic() < deadline:
        if kill_after is not None and time.monotonic() > start + kill_after:
            kill_after = None
            for rank in children.keys() - codes.keys():
                os.kill(children[rank], signal.SIGKILL)
        for rank in children.keys() - codes.keys():
            ended, status = os.waitpid(children[rank], os.WNOHANG)
            if ended:
                codes[rank] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for rank in children.keys() - codes.keys():
        os.kill(children[rank], signal.SIGKILL)
        os.waitpid(children[rank], 0)
    return codes
