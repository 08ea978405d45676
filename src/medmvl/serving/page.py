"""The page: its files, and what it needs next to OpenAI's routes. A visitor's studies are that visitor's alone."""

from __future__ import annotations

import secrets
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, HTTPException, Query, UploadFile
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import Field

from medmvl.imaging import MedicalImage
from medmvl.imaging.declared_metadata import Declared
from medmvl.imaging.intensity import WINDOWS
from medmvl.json_types import JsonObject
from medmvl.phantoms import make_patient, render_ct, render_xray
from medmvl.schema.strict import StrictModel
from medmvl.serving.server import Requester, Server
from medmvl.serving.store import Study
from medmvl.serving.views import corners_mm, pixels_nifti, seen_nifti, thumbnail
from medmvl.serving.visitors import VISITOR_COOKIE
from medmvl.tasks.metrics.grounding import find_boxes

STATIC = Path(str(files("medmvl.serving") / "static"))
MAX_VOXELS = 2**27
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; font-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ExampleRequest(StrictModel):
    """Which synthetic study is wanted."""

    kind: Literal["image", "volume"]


class DeclareRequest(StrictModel):
    """What the visitor knows of a scan and its file does not say."""

    units: str | None = None
    modality: str | None = None


class BoxesRequest(StrictModel):
    """An answer in which boxes may occur, and the study it is about."""

    text: str = Field(max_length=100_000)
    study: str


def add_page(app: FastAPI, server: Server) -> None:
    """Add the page at `/` and its routes below `/page`."""
    app.mount("/page/static", _PageFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def index(request: HttpRequest) -> HTMLResponse:
        response = HTMLResponse((STATIC / "index.html").read_text(encoding="utf-8"), headers=HEADERS)
        _give_cookie(server, request, response)
        return response

    @app.get("/page/about")
    async def about(request: HttpRequest, response: Response) -> JsonObject:
        """What the page must know of model and server; a page that outlived its server gets a new cookie."""
        _give_cookie(server, request, response)
        return describe(server)

    _add_taking(app, server)
    _add_showing(app, server)


class _PageFiles(StaticFiles):
    """The page's files. A browser asks each time whether they changed: parts of two releases do not work together."""

    def file_response(self, *args: Any, **settings: Any) -> Response:
        response = super().file_response(*args, **settings)
        response.headers["Cache-Control"] = "no-cache"
        return response


def describe(server: Server) -> JsonObject:
    """Model name, the kinds it reads, limits, and windows in Hounsfield units."""
    processor = server.scheduler.engine.processor
    parts = {"image": processor.image_processor, "volume": processor.volume_processor}
    volumes = processor.volume_processor
    limits = server.settings.limits
    return {
        "model": server.settings.model_name,
        "kinds": [kind for kind, part in parts.items() if part is not None],
        "thinks": processor.thinking,
        "channels": [] if volumes is None else [str(window) for window in volumes.windows],
        "limits": {
            "new_tokens": limits.new_tokens, "visuals": limits.visuals, "upload_bytes": limits.upload_bytes,
            "file_seconds": limits.file_seconds,
        },
        "windows": {name: list(window) for name, window in WINDOWS.items() if name != "full"},
    }  # fmt: skip


def _add_taking(app: FastAPI, server: Server) -> None:
    @app.post("/page/studies")
    async def upload(
        request: HttpRequest,
        file: Annotated[UploadFile, File(description="A file, or a zip of files")],
    ) -> JsonObject:
        """Take everything an upload holds: each series and file becomes a study."""
        requester = Requester(_visitor(request), request.state.client)
        studies, bad = await server.take_all(requester, file)
        return {"studies": [_about(study) for study in studies], "bad": bad}

    @app.post("/page/example")
    async def example(request: HttpRequest, body: ExampleRequest) -> JsonObject:
        """A synthetic patient to try the page with."""
        image = await run_in_threadpool(_phantom, body.kind)
        study = await run_in_threadpool(server.store.put, _visitor(request), image)
        return {"studies": [_about(study)], "bad": []}

    @app.get("/page/studies")
    async def studies(request: HttpRequest) -> JsonObject:
        """What this visitor holds."""
        return {"studies": [_about(study) for study in server.store.list(_visitor(request))]}

    @app.post("/page/studies/{study}/declare")
    async def declare(request: HttpRequest, study: str, body: DeclareRequest) -> JsonObject:
        """Say what the file does not: the study with it, under a new id."""
        declared = Declared.parse(units=body.units, modality=body.modality)
        return _about(await run_in_threadpool(server.store.declare, _visitor(request), study, declared))

    @app.delete("/page/studies/{study}")
    async def delete(request: HttpRequest, study: str) -> JsonObject:
        """Delete a study now."""
        server.store.delete(_visitor(request), study)
        return {"deleted": study}


def _add_showing(app: FastAPI, server: Server) -> None:
    def load(request: HttpRequest, study: str) -> MedicalImage:
        return server.store.load(_visitor(request), study)

    @app.get("/page/studies/{study}/pixels.nii")
    def pixels(
        request: HttpRequest,
        study: str,
        max_voxels: Annotated[int, Query(ge=4096, le=MAX_VOXELS)] = MAX_VOXELS,
    ) -> Response:
        """The voxels, without identity."""
        return _nifti(pixels_nifti(load(request, study), max_voxels))

    @app.get("/page/studies/{study}/seen.nii")
    def seen(request: HttpRequest, study: str, channel: Annotated[int, Query(ge=0, le=64)] = 0) -> Response:
        """What the model sees."""
        image, preprocessor = load(request, study), server.scheduler.engine.processor.visual_preprocessor
        return _nifti(seen_nifti(preprocessor, preprocessor.process(image), image, channel))

    @app.get("/page/studies/{study}/thumbnail.png")
    def small(request: HttpRequest, study: str) -> Response:
        """A small image."""
        return Response(thumbnail(load(request, study)), media_type="image/png", headers=PRIVATE)

    @app.get("/page/studies/{study}/about")
    def about_study(request: HttpRequest, study: str) -> JsonObject:
        """What a study is."""
        return _about(server.store.get(_visitor(request), study))

    @app.post("/page/boxes")
    def boxes(request: HttpRequest, body: BoxesRequest) -> JsonObject:
        """Where the boxes of an answer lie in a study: corners in millimetres of its NIfTI."""
        image = load(request, body.study)
        sides = 4 if image.kind == "image" else 6
        found = [box for box in find_boxes(body.text) if len(box) == sides]
        return {"boxes": [corners_mm(image, box[: sides // 2], box[sides // 2 :]) for box in found]}


def _give_cookie(server: Server, request: HttpRequest, response: Response) -> None:
    """Give a visitor without a cookie of this server one."""
    if server.visitors.known(request.cookies.get(VISITOR_COOKIE)) is None:
        response.set_cookie(
            VISITOR_COOKIE, server.visitors.issue(), httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip


def _visitor(request: HttpRequest) -> str:
    """The visitor who asks.

    Raises:
        HTTPException: the browser keeps no cookies, so that visitors cannot be distinguished.
    """
    owner = str(request.state.owner)
    if "/" not in owner:
        raise HTTPException(403, "open the page at / first, in a browser that keeps its cookies")
    return owner


def _phantom(kind: str) -> MedicalImage:
    patient = make_patient(secrets.randbelow(2**31), 0, "quickstart")
    return render_ct(patient) if kind == "volume" else render_xray(patient)


def _about(study: Study) -> JsonObject:
    return {"id": study.id, **study.about, "plane": study.plane, "oriented": study.oriented}


def _nifti(stored: bytes) -> Response:
    return Response(stored, media_type="application/octet-stream", headers=PRIVATE)
