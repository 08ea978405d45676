"""What the routes of API and page share: scheduler, store of studies, metrics, visitors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from fastapi import UploadFile
from fastapi.concurrency import run_in_threadpool

from medmvl.engine import Engine
from medmvl.engine.scheduler import Scheduler
from medmvl.imaging import MedicalImage
from medmvl.imaging.declared_metadata import Declared
from medmvl.serving.chat_bodies import inline_name, inline_parts, parse_body, read_body
from medmvl.serving.completions import Completions
from medmvl.serving.intake import read_all, read_one
from medmvl.serving.metrics import Metrics
from medmvl.serving.protocol import ChatRequest
from medmvl.serving.reader_processes import ReaderProcesses
from medmvl.serving.settings import ServeSettings
from medmvl.serving.store import Study, StudyStore
from medmvl.serving.stored_image import StoredImage, load_image
from medmvl.serving.visitors import Visitors

CHUNK = 1 << 20
PARSED_HERE = 1 << 16
"""Larger bodies than this are parsed in a reader process, as are those with images."""
SWEEP_SECONDS = 30.0
LATE_SECONDS = 0.5


class Requester(NamedTuple):
    """The sender of a request."""

    owner: str
    """Owner of the scans that it may see."""
    client: str
    """Client with whom it shares turns."""


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
        self.readers = ReaderProcesses(limits.reader_processes, limits.read_seconds, limits.reads_waiting)
        self.stopping = asyncio.Event()
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

    async def take(self, requester: Requester, file: UploadFile, select: str, declared: Declared) -> Study:
        """Read an upload, and keep its pixels and geometry.

        Raises:
            UserError: it cannot be read, contradicts what was declared, or the owner holds too much already.
        """
        async with self._received(requester, file) as received:
            arguments = (received, select, self.settings.limits, declared)
            stored = await self.readers.run(requester.client, read_one, *arguments)
            return self.store.adopt(requester.owner, stored)

    async def take_all(self, requester: Requester, file: UploadFile) -> tuple[list[Study], list[str]]:
        """As `take`, of everything an upload holds: the studies, and in words what could not be read."""
        async with self._received(requester, file) as received:
            found = await self.readers.run(requester.client, read_all, received, self.settings.limits)
            return [self.store.adopt(requester.owner, stored) for stored in found.images], found.bad

    @asynccontextmanager
    async def _received(self, requester: Requester, file: UploadFile) -> AsyncIterator[Path]:
        """A file on disk with what is uploaded, for as long as it is read."""
        self.store.check_quota(requester.owner)
        received = self.store.incoming() / "upload"
        try:
            with received.open("xb") as target:
                while chunk := await file.read(CHUNK):
                    await run_in_threadpool(target.write, chunk)
            yield received
        finally:
            await run_in_threadpool(self.store.discard, received.parent)

    async def read_body(
        self, requester: Requester, pieces: AsyncIterable[bytes]
    ) -> tuple[ChatRequest, dict[str, MedicalImage]]:
        """The body of a chat request, and the images that came inside it by their names there.

        Raises:
            UserError: it is not as it should be, asks for too much, or an image cannot be read.
        """
        limits = self.settings.limits
        data = bytearray()
        pieces = aiter(pieces)
        async for piece in pieces:
            data += piece
            if len(data) > PARSED_HERE:
                break
        else:
            request = parse_body(bytes(data), limits)
            if next(inline_parts(request), None) is None:
                return request, {}
        folder = self.store.incoming()
        try:
            with (folder / "body").open("xb") as target:
                target.write(data)
                async for piece in pieces:
                    target.write(piece)
            del data
            read = await self.readers.run(requester.client, read_body, folder / "body", limits)
            return read.request, await run_in_threadpool(_loaded, read.inline)
        finally:
            await run_in_threadpool(self.store.discard, folder)

    def stop(self) -> None:
        """Refuse bodies that are not complete, and let nobody wait who was refused; for an end within the grace."""
        self.stopping.set()

    def close(self) -> None:
        """Answer what waits as long as answers may take, then delete every upload."""
        try:
            self.scheduler.close(self.settings.limits.seconds)
        finally:
            self.readers.close()
            self.store.close()


def _loaded(stored: Iterable[StoredImage]) -> dict[str, MedicalImage]:
    return {inline_name(number): load_image(one.path) for number, one in enumerate(stored)}
