"""What commands write: one writer, whole or not at all, for the owner alone, and nothing left of those that were killed."""

import errno
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import medmvl.output_lock as output_lock
from medmvl.atomic_files import atomic_write, sweep, write_text
from medmvl.cli.main import describe_error
from medmvl.digests import SUMS, first_damage, state_of, write_sums
from medmvl.errors import BusyError, UserError
from medmvl.output_lock import one_writer
from medmvl.outputs import continued_file, continued_folder, disk_errors, whole_folder

FORK = multiprocessing.get_context("fork")


def hold(folder: Path, ready: Any, *, with_child: bool = False) -> None:
    with continued_folder(folder):
        if with_child:
            FORK.Process(target=time.sleep, args=(1,), daemon=True).start()
        ready.set()
        time.sleep(60)


def holder(folder: Path, **more: Any) -> Any:
    ready = FORK.Event()
    process = FORK.Process(target=hold, args=(folder, ready), kwargs=more)
    process.start()
    assert ready.wait(20)
    return process


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_second_writer_is_refused_by_name_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    process = holder(tmp_path / "out")
    with (
        pytest.raises(BusyError, match=f"out is being written by process {process.pid} on "),
        continued_folder(tmp_path / "out"),
    ):
        pass
    kill(process)
    with continued_folder(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_the_workers_of_a_killed_writer_are_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path / "out", with_child=True)
    kill(process)
    with continued_folder(tmp_path / "out"):
        pass


def test_a_reused_process_id_is_no_writer(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(f"{os.getppid()}\n{socket.gethostname()}\n")
    with continued_folder(tmp_path):
        pass


@pytest.mark.parametrize("alive", [False, True])
def test_another_host_is_known_by_its_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    monkeypatch.setattr(output_lock, "BEAT_S", 0.05)
    lock = tmp_path / ".lock"
    lock.write_text("7\nelsewhere\n")
    if alive:
        real = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: (real(seconds), os.utime(lock)))
        told = r"process 7 on elsewhere.*if that process is gone, remove"
        with pytest.raises(BusyError, match=told), one_writer(lock, tmp_path):
            pass
        assert lock.read_text() == "7\nelsewhere\n"
    else:
        with one_writer(lock, tmp_path):
            pass
        assert not lock.exists()


def wrote(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "file").write_text(text) and None


def test_a_whole_folder_is_made_once_and_never_over_another(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert whole_folder(out, {"seed": 1}, wrote("a"), private=False)
    assert not whole_folder(out, {"seed": 1}, wrote("b"), private=False)
    assert (out / "file").read_text() == "a"
    with pytest.raises(UserError, match="made with other settings"):
        whole_folder(out, {"seed": 2}, wrote("c"), private=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        whole_folder(tmp_path / "mine", {}, wrote("d"), private=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_leftovers_of_the_same_output_are_swept_and_no_others(tmp_path: Path) -> None:
    left, other = tmp_path / ".out.abcd1234.partial", tmp_path / ".out.v2.abcd1234.partial"
    for folder in (left, other):
        folder.mkdir()
        (folder / "half").touch()
    whole_folder(tmp_path / "out", {}, wrote("a"), private=True)
    assert not left.exists() and other.exists()


def test_a_file_that_is_being_written_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / ".x.abcd1234.partial").touch()
    with atomic_write(tmp_path / "y") as file:
        sweep(tmp_path)
        file.write(b"whole")
    assert (tmp_path / "y").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


def test_what_tells_of_patients_is_the_owners(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0o022)
    try:
        with continued_folder(tmp_path / "run"):
            (tmp_path / "run" / "by-others").write_text("a library wrote this")
            write_text(tmp_path / "run" / "ours", "text")
        with continued_file(tmp_path / "answers.jsonl"):
            write_text(tmp_path / "answers.jsonl", "text")
        whole_folder(tmp_path / "data", {}, wrote("a"), private=True)
        mine = tmp_path / "mine"
        mine.mkdir()
        caplog.set_level(logging.WARNING)
        whole_folder(mine, {}, wrote("a"), private=True)
        (tmp_path / "after").touch()
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777
        for path in sorted(tmp_path.rglob("*"))
        if not path.name.startswith(".")
    }
    assert modes == {
        "after": 0o644, "answers.jsonl": 0o600, "data": 0o700, "data/file": 0o600, "mine": 0o755, "mine/file": 0o600,
        "run": 0o700, "run/by-others": 0o600, "run/ours": 0o600,
    }  # fmt: skip
    assert [record.args[0] for record in caplog.records] == [mine]  # type: ignore[index]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "No space left",
        ),
        (OSError(28, "No space left on device"), "No space left"),
        (OSError("131072 requested and 9936 written"), "Input/output error"),
        (RuntimeError("I/O error: Read-only file system (os error 30)"), "Read-only file system"),
    ],
)
def test_a_full_or_closed_disk_is_one_sentence(tmp_path: Path, raised: Exception, said: str) -> None:
    with pytest.raises(OSError, match=said) as caught, disk_errors(tmp_path):
        raise raised
    told = describe_error(caught.value)
    assert said in told and str(tmp_path) in told and "run the same command again" in told


def saved_by_torch(size: int) -> Callable[[Path], object]:
    return lambda path: torch.save({"exp_avg": torch.zeros(size), "step": 3}, path)


SAVES: dict[str, Callable[[Path], object]] = {
    "a small checkpoint": saved_by_torch(1),
    "a checkpoint": saved_by_torch(20_000),
    "a checkpoint in the format before zip": lambda path: torch.save(
        torch.zeros(20_000), path, _use_new_zipfile_serialization=False
    ),
    "weights": lambda path: save_file({"a": torch.zeros(20_000)}, path),
    "an array": lambda path: np.save(path, np.zeros(20_000, np.float32)),
    "a copy": lambda path: shutil.copyfile(path.parents[1] / "source", path),
}


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Limits the size of every file that is written, which fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 700, 66_000])
@pytest.mark.parametrize("what", SAVES)
def test_whatever_a_library_says_of_a_file_cut_short_names_the_output(
    tmp_path: Path, what: str, room: int, file_limit: Callable[[int], None]
) -> None:
    whole, out = tmp_path / "read" / "whole.npy", tmp_path / "out"
    for folder in (whole.parent, out):
        folder.mkdir()
    (tmp_path / "source").write_bytes(bytes(80_000))
    SAVES[what](whole)
    if whole.stat().st_size <= room:
        return
    file_limit(room)
    with pytest.raises(OSError) as caught, disk_errors(out):
        SAVES[what](out / "whole.npy")
    told = describe_error(caught.value)
    assert str(out) in told and "run the same command again" in told and str(whole.parent) not in told


def test_a_copy_to_a_full_disk_names_the_output_and_not_what_was_read(tmp_path: Path) -> None:
    out, source = tmp_path / "out", tmp_path / "scans" / "a.png"
    for target, named in (
        (out / ".out.partial" / "a.png", out),
        (Path("/elsewhere/a.png"), "/elsewhere/a.png"),
    ):
        with pytest.raises(OSError) as caught, disk_errors(out):
            raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
        assert caught.value.filename == str(named) and caught.value.filename2 is None
    with pytest.raises(OSError) as caught, disk_errors(out):
        raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(out))
    assert caught.value.filename == str(source)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), disk_errors(tmp_path):
        raise RuntimeError("a bug")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(bytes(1000))
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "README.md").write_text("a card to complete")
    write_sums(tmp_path)
    return tmp_path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(folder / "deep/weights"), "deep/weights is not as it was written"),
        (lambda folder: os.truncate(folder / "deep/weights", 999), "deep/weights is not as it was written"),
        (lambda folder: (folder / "settings.json").unlink(), "settings.json is missing"),
        (lambda folder: (folder / SUMS).unlink(), "SHA256SUMS is missing or damaged"),
        (lambda folder: flip(folder / "README.md"), None),
    ],
)
def test_damage_is_told_by_name(listed: Path, damage: Callable[[Path], Any], said: str | None) -> None:
    assert first_damage(listed) is None
    damage(listed)
    found = first_damage(listed)
    assert found is None if said is None else found is not None and said in found


def test_a_state_changes_with_what_a_folder_holds(listed: Path) -> None:
    before = state_of(listed)
    assert state_of(listed) == before
    (listed / "settings.json").write_text("{ }")
    write_sums(listed)
    assert state_of(listed) != before
