"""Decoding processes: what a codec does to its process is an error that names the file, and the next file works."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from medmvl.errors import ReadError, UserError
from medmvl.imaging import decode_job, decode_pool, decode_worker, read
from medmvl.imaging.decode_pool import DecodePool
from medmvl.imaging.dicom import read_dicom_folder
from tests.factories import dicom as make

HARMFUL = Path(make.__file__).with_name("harmful_decoder.py")
STORED = make.stored_volume(1, 32, 32)[0]
ONE_SCAN = {
    "StudyInstanceUID": "1.2.3.4",
    "FrameOfReferenceUID": "1.2.3.5",
}  # GDCM makes up what is missing, per file


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compressed") / "good.dcm"
    return make.transcode(make.save(make.ct_slice(STORED, (0, 0, 0)), path), uid.JPEG2000Lossless)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodePool]:
    monkeypatch.setenv("MEDMVL_TEST_WORKER", str(decode_pool.SCRIPT))
    made = DecodePool(limit=2, script=HARMFUL)
    monkeypatch.setattr(decode_pool, "_shared", made)
    yield made
    made.close()


def copy(path: Path, folder: Path, name: str) -> Path:
    return Path(shutil.copy(path, folder / name))


def right(path: Path) -> bool:
    return bool(np.array_equal(read(path).array, STORED.astype(np.int32) - 1024))


@pytest.mark.parametrize(
    ("harm", "message", "warm"),
    [
        ("abort", "ended the process", False),
        ("abort", "ended the process", True),
        ("hang", "reasonable time", True),
        ("greedy", "far more memory", True),
    ],
)
def test_harm_is_an_error_that_names_the_file_and_the_next_file_works(
    tmp_path: Path,
    pool: DecodePool,
    compressed: Path,
    harm: str,
    message: str,
    warm: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if warm:
        assert right(compressed)
    with pytest.raises(ReadError, match=f"{harm}.dcm: .*{message}"):
        read(copy(compressed, tmp_path, f"{harm}.dcm"))
    assert right(compressed)
    assert right(copy(compressed, tmp_path, "chatty.dcm"))
    assert capfd.readouterr() == ("", "")


def test_in_a_folder_the_harmful_file_is_named_and_the_others_are_not_blamed(
    tmp_path: Path, pool: DecodePool, compressed: Path
) -> None:
    for number in range(6):
        path = tmp_path / "deep" / ("abort" if number == 4 else f"slice{number}")
        made = make.ct_slice(STORED + number, (0, 0, 2.0 * number), InstanceNumber=number, **ONE_SCAN)
        make.transcode(make.save(made, path), uid.JPEG2000Lossless)
    with pytest.raises(ReadError, match="file deep/abort: "):
        read_dicom_folder(tmp_path)
    (tmp_path / "deep" / "abort").rename(tmp_path / "deep" / "slice4")
    assert [int(plane[0, 0]) for plane in read_dicom_folder(tmp_path).array] == [
        int(STORED[0, 0]) - 1024 + n for n in range(6)
    ]


def test_a_worker_killed_while_idle_is_replaced_unnoticed(pool: DecodePool, compressed: Path) -> None:
    assert right(compressed)
    (first,) = pool.processes()
    os.kill(first, signal.SIGKILL)
    assert right(compressed)
    assert pool.processes() != [first]


def test_a_worker_killed_at_its_first_file_is_an_error_of_that_file(
    tmp_path: Path, pool: DecodePool, compressed: Path
) -> None:
    errors: list[str] = []

    def reading() -> None:
        try:
            read(copy(compressed, tmp_path, "sleep.dcm"))
        except UserError as error:
            errors.append(str(error))

    thread = threading.Thread(target=reading)
    thread.start()
    while not errors and thread.is_alive():  # killed as often as it is tried
        for process in pool.processes():
            if Path(f"/proc/{process}/wchan").exists() and _sleeps(process):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    thread.join()
    assert "sleep.dcm" in errors[0] and "ended the process" in errors[0]
    assert right(compressed)


def _sleeps(process: int) -> bool:
    """Whether the worker has opened its memory and waits in `sleep`, no longer for messages."""
    try:
        return "nanosleep" in Path(f"/proc/{process}/wchan").read_text()
    except OSError:
        return False


def test_a_worker_that_cannot_start_says_why(
    pool: DecodePool, compressed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_TEST_HARM", "broken-start")
    with pytest.raises(UserError, match="does not start: this worker cannot start"):
        read(compressed)
    monkeypatch.delenv("MEDMVL_TEST_HARM")
    assert right(compressed)


def test_threads_share_the_workers(pool: DecodePool, compressed: Path) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(right(compressed))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 6
    assert len(pool.processes()) <= 2


def _read_in_child(path: Path, ended: multiprocessing.connection.Connection) -> None:  # type: ignore[name-defined]
    ended.send((right(path), decode_pool.shared_pool().processes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_daemonic_children_have_workers_of_their_own(compressed: Path, method: str) -> None:
    assert right(compressed)
    ours = decode_pool.shared_pool().processes()
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    child = context.Process(target=_read_in_child, args=(compressed, there), daemon=True)
    child.start()
    fine, theirs = here.recv()
    child.join()
    assert fine and len(theirs) == 1 and not set(theirs) & set(ours)
    assert right(compressed)
    assert decode_pool.shared_pool().processes() == ours
    assert _all_end(theirs)


PARENT = """
import sys, time
from medmvl.imaging import decode_pool, read
decode_pool._shared = decode_pool.DecodePool(limit=1, script=sys.argv[2])
if sys.argv[3] == "busy":
    import threading
    threading.Thread(target=read, args=(sys.argv[1].replace("good", "sleep"),), daemon=True).start()
    while not decode_pool._shared.processes():
        time.sleep(0.01)
else:
    read(sys.argv[1])
print(*decode_pool._shared.processes(), flush=True)
if sys.argv[3] != "exit":
    time.sleep(600)
"""


@pytest.mark.parametrize("state", ["idle", "busy", "exit"])
def test_no_worker_outlives_its_parent(
    tmp_path: Path, pool: DecodePool, compressed: Path, state: str
) -> None:
    good = copy(compressed, tmp_path, "good.dcm")
    copy(compressed, tmp_path, "sleep.dcm")
    before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(good), str(HARMFUL), state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None and parent.stderr is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    if state == "exit":
        assert parent.wait(timeout=60) == 0 and parent.stderr.read() == ""
    else:
        parent.kill()
        parent.wait()
    assert len(workers) == 1 and _all_end(workers)
    assert (set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()) <= before


def _all_end(processes: list[int]) -> bool:
    for _ in range(1000):
        if not any(_runs(process) for process in processes):
            return True
        time.sleep(0.02)
    return False


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_worker_imports_neither_torch_nor_this_package(compressed: Path) -> None:
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); import json; known = set(sys.modules);"
        "print(json.dumps(sorted(known & {'medmvl', 'torch', 'nibabel', 'pydicom', 'numpy'})))"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(decode_pool.SCRIPT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"
    assert set(decode_worker.NOT_NEEDED) == {"requests", "tqdm", "ssl"}


@pytest.mark.parametrize("offsets", [False, True])
def test_frames_of_a_compressed_cine_are_those_of_the_file(tmp_path: Path, offsets: bool) -> None:
    stored = make.stored_volume(5, 16, 16)
    made = make.enhanced(stored, rescale=[(1.0, 0.0)])
    made.compress(uid.RLELossless, encapsulate_ext=offsets)
    path = make.save(made, tmp_path / "cine.dcm")
    assert np.array_equal(read(path).array, stored.astype(np.int32))


@pytest.mark.parametrize("pays", [True, False])
def test_order_is_kept_over_many_batches(
    tmp_path: Path, pool: DecodePool, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    monkeypatch.setattr(decode_job, "BATCH_REQUESTS", 2)
    monkeypatch.setattr(decode_job, "start_pays", lambda left, num_workers, start: pays and left > 0 < start)
    for number in range(20):
        made = make.ct_slice(STORED + number, (0, 0, 2.0 * number), InstanceNumber=number, **ONE_SCAN)
        make.transcode(make.save(made, tmp_path / f"slice{number:02d}"), uid.JPEG2000Lossless)
    array = read(tmp_path).array
    assert [int(plane[0, 0]) - int(array[0][0, 0]) for plane in array] == list(range(20))
    assert len(pool.processes()) == 1 + pays


def test_another_process_is_started_only_where_it_saves_what_its_start_takes() -> None:
    assert not decode_job.start_pays(left=0.1, num_workers=1, start=0.4)  # 60 frames of RLE
    assert decode_job.start_pays(left=2.4, num_workers=1, start=0.4)  # 60 frames of JPEG 2000
    assert not decode_job.start_pays(left=2.4, num_workers=2, start=0.4)
    assert decode_job.start_pays(left=12.0, num_workers=3, start=0.4)
