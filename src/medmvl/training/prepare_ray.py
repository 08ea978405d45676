"""Fills the caches for a recipe on a Ray cluster: the scans are shared out among worker processes on all its machines.

Workers make the entries that one process alone would make, in the cache folder that all machines see. A worker that dies is
named, and its scans go to the others; the same command goes on where it was stopped, as what is there is passed over.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.data.entry_cache import FOLDER_VARIABLE, LIMIT_VARIABLE, FullCacheError, default_cache_dir
from medmvl.errors import MissingExtraError, UserError
from medmvl.json_types import JsonObject
from medmvl.training.prepare import Preparation, Prepared, Progress, num_scans
from medmvl.training.recipe import Recipe

logger = logging.getLogger(__name__)
MAX_BLOCK, BLOCKS_PER_WORKER = 64, 8
"""Scans that travel together at most, and parts of the work per worker, so that none is left waiting long."""
MAX_DEATHS = 3
"""Deaths of workers in a row, without a single scan done between them, that end the run."""
_OFF = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
_SAME_EVERYWHERE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", LIMIT_VARIABLE)


def prepare_on_ray(
    recipe: Recipe, *, features: bool, workers: int = 0, progress: Progress | None = None
) -> Prepared:
    """Keep pixels or features as `prepare` does, on the cluster of `RAY_ADDRESS` or else on this machine's cores.

    Args:
        recipe: its files lie where every machine sees them, under the same path.
        features: see `prepare`.
        workers: processes; 0: one per core of the cluster, or one per GPU where it has any and features are made.
        progress: called with the number of scans that are done, and of all.

    Raises:
        MissingExtraError: Ray is not installed.
        FullCacheError: the cache cannot keep all of them.
        UserError: workers keep dying, or cannot begin.
    """
    total = num_scans(recipe)  # phantoms are made here, before many ask for them
    ray = _started(workers)
    per_worker, count = _shares(ray, features, workers, total)
    done: dict[int, JsonObject] = {}
    deaths = 0
    while len(done) < total:
        left = np.setdiff1d(np.arange(total), np.fromiter(done, np.int64, len(done)))
        before = len(done)
        try:
            for row in _rows(ray, recipe, features, left, count, per_worker):
                if row["state"] == "failed":
                    raise UserError(f"no worker could begin on {row['worker']}: {row['message']}")
                if row["state"] == "full":
                    raise FullCacheError(row["message"])
                done[int(row["number"])] = row
                if progress is not None:
                    progress(len(done), total)
        except ray.exceptions.RayError as error:
            deaths = 1 if len(done) > before else deaths + 1
            _warn_of_death(error, total - len(done), deaths)
    return _summary([done[number] for number in range(total)])


def _started(workers: int) -> Any:
    os.environ.update(_OFF)
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("--ray needs Ray Data: pip install -e '.[ray]' in the clone") from None
    if not ray.is_initialized():
        own: JsonObject = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers or os.cpu_count()}
        variables = {name: os.environ[name] for name in _SAME_EVERYWHERE if name in os.environ}
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            runtime_env={"env_vars": variables | _OFF}, **own,
        )  # fmt: skip
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _shares(ray: Any, features: bool, workers: int, total: int) -> tuple[dict[str, int], int]:
    """What each worker takes of the cluster, and how many there are."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0)) if features else 0
    per_worker = {"num_cpus": 1, "num_gpus": 1} if gpus else {"num_cpus": 1}
    return per_worker, max(1, min(workers or gpus or int(there.get("CPU", 1)), total))


def _rows(
    ray: Any,
    recipe: Recipe,
    features: bool,
    left: NDArray[np.int64],
    workers: int,
    per_worker: dict[str, int],
) -> Iterator[JsonObject]:
    """What became of each scan, as it is done."""
    size = max(1, min(MAX_BLOCK, len(left) // (workers * BLOCKS_PER_WORKER)))
    blocks = [left[start : start + size] for start in range(0, len(left), size)]
    done = ray.data.from_numpy(blocks).map_batches(
        Worker,
        fn_constructor_args=(recipe, features, str(Path.cwd()), str(default_cache_dir().absolute())),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        ray_remote_args_fn=_started_once,
        **per_worker,
    )
    yield from done.iter_rows()


def _started_once() -> dict[str, int]:
    """A worker that dies is named, not silently started again."""
    return {"max_restarts": 0, "max_task_retries": 0}


class Worker:
    """One process of the cluster; rows of numbers in, what became of them out."""

    def __init__(self, recipe: Recipe, features: bool, folder: str, cache: str) -> None:
        self.name = f"{socket.gethostname()} (process {os.getpid()})"
        self.failure = ""
        try:
            os.environ[FOLDER_VARIABLE] = cache
            os.chdir(folder)  # where relative paths start from
            self.work = Preparation(recipe, features=features)
        except (UserError, OSError) as error:
            self.failure = str(error)

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, list[Any]]:
        """Prepare the scans of these numbers."""
        rows = [self._row(int(number)) for number in batch["data"]]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def _row(self, number: int) -> JsonObject:
        state, message = ("failed", self.failure) if self.failure else self._prepared(number)
        left_out = "" if self.failure else "\n".join(self.work.left_out)
        return {
            "number": number,
            "state": state,
            "message": message,
            "worker": self.name,
            "left_out": left_out,
        }

    def _prepared(self, number: int) -> tuple[str, str]:
        if not self.work.is_wanted(number):
            return "not wanted", ""
        found = self.work.scans[number]
        if isinstance(found, str):
            return "unread", found
        if found is None:
            return "there", ""
        if isinstance(found, FullCacheError):
            return "full", str(found)
        try:
            self.work.make(found)
        except FullCacheError as error:
            return "full", str(error)
        return "made", ""


def _warn_of_death(error: Exception, left: int, deaths: int) -> None:
    """Warn that a worker has died, by its machine and process; raise where they do nothing else."""
    lines = [line.strip() for line in str(error).splitlines()]
    known = [
        line
        for line in lines
        if line.split(":")[0] in ("actor_id", "pid", "ip") and line.split(":")[1].strip()
    ]
    worker = ", ".join(known) or type(error).__name__
    if deaths >= MAX_DEATHS:
        raise UserError(
            f"{deaths} workers died one after another and did nothing between (the last: {worker}); {left} scans are left. "
            "Look for their memory, then run the same command again: it goes on from here"
        ) from None
    logger.warning("a worker died (%s); the %d scans that are left go to others", worker, left)


def _summary(rows: list[JsonObject]) -> Prepared:
    wanted = [row for row in rows if row["state"] != "not wanted"]
    return Prepared(
        scans=len(wanted), made=sum(row["state"] == "made" for row in wanted),
        unread=[row["message"] for row in wanted if row["state"] == "unread"],
        left_out=list(filter(None, rows[0]["left_out"].split("\n"))) if rows else [],
    )  # fmt: skip
