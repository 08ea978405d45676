"""What the routes of API and page share: scheduler, store of studies, metrics, visitors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool

from medmvl.engine import Engine
from medmvl.engine.scheduler import Scheduler
from medmvl.serving.completions import Completions
from medmvl.serving.metrics import Metrics
from medmvl.serving.settings import ServeSettings
from medmvl.serving.store import StudyStore
from medmvl.serving.visitors import Visitors

CHUNK = 1 << 20
SWEEP_SECONDS = 30.0
LATE_SECONDS = 0.5


class Server:
    """What the routes share."""

    def __init__(self, engine: Engine, settings: ServeSettings) -> None:
        settings.check()
        limits = settings.limits
        self.settings = settings
        self.store = StudyStore(limits)
        self.scheduler = Scheduler(engine, max_waiting=limits.waiting)
        self.metrics = Metrics(lambda: self.scheduler.num_open)
        self.completions = Completions(self.scheduler, self.metrics, settings.model_name, limits.seconds)
        self.uploading = asyncio.Semaphore(limits.uploads_at_once)
        self.visitors = Visitors()

    async def sweep(self) -> None:
        """Delete uploads whose time is over, again and again."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self.settings.limits.file_seconds))
            await run_in_threadpool(self.store.expire)

    async def end_late_questions(self) -> None:
        """Answer those whose time is over while they wait to be read."""
        while True:
            await asyncio.sleep(LATE_SECONDS)
            self.scheduler.end_late()

    @asynccontextmanager
    async def receive(self, owner: str, file: UploadFile) -> AsyncIterator[Path]:
        """A file on disk with what is uploaded, for as long as it is read.

        Raises:
            QuotaError: the owner holds too much already.
            HTTPException: too many uploads at once.
        """
        self.store.check_quota(owner)
        if self.uploading.locked():
            raise HTTPException(429, "too many uploads at once; try again later")
        async with self.uploading:
            received = self.store.incoming() / "upload"
            try:
                with received.open("xb") as target:
                    while chunk := await file.read(CHUNK):
                        await run_in_threadpool(target.write, chunk)
                yield received
            finally:
                self.store.discard(received.parent)

    def close(self) -> None:
        """Answer what waits as long as answers may take, then delete every upload."""
        try:
            self.scheduler.close(self.settings.limits.seconds)
        finally:
            self.store.close()
