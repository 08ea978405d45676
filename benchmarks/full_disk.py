"""Run every command that writes on a disk that is too small, then on one that is read-only, then with room, and compare.

    python benchmarks/full_disk.py [--only train,report] [--sizes 6]

Needs root on Linux: each output is a tmpfs of its own (`mount`). A trial is right where the small disk gives one message and
exit code 2, and the same command with room gives what an undisturbed run gives (`tests/factories/kills.py` compares). Run it
from the root of a clone: it uses the tests' factories.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.kills import PRELOADED
from tests.factories.kill_inputs import CACHE_IS_OUTPUT, COMMANDS, prepare
from tests.factories.kills import contents, finish, start

ROOM = "256m"
PAGE = 4096
"""Bytes of a block of tmpfs."""
Command = Callable[[Path], list[str]]


def main() -> None:
    """Say, for each command, on how many disks it gave one message, and how many reruns gave the same output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--sizes", type=int, default=6, help="Sizes of disk per command.")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(COMMANDS)
    with tempfile.TemporaryDirectory(prefix="medmvl-full-disk-") as folder:
        root = Path(folder)
        os.environ["MEDMVL_CACHE"] = str(root / "cache")
        inputs = prepare(root / "inputs")
        for module in PRELOADED:
            importlib.import_module(module)
        failed = [n for n in names if not _try(n, COMMANDS[n](inputs), root / n, options.sizes)]
    sys.exit(f"not as it should be: {', '.join(failed)}" if failed else 0)


def _try(name: str, command: Command, folder: Path, sizes: int) -> bool:
    """One command on disks from one block to a little less than it needs, then on a read-only one."""
    whole, log, disk = folder / "whole", folder / "log", folder / "disk"
    for path in (whole, disk):
        path.mkdir(parents=True)
    own = name in CACHE_IS_OUTPUT
    assert finish(start(command(whole), log, cache=whole if own else None)) == 0, log.read_text()
    wanted = contents(whole)
    blocks = sum(-(-path.stat().st_size // PAGE) for path in whole.rglob("*") if path.is_file())
    settings = [f"size={max(1, blocks * (n + 1) // (sizes + 1)) * PAGE}" for n in range(sizes)]
    right = told = 0
    for setting in [*settings, f"size={ROOM},ro"]:
        with _mounted(disk, setting):
            code, said = finish(start(command(disk), log, cache=disk if own else None)), log.read_text()
            clear = "Traceback" not in said and said.count("Error: ") == (code == 2) and code in (0, 2)
            told += code == 2
            subprocess.run(["mount", "-o", f"remount,rw,size={ROOM}", disk], check=True)
            again = finish(start(command(disk), log, cache=disk if own else None))
            found = contents(disk)
            if clear and again == 0 and found == wanted:
                right += 1
                print(f"  {name} {setting}: {said.strip().splitlines()[-1:]}", flush=True)
            else:
                differing = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
                print(f"* {name} {setting}: exit {code}, then {again}, differs: {differing[:8]}", flush=True)
                print("    " + said[-1500:].replace("\n", "\n    "), flush=True)
                print("    then " + log.read_text()[-600:].replace("\n", "\n    "), flush=True)
    print(json.dumps({"command": name, "disks": sizes + 1, "exit 2": told, "right": right}), flush=True)
    shutil.rmtree(folder)
    return right == sizes + 1


@contextmanager
def _mounted(disk: Path, setting: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", setting, "tmpfs", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


if __name__ == "__main__":
    main()
