"""`medmvl data prepare --ray`: two workers make what one process makes; damage and deaths are told, and the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors import safe_open

from medmvl.training import prepare_ray
from medmvl.training.prepare import Prepared, prepare
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import parse_recipe
from tests.factories.training import recipe, stage

if TYPE_CHECKING:
    import ray
else:
    ray = pytest.importorskip("ray", reason="Ray is installed by `make scale`")

PARTS = {"image_connector": "full", "volume_connector": "full", "llm": "full"}
COUNT = 8
pytestmark = pytest.mark.slow


@pytest.fixture
def scans(tmp_path: Path) -> Recipe:
    """Volumes, of which one is damaged."""
    rng, lines = np.random.default_rng(0), []
    for number in range(COUNT):
        np.save(tmp_path / f"{number}.npy", rng.integers(-1000, 400, (9, 17, 18)).astype(np.int16))
        block = {"type": "volume", "volume": f"{number}.npy", "units": "HU", "spacing_mm": [5, 1, 1]}
        blocks = [block, {"type": "text", "text": "?"}]
        messages = [{"role": "user", "content": blocks}, {"role": "assistant", "content": "Yes."}]
        lines.append(json.dumps({"id": f"s{number}", "messages": messages}))
    (tmp_path / "3.npy").write_bytes(b"nothing")
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    document = recipe(stage(parts=PARTS), train=[{"path": str(tmp_path / "data.jsonl")}])
    del document["data"]["validation"]
    return parse_recipe(document, "ray")


class DyingWorker(prepare_ray.Worker):
    """Ends like one that the machine ran out of memory for, once, at the sixth scan."""

    def _prepared(self, number: int) -> tuple[str, str]:
        died = Path(os.environ["MEDMVL_CACHE"]).with_name("died")
        if number == 5 and not died.exists():
            died.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._prepared(number)


@pytest.fixture
def local_ray() -> Iterator[None]:
    """Ends the Ray that the test starts."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def entries(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, bytes]]]:
    """What every entry says and holds, bit by bit; the order of a header's keys is chance."""
    found = {}
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "np") as entry:
            held = {name: entry.get_tensor(name).tobytes() for name in entry.keys()}  # noqa: SIM118
            found[str(path.relative_to(folder))] = entry.metadata(), held
    return found


def test_two_workers_make_what_one_process_makes(
    tmp_path: Path,
    scans: Recipe,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entry by entry and bit by bit, though a worker dies on its way; the second time there is nothing to do."""
    torch.set_num_threads(1)
    expected: dict[bool, Prepared] = {}
    for features in (True, False):
        monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "alone"))
        expected[features] = prepare(scans, features=features)
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cluster"))
    monkeypatch.setattr(prepare_ray, "Worker", DyingWorker)
    found = prepare_ray.prepare_on_ray(scans, features=True, workers=2)
    pid = (tmp_path / "died").read_text()
    assert f"pid: {pid}" in caplog.text
    assert (found.scans, found.unread) == (expected[True].scans, expected[True].unread)
    assert "3.npy" in found.unread[0] and found.made <= expected[True].made == COUNT - 1
    assert prepare_ray.prepare_on_ray(scans, features=False, workers=2) == expected[False]
    whole = entries(tmp_path / "alone")
    assert len(whole) == 2 * (COUNT - 1) and entries(tmp_path / "cluster") == whole
