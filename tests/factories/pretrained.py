"""Stand-ins of a package index and of the hub: tiny wheels in a folder, and a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c0" * 20


def wheel(folder: Path, name: str, version: str, members: Mapping[str, bytes]) -> Path:
    """A wheel that pip takes; its `__init__.py` would tell if it were imported."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = {
        **members,
        f"{name.replace('-', '_')}/__init__.py": b"raise SystemExit('the package was imported')",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: nothing\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as package:
        for inside, content in files.items():
            package.writestr(inside, content)
    return path


def source_archive(folder: Path, name: str, version: str, members: Mapping[str, bytes], mark: Path) -> Path:
    """A source distribution whose `setup.py` leaves a mark when it is run."""
    stem = f"{name}-{version}"
    files = {**members, "setup.py": f"open({str(mark)!r}, 'w').close()".encode()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for inside, content in files.items():
            entry = tarfile.TarInfo(f"{stem}/{inside}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@contextmanager
def hub(
    repositories: Mapping[str, Mapping[str, bytes]], *, wrong: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server that answers as the hub does; gives its address and the paths that were asked for.

    Args:
        repositories: files of each repository.
        wrong: name of the file whose digest the hub tells wrongly.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            return

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            path = self.path.partition("?")[0].strip("/")
            for repo, files in repositories.items():
                if path.startswith(f"api/models/{repo}"):
                    return self._send(json.dumps(_described(repo, files, wrong)).encode(), {})
                if path.startswith(f"{repo}/resolve/") and (name := path.split("/", 4)[4]) in files:
                    digest = hashlib.sha256(files[name]).hexdigest()
                    return self._send(files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
            return self._send(b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, 404)

        def _send(self, content: bytes, headers: Mapping[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in {
                **headers,
                "Content-Length": str(len(content)),
                "Accept-Ranges": "bytes",
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def _described(repo: str, files: Mapping[str, bytes], wrong: str | None) -> dict[str, Any]:
    siblings = []
    for name, content in files.items():
        digest = hashlib.sha256(b"other" if name == wrong else content).hexdigest()
        lfs = (
            {"lfs": {"sha256": digest, "size": len(content), "pointerSize": 100}}
            if name.endswith("safetensors")
            else {}
        )
        siblings.append({"rfilename": name, "size": len(content), "blobId": "0" * 40, **lfs})
    return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0,
            "likes": 0}  # fmt: skip
