"""The server: OpenAI's routes over one scheduler and one store of studies."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import FastAPI, File, Form, HTTPException, UploadFile
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException as StarletteHTTPException

from medmvl import __version__
from medmvl.engine import Engine
from medmvl.engine.scheduler import BusyError
from medmvl.errors import UserError
from medmvl.imaging.declared_metadata import Declared
from medmvl.json_types import JsonObject
from medmvl.schema.jsonl import describe_validation_error, what_is_wrong
from medmvl.serving.chat_bodies import BodyError
from medmvl.serving.completions import FailedError
from medmvl.serving.conversation import Conversation
from medmvl.serving.guard import DOCS_FOLDER, Guard, error_body
from medmvl.serving.metrics import CountRequests
from medmvl.serving.protocol import ChatRequest, Select
from medmvl.serving.server import Requester, Server
from medmvl.serving.settings import ServeSettings
from medmvl.serving.store import NotFoundError, QuotaError, Study
from medmvl.serving.turns import TooManyError

logger = logging.getLogger(__name__)
STATUS_OF: dict[type[Exception], int] = {
    BusyError: 429,
    TooManyError: 429,
    QuotaError: 429,
    NotFoundError: 404,
}
"""HTTP status by exception type; any other ValueError becomes 400."""
CHAT_SCHEMAS = models_json_schema([(ChatRequest, "validation")], ref_template="#/components/schemas/{model}")[
    1
]["$defs"]
CHAT_BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}},
}

UPLOAD_FIELDS = ("file", "purpose", "select", "units", "modality", "spacing_mm", "axcodes")

SEND_A_FILE = "send the file itself as a field of multipart/form-data, not its path"

T = TypeVar("T")


def create_app(engine: Engine, settings: ServeSettings) -> FastAPI:
    """The application that `medmvl serve` runs.

    Raises:
        UserError: the settings would let strangers in.
    """
    server = Server(engine, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (server.sweep(), server.end_late_questions())]
        yield
        for task in tasks:
            task.cancel()
        await run_in_threadpool(server.close)

    # its documentation page brings its scripts along, where FastAPI's own fetches them from elsewhere
    app = FastAPIOffline(
        title="MedM-VL", version=__version__, lifespan=lifespan, redoc_url=None, static_url=DOCS_FOLDER
    )
    app.state.server = server
    _add_errors(app)
    _add_about(app, server)
    _add_files(app, server)
    _add_chat(app, server)
    if settings.page:
        from medmvl.serving.page import add_page

        add_page(app, server)
    _describe_bodies(app)
    app.add_middleware(Guard, settings=settings, visitors=server.visitors, stopping=server.stopping)
    app.add_middleware(CountRequests, metrics=server.metrics)
    return app


def _add_about(app: FastAPI, server: Server) -> None:
    name = server.settings.model_name

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server takes questions."""
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> JsonObject:
        """The one model that is served."""
        return {"object": "list", "data": [_model(name)]}

    @app.get("/v1/models/{model}", responses=_ERRORS)
    async def model(model: str) -> JsonObject:
        """The model by name."""
        if model != name:
            raise HTTPException(404, _no_model(model, name))
        return _model(name)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_files(app: FastAPI, server: Server) -> None:
    @app.post("/v1/files", responses=_ERRORS)
    async def upload(
        request: HttpRequest,
        file: Annotated[UploadFile, File(description="DICOM, NIfTI, NRRD, an image, or a zip of a series")],
        purpose: Annotated[str, Form()] = "user_data",
        select: Annotated[Select, Form(description="such as time=2, where the file holds several")] = "",
        units: Annotated[str, Form(description="such as HU, where the file does not say it")] = "",
        modality: Annotated[str, Form(description="such as CT, where the file does not say it")] = "",
        spacing_mm: Annotated[
            str, Form(description="such as 5,0.7,0.7, where the file does not say it")
        ] = "",
        axcodes: Annotated[str, Form(description="such as SPL, where the file does not say it")] = "",
    ) -> JsonObject:
        """Upload a study; its pixels and geometry are kept for a while, identity and file name are not."""
        _only(await request.form(), UPLOAD_FIELDS)
        for name in UPLOAD_FIELDS:
            if name in request.query_params:
                raise UserError(f"{name}: send it as a field of the form, not in the address")
        declared = Declared.parse(
            units=units or None,
            spacing_mm=_numbers(spacing_mm) if spacing_mm else None,
            axcodes=axcodes or None,
            modality=modality or None,
        )
        return _file(await server.take(_requester(request), file, select, declared), purpose)

    @app.get("/v1/files")
    async def files(request: HttpRequest) -> JsonObject:
        """The studies of this key."""
        found = server.store.list(request.state.owner)
        return {"object": "list", "data": [_file(study) for study in found], "has_more": False}

    @app.get("/v1/files/{file_id}", responses=_ERRORS)
    async def file_about(request: HttpRequest, file_id: str) -> JsonObject:
        """What an upload holds."""
        return _file(server.store.get(request.state.owner, file_id))

    @app.delete("/v1/files/{file_id}", responses=_ERRORS)
    async def file_delete(request: HttpRequest, file_id: str) -> JsonObject:
        """Delete an upload now."""
        server.store.delete(request.state.owner, file_id)
        return {"id": file_id, "object": "file", "deleted": True}


def _add_chat(app: FastAPI, server: Server) -> None:
    @app.post("/v1/chat/completions", responses=_ERRORS, openapi_extra={"requestBody": CHAT_BODY})
    async def chat(request: HttpRequest) -> Response:
        """Answer a conversation with images and volumes."""
        if not _is_json(request):
            raise HTTPException(415, "send the request as JSON, with Content-Type: application/json")
        body, inline = await server.read_body(_requester(request), request.stream())
        if body.model != server.settings.model_name:
            raise HTTPException(404, _no_model(body.model, server.settings.model_name))
        options = body.options(server.settings.limits)
        processor = server.scheduler.engine.processor
        conversation = Conversation(server.store, processor, request.state.owner, inline)
        name = f"chatcmpl-{secrets.token_hex(4)}"
        asked = await run_in_threadpool(conversation.request, body.messages, name)
        request.state.body_read()
        if not body.stream:
            return JSONResponse(await _until_gone(request, server.completions.whole(asked, options)))
        if server.scheduler.num_open + len(options) > server.settings.limits.waiting:
            raise BusyError("too many questions wait already; try again later")
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        events = server.completions.stream(asked, options, with_usage=with_usage)
        return StreamingResponse(events, media_type="text/event-stream")


async def _until_gone(request: HttpRequest, work: Awaitable[T]) -> T:
    """The result of `work`, which stops when the client leaves."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=0.5)
            if not task.done() and await request.is_disconnected():
                raise HTTPException(499, "the client left")
        return task.result()
    finally:
        task.cancel()


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: HttpRequest, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        said = what_is_wrong(first) if where != "file" else SEND_A_FILE
        return _error(400, f"{where}: {said}" if where else said, "invalid_request", where)

    @app.exception_handler(BodyError)
    async def not_the_protocol(request: HttpRequest, error: BodyError) -> JSONResponse:
        return _error(400, str(error), "invalid_request", error.place)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: HttpRequest, error: StarletteHTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail), None)

    @app.exception_handler(FailedError)
    async def failed(request: HttpRequest, error: FailedError) -> JSONResponse:
        return _error(error.status, str(error), error.code)

    @app.exception_handler(ValueError)
    async def wrong(request: HttpRequest, error: ValueError) -> JSONResponse:
        status = STATUS_OF.get(type(error), 400)
        said = describe_validation_error(error) if isinstance(error, ValidationError) else str(error)
        return _error(status, said, None)


def _error(status: int, message: str, code: str | None, param: str | None = None) -> JSONResponse:
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return JSONResponse(error_body(status, message, code, param), status, headers)


def _only(form: FormData, known: Sequence[str]) -> None:
    """Raise UserError where a form has a field that nobody would look at."""
    names = Counter(name for name, _ in form.multi_items())
    for name, count in names.items():
        if name not in known:
            raise UserError(f"{name[:80]}: unknown field; known are {', '.join(known)}")
        if count > 1:
            raise UserError(f"{name}: sent {count} times; one is taken")


def _numbers(said: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in said.split(","))
    except ValueError:
        raise UserError("spacing_mm: expected millimetres in array order, such as 5,0.7,0.7") from None


def _requester(request: HttpRequest) -> Requester:
    return Requester(request.state.owner, request.state.client)


def _is_json(request: HttpRequest) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def _describe_bodies(app: FastAPI) -> None:
    """Add the schema of chat requests to the server's description, as FastAPI does for bodies that it parses itself."""
    describe = app.openapi

    def described() -> JsonObject:
        found = describe()
        found["components"]["schemas"].update(CHAT_SCHEMAS)
        return found

    app.openapi = described  # type: ignore[method-assign]


def _no_model(asked: str, known: str) -> str:
    return f"there is no model {asked[:100]!r}; this server has {known!r}"


def _model(name: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 0, "owned_by": "medmvl"}


def _file(study: Study, purpose: str = "user_data") -> JsonObject:
    return {
        "id": study.id, "object": "file", "bytes": study.num_bytes, "created_at": int(study.created),
        "filename": study.id, "purpose": purpose, "status": "processed", "study": study.about,
    }  # fmt: skip


_ERRORS: dict[int | str, JsonObject] = {
    status: {"description": words}
    for status, words in {
        400: "the request cannot be served as it is", 401: "no valid key", 404: "there is no such thing",
        413: "too large", 415: "not sent as JSON", 429: "too much at once; try again later", 503: "out of time or memory",
    }.items()
}  # fmt: skip
