"""Too much at once, too late, gone, or made to harm: each is answered with its status, and the others are served."""

import io
import re
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest

from medmvl.engine import Engine
from medmvl.errors import UserError
from medmvl.serving.api import create_app
from medmvl.serving.archive import unpack
from medmvl.serving.intake import read_one
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.store import StudyStore
from tests.factories.engine import save_tiny_model
from tests.factories.server import running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.load(save_tiny_model(tmp_path_factory.mktemp("model")))


@contextmanager
def held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Decoding waits until the event is set."""
    free = threading.Event()
    decode = engine.decode_sequences

    def wait(*arguments: Any) -> None:
        assert free.wait(30)
        decode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "decode_sequences", wait)
        try:
            yield free
        finally:
            free.set()


def ask(address: str, text: str = "Is there a nodule?", **options: Any) -> httpx.Response:
    body = {"model": "medmvl", "messages": [{"role": "user", "content": text}], "max_tokens": 4, **options}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=30)


def upload(address: str, data: bytes) -> httpx.Response:
    return httpx.post(
        f"{address}/v1/files", files={"file": ("x", data)}, data={"purpose": "user_data"}, timeout=30
    )


def waiting(address: str) -> float:
    found = re.search(r"^medmvl_waiting (\S+)", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found.group(1))


def until(address: str, count: int) -> None:
    for _ in range(300):
        if waiting(address) == count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{waiting(address)} wait, not {count}")


def serving(engine: Engine, **limits: Any) -> Any:
    return running(create_app(engine, ServeSettings(limits=Limits(**limits))))


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_429_and_the_waiting_are_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    with serving(engine, waiting=2) as address, ThreadPoolExecutor(2) as pool:
        alone = ask(address).json()["choices"][0]["message"]["content"]
        with held(engine, monkeypatch) as free:
            asked = [pool.submit(ask, address) for _ in range(2)]
            until(address, 2)
            refused = ask(address, stream=stream)
            free.set()
            answers = [future.result() for future in asked]
        assert refused.status_code == 429 and refused.headers["retry-after"]
        assert refused.json()["error"]["type"] == "rate_limit_error"
        figures = httpx.get(f"{address}/metrics").text
        assert 'medmvl_requests_total{route="/v1/chat/completions",status="429"} 1.0' in figures
        assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == [alone, alone]
        assert ask(address).status_code == 200


def test_what_is_late_is_503_and_the_next_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(engine, seconds=0.3) as address, ThreadPoolExecutor(2) as pool:
        with held(engine, monkeypatch) as free:
            first = pool.submit(ask, address)
            until(address, 1)
            second = pool.submit(ask, address, "Which lobe?")
            until(address, 2)
            time.sleep(0.4)
            free.set()
            assert (
                first.result().json()["choices"][0]["finish_reason"] == "length"
            )  # had begun, ends as it is
            late = second.result()
        assert late.status_code == 503 and late.headers["retry-after"]
        assert late.json()["error"]["code"] == "deadline"
        assert ask(address).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_gives_its_place_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    with serving(engine) as address:
        with held(engine, monkeypatch) as free:
            with pytest.raises(httpx.ReadTimeout):
                body = {
                    "model": "medmvl",
                    "messages": [{"role": "user", "content": "?"}],
                    "stream": stream,
                    "max_tokens": 400,
                }
                with httpx.stream(
                    "POST", f"{address}/v1/chat/completions", json=body, timeout=0.3
                ) as response:
                    list(response.iter_bytes())
            time.sleep(0.8)
            free.set()
        until(address, 0)
        figures = httpx.get(f"{address}/metrics").text
        written = re.search(r'^medmvl_tokens_total\{kind="answer"\} (\S+)', figures, re.MULTILINE)
        assert written is None or float(written.group(1)) < 400
        assert ask(address).status_code == 200


def test_shutting_down_answers_what_waits_and_deletes_uploads(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = create_app(engine, ServeSettings())
    folder = app.state.server.store.folder
    with held(engine, monkeypatch) as free, ThreadPoolExecutor(3) as pool:
        with running(app) as address:
            assert upload(address, scan(tmp_path)).status_code == 200 and list(folder.iterdir())
            asked = [pool.submit(ask, address, f"Nodule {number}?") for number in range(3)]
            until(address, 3)
            threading.Timer(0.5, free.set).start()
        answers = [
            future.result() for future in asked
        ]  # `running` has told the server to stop, and waited for it
    assert [answer.status_code for answer in answers] == [200] * 3
    assert not folder.exists()


def scan(folder: Path, shape: tuple[int, ...] = (8, 8, 4)) -> bytes:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), folder / "x.nii.gz")
    return (folder / "x.nii.gz").read_bytes()


def test_uploads_beyond_the_quota_are_429_and_large_ones_413(engine: Engine, tmp_path: Path) -> None:
    data = scan(tmp_path)
    with serving(engine, files_per_key=2, upload_bytes=100_000) as address:
        assert [upload(address, data).status_code for _ in range(3)] == [200, 200, 429]
        name = httpx.get(f"{address}/v1/files").json()["data"][0]["id"]
        assert httpx.delete(f"{address}/v1/files/{name}").status_code == 200
        assert upload(address, data).status_code == 200
        assert upload(address, bytes(2_000_000)).status_code == 413
        unknown = (bytes(100_000) for _ in range(20))  # no length is announced
        headers = {"content-type": "application/json"}
        assert httpx.post(f"{address}/v1/files", content=unknown, headers=headers).status_code in (400, 413)


def test_voxels_are_counted_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a small file claims much; nothing of its pixels is touched."""
    store = StudyStore(Limits(voxels=1000), tmp_path)
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 100))
    header.set_data_dtype(np.int16)
    path = store.incoming() / "upload"
    path.write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(UserError, match=r"claims an array of .*at most 1000 voxels"):
        read_one(path, "", store.limits)


def archive(members: dict[str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def refused(tmp_path: Path, data: bytes, words: str, **limits: Any) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=words):
        unpack(tmp_path / "a.zip", tmp_path / "out", Limits(**limits))
    held = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*"))
    assert held <= Limits(**limits).expanded_bytes


def test_archives_are_limited(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(3000)
    refused(tmp_path / _made(tmp_path, "a"), archive({}), "empty")
    refused(
        tmp_path / _made(tmp_path, "b"), archive({f"{n}": b"x" for n in range(4)}), "4 files", archive_files=3
    )
    refused(
        tmp_path / _made(tmp_path, "c"),
        archive({"a": noise, "b": noise}),
        "unpacks to 6000 bytes; the limit is 5000",
        expanded_bytes=5000,
    )
    bomb = archive({"a": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED)
    refused(tmp_path / _made(tmp_path, "d"), bomb, "grow beyond")
    locked = bytearray(archive({"a": noise}))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    refused(tmp_path / _made(tmp_path, "e"), bytes(locked), "encrypted")
    refused(tmp_path / _made(tmp_path, "f"), archive({"a": noise})[:-40], "damaged")
    nameless = archive({"NAME": noise}).replace(b"NAME", b"\0AME")
    refused(tmp_path / _made(tmp_path, "g"), nameless, "damaged")


def test_headers_that_lie_do_not_help(tmp_path: Path) -> None:
    """The directory claims 10 bytes where 3000 come out."""
    data = bytearray(archive({"a": np.random.default_rng(0).bytes(3000)}, compression=zipfile.ZIP_DEFLATED))
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    refused(tmp_path, bytes(data), "claim|damaged", expanded_bytes=1000)


def test_names_in_an_archive_reach_no_disk(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"../../evil.dcm": b"x", "/abs/olute.dcm": b"y"}))
    folder, _ = unpack(tmp_path / "a.zip", tmp_path / "out", Limits())
    assert [path.name for path in sorted(tmp_path.rglob("*.dcm"))] == ["00001.dcm", "00002.dcm"]
    assert {path.parent for path in tmp_path.rglob("*.dcm")} == {folder}


def _made(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return name
