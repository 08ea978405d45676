"""Processes of a pool end with their parent, and by Ctrl-C without a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

POOL = """
import os, signal, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from medmvl.worker_processes import end_with_parent

def interrupted(*_):
    time.sleep(1)
    os._exit(130)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
        worker = pool.submit(os.getpid).result()
        signal.signal(signal.SIGINT, interrupted)
        print(worker, flush=True)
        time.sleep(60)  # the worker waits for its next task
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("how", ["ctrl-c", "killed"])
def test_a_worker_ends_with_its_parent_and_prints_nothing(how: str, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None and parent.stderr is not None
    worker = int(parent.stdout.readline())
    if how == "ctrl-c":
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    else:
        parent.kill()
    assert parent.wait(timeout=60) == (130 if how == "ctrl-c" else -signal.SIGKILL)
    for _ in range(600):
        if not is_running(worker):
            break
        time.sleep(0.05)
    assert not is_running(worker)
    if how == "ctrl-c":
        assert "Traceback" not in parent.stderr.read()
