"""Commands killed at a write, or stopped by a full disk, are finished by the same command, with the same files.

`benchmarks/kills.py` does the same at many more moments, with all commands.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from medmvl.pretrained.parts import PRETRAINED
from tests.factories.kill_inputs import COMMANDS, Inputs, prepare
from tests.factories.kills import contents, finish, start

KILLS = {
    "score": 2,
    "compare": 2,
    "pairs": 2,
    "preview": 2,
    "phantoms": 3,
    "from-csv": 4,
    "convert": 3,
    "import": 2,
    "pretrained": 2,
    "train": 2,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inputs]:
    known = dict(PRETRAINED)
    yield prepare(tmp_path_factory.mktemp("kills") / "inputs")
    PRETRAINED.clear()
    PRETRAINED.update(known)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path_factory.getbasetemp() / "kills-cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_the_same_command_finishes_what_a_kill_left(
    tmp_path: Path, inputs: Inputs, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    command, log, count = COMMANDS[name](inputs), tmp_path / "log", tmp_path / "count"
    (tmp_path / "whole").mkdir()
    assert finish(start(command(tmp_path / "whole"), log, count=count)) == 0, log.read_text()
    wanted, writes = contents(tmp_path / "whole"), int(count.read_text())
    assert wanted and not [path for path in wanted if "partial" in path or path.endswith(".lock")]
    drawn = random.Random(0)
    for number in range(KILLS[name]):
        trial = tmp_path / str(number)
        trial.mkdir()
        monkeypatch.setenv(
            "MEDMVL_CACHE", str(tmp_path / f"cache-{number}")
        )  # empty, as the writes were counted
        write = drawn.randint(writes * number // KILLS[name] + 1, writes * (number + 1) // KILLS[name])
        assert finish(start(command(trial), log, kill_at=write)) == -9, log.read_text()
        assert finish(start(command(trial), log)) == 0, (
            f"killed at write {write} of {writes}: {log.read_text()}"
        )
        assert contents(trial) == wanted, f"killed at write {write} of {writes}"


@pytest.mark.parametrize("name", ["export", "train", "generate"])
def test_a_full_disk_is_one_message_and_nothing_is_lost(tmp_path: Path, inputs: Inputs, name: str) -> None:
    command, log = COMMANDS[name](inputs), tmp_path / "log"
    trial = tmp_path / "trial"
    trial.mkdir()
    most = {"export": 20_000, "train": 20_000, "generate": 300}[name]
    assert finish(start(command(trial), log, max_bytes=most)) == 2, log.read_text()
    said = log.read_text()
    assert "Traceback" not in said and said.count("Error: ") == 1
    assert "run the same command again" in said and "Error: /" in said
    assert finish(start(command(trial), log)) == 0, log.read_text()
    assert not [name for name in contents(trial) if "partial" in name]
