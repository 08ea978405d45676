"""What is wrong before the processes of a run have met is reported once per host, and again by the next run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from medmvl.cli import once_per_host

NAMES = {
    "torchrun": {"RANK": "{0}", "LOCAL_RANK": "{0}", "WORLD_SIZE": "{1}"},
    "mpirun": {"OMPI_COMM_WORLD_RANK": "{0}", "OMPI_COMM_WORLD_SIZE": "{1}"},
    "srun": {"SLURM_PROCID": "{0}", "SLURM_NTASKS": "{1}"},
}


def start(
    arguments: Sequence[str], notes: Path, launcher: str = "torchrun", ranks: int = 3
) -> tuple[list[int], str]:
    """Codes and all that processes print which one parent starts next to one another."""
    code = "import sys; from medmvl.cli.main import main; main(sys.argv[1:])"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMPI_"))}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=kept | {"TMPDIR": str(notes), "COLUMNS": "200"}
            | {name: value.format(rank, ranks) for name, value in NAMES[launcher].items()},
        )
        for rank in range(ranks)
    ]  # fmt: skip
    said = [child.communicate(timeout=300)[0] for child in children]
    return [child.returncode for child in children], "".join(said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "no-such-recipe", "--out", "x"], "no-such-recipe"),
        (["train", "quickstart", "--no-such-option"], "--no-such-option"),
        (["no-such-verb"], "no-such-verb"),
    ],
)
def test_errors_before_the_ranks_have_met(tmp_path: Path, arguments: list[str], message: str) -> None:
    for _ in range(2):
        codes, said = start(arguments, tmp_path)
        assert codes == [2, 2, 2]
        assert said.count(message) == 1 and "Traceback" not in said, said


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_other_launchers(tmp_path: Path, launcher: str) -> None:
    codes, said = start(["train", "no-such-recipe"], tmp_path, launcher, 2)
    assert codes == [2, 2] and said.count("no-such-recipe") == 1, said


def test_alone_everything_is_reported(tmp_path: Path) -> None:
    for _ in range(2):
        codes, said = start(["train", "no-such-recipe"], tmp_path, ranks=1)
        assert codes == [2] and said.count("no-such-recipe") == 1
    assert not list(tmp_path.glob("medmvl-reported-*"))


def test_each_message_and_each_run_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")

    def reported(rank: int, message: str) -> bool:
        monkeypatch.setenv("RANK", str(rank))
        return once_per_host.reports_it(message)

    assert [reported(1, "a"), reported(0, "a"), reported(0, "b"), reported(1, "b")] == [
        True,
        False,
        True,
        False,
    ]
    assert [reported(0, "a"), reported(1, "a")] == [True, False], "the next run"
    for note in tmp_path.iterdir():
        assert note.stat().st_mode & 0o777 == 0o600
        os.utime(note, (0, 0))
    assert reported(2, "a"), "a run of long ago"
    assert len(list(tmp_path.iterdir())) == 1, "old notes are swept"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    assert reported(0, "a") and reported(1, "a")
