"""Work is bounded before it is done; what a client leaves behind is removed; what it declares is used."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest

from medmvl.engine import Engine
from medmvl.errors import UserError
from medmvl.imaging.declared_metadata import Declared
from medmvl.schema import Message, TextBlock
from medmvl.serving import store as store_module
from medmvl.serving.api import create_app
from medmvl.serving.intake import read_one
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.store import FOLDER_PREFIX, StudyStore, remove_abandoned
from medmvl.serving.visitors import VISITOR_COOKIE, Visitors
from tests.factories.engine import save_tiny_model
from tests.factories.server import running

TIGHT = Limits(
    messages=8, characters=1000, visuals=3, values=200, body_bytes=3 * 2**20, large_bodies_at_once=1,
    pause_seconds=0.5, header_seconds=0.5, stops=4, stop_characters=32, longest_wait_seconds=0,
)  # fmt: skip
POST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
    b"Content-Type: application/json\r\n\r\n{"
)
NEUTRAL: list[tuple[str, Any]] = [
    ("frequency_penalty", 0), ("presence_penalty", 0.0), ("logit_bias", None), ("logit_bias", {}), ("tools", []),
    ("tools", None), ("tool_choice", "none"), ("metadata", None), ("parallel_tool_calls", True), ("service_tier", "auto"),
    ("functions", []), ("store", False), ("modalities", ["text"]), ("top_k", -1), ("repetition_penalty", 1.0),
    ("reasoning_effort", None), ("stop", []), ("stop", None), ("user", "u"), ("n", 1), ("response_format", {"type": "text"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.load(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with running(create_app(engine, ServeSettings(limits=TIGHT)), header_seconds=0.5) as found:
        yield found


def ask(address: str, content: Any = "Nodule?", **fields: Any) -> httpx.Response:
    body = {"model": "medmvl", "max_tokens": 2, "messages": [{"role": "user", "content": content}], **fields}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=30)


def problem(response: httpx.Response) -> str:
    assert response.status_code in (400, 404, 408, 413, 429), response.text
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize(("field", "value"), NEUTRAL)
def test_fields_that_change_nothing_are_taken(address: str, field: str, value: Any) -> None:
    assert ask(address, **{field: value}).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("frequency_penalty", 0.5), ("logit_bias", {"7": 1}), ("tools", [{"type": "function"}]), ("store", True),
     ("top_k", 5), ("reasoning_effort", "high"), ("presence_penalty", False), ("max_token", 3)],
)  # fmt: skip
def test_fields_that_would_change_something_are_refused_by_name(address: str, field: str, value: Any) -> None:
    response = ask(address, **{field: value})
    assert problem(response).startswith(field) and response.json()["error"]["param"] == field


def test_a_message_as_clients_send_it_back_is_taken(address: str) -> None:
    given = ask(address).json()["choices"][0]["message"]
    turns = [
        {"role": "user", "content": "Nodule?"},
        {**given, "tool_calls": None, "function_call": None, "annotations": [], "audio": None},
        {"role": "user", "content": "Where?"},
    ]
    assert ask(address, messages=turns).status_code == 200


@pytest.mark.parametrize(
    ("part", "where"),
    [({"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
      'messages.0.content.0.image_url: is an object here: {"'),
     ({"type": "volume", "volume": {"data": "x", "unit": "HU"}}, "messages.0.content.0.volume.unit"),
     ({"type": "volume", "volume": "ct.nii.gz"}, 'messages.0.content.0.volume: takes no path or url: {"data"'),
     ({"type": "volume", "volume": {"url": "data:x;base64,AAAA"}}, "messages.0.content.0.volume: takes no path or url"),
     ({"type": "input_image"}, "messages.0.content.0")],
)  # fmt: skip
def test_an_error_in_a_part_names_the_part(address: str, part: dict[str, Any], where: str) -> None:
    assert problem(ask(address, [part])).startswith(where)


def test_another_models_name_is_not_answered(address: str) -> None:
    response = ask(address, model="gpt-4o")
    assert response.status_code == 404 and "this server has 'medmvl'" in problem(response)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"messages": [{"role": "user", "content": "a"}] * 9}, "9 messages; at most 8"),
     ({"stop": ["x"] * 5}, "5 stop texts; at most 4"), ({"stop": "y" * 33}, "33 characters in a stop text"),
     ({"content": "a" * 1001}, "1001 characters of text"), ({"guided_choice": ["a" * 70_000]}, "70000 characters of choices"),
     ({"content": [{"type": "text", "text": "a" * 600}] * 2}, "1200 characters of text")],
)  # fmt: skip
def test_what_is_asked_is_counted(address: str, fields: dict[str, Any], words: str) -> None:
    assert words in problem(ask(address, **fields))


def test_visuals_are_counted_before_any_is_unpacked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from medmvl.serving import server

    unpacked: list[str] = []
    monkeypatch.setattr(server.ReaderProcesses, "run", unpacked.append)
    parts = [{"type": "volume", "volume": {"data": "data:x;base64,AAAA"}}] * 4
    assert "4 images and volumes; at most 3" in problem(ask(address, parts))
    assert not unpacked


def test_values_are_counted_before_the_body_is_parsed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from medmvl.serving import server

    monkeypatch.setattr(server, "parse_body", None)  # nothing calls it
    monkeypatch.setattr(server.ReaderProcesses, "run", None)
    body = b'{"model": "medmvl", "messages": [' + b'{"role":"user","content":"a"},' * 1000
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{address}/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 413 and "more than 200 values" in response.text


def raw(address: str, data: bytes, seconds: float = 3.0) -> bytes:
    """What the server sends to bytes that are not followed by others, until it closes the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def test_headers_that_never_end_are_closed(address: str) -> None:
    assert raw(address, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") == b""
    complete = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert raw(address, complete + b"GET /hea", 8.0).count(b"HTTP/1.1 200") == 1  # and the second one ends


def test_a_body_that_stops_is_408(address: str) -> None:
    head = POST_HEAD % 100
    assert b" 408 " in raw(address, head).split(b"\r\n", 1)[0]


def test_large_bodies_wait_for_their_turn_and_small_ones_do_not(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    head = POST_HEAD % 2_000_000
    large = " " * 1_500_000
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head)
        time.sleep(0.1)
        assert ask(address, pad=large).status_code == 429
        assert ask(address).status_code == 200
    time.sleep(0.3)  # the one that left gave its place back
    assert "pad" in problem(ask(address, pad=large))


def ct(folder: Path) -> bytes:
    values = np.full((8, 8, 4), 40, np.int16)
    values[:2] = -1000
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, -1, 2, 1])), folder / "ct.nii.gz")
    return (folder / "ct.nii.gz").read_bytes()


def test_units_are_declared_in_an_upload_and_in_a_block(address: str, tmp_path: Path) -> None:
    def send(**fields: str) -> httpx.Response:
        return httpx.post(
            f"{address}/v1/files",
            files={"file": ("x", ct(tmp_path))},
            data={"purpose": "user_data", **fields},
        )

    silent, told = send().json(), send(units="HU", modality="CT").json()
    assert (silent["study"]["units"], told["study"]["units"]) == ("arbitrary", "HU")
    for volume in ({"file_id": told["id"]}, {"file_id": silent["id"], "units": "HU", "modality": "CT"}):
        seen = ask(address, [{"type": "volume", "volume": volume}, {"type": "text", "text": "?"}]).json()[
            "seen"
        ]
        assert seen[0]["units"] == "HU"
    contradicted = {"file_id": told["id"], "units": "BQML"}
    assert "contradict" in problem(ask(address, [{"type": "volume", "volume": contradicted}]))
    assert send(modality="CT").json()["study"]["units"] == "HU"


def test_a_study_that_is_declared_later_has_another_name(tmp_path: Path) -> None:
    store = StudyStore(Limits(), tmp_path)
    path = store.incoming() / "upload"
    path.write_bytes(ct(tmp_path))
    silent = store.adopt("me", read_one(path, "", store.limits))
    told = store.declare("me", silent.id, Declared.parse(units="HU"))
    assert told.id != silent.id and told.about["units"] == "HU"
    assert [study.id for study in store.list("me")] == [told.id]
    with pytest.raises(UserError):
        store.declare("you", told.id, Declared.parse(units="HU"))


def test_the_folders_of_killed_servers_are_removed_and_living_ones_kept(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from medmvl.serving.store import StudyStore; "
        "from medmvl.serving.settings import Limits; store = StudyStore(Limits(), Path(sys.argv[1])); "
        "(store.folder / 'file-x.npz').write_bytes(b'pixels'); print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline()
        assert remove_abandoned(tmp_path) == 0 and len(list(tmp_path.iterdir())) == 1
        server.send_signal(signal.SIGKILL)
        server.wait()
    (tmp_path / "another").mkdir()
    (tmp_path / f"{FOLDER_PREFIX}link").symlink_to(tmp_path / "another")
    StudyStore(Limits(), tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", f"{FOLDER_PREFIX}link"]


def test_folders_of_other_users_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{FOLDER_PREFIX}x").mkdir()
    monkeypatch.setattr(store_module.os, "getuid", lambda: os.geteuid() + 1)
    assert remove_abandoned(tmp_path) == 0


def test_cookies_are_the_servers_own() -> None:
    visitors = Visitors()
    cookie = visitors.issue()
    assert visitors.known(cookie) == cookie != visitors.issue()
    forged = [None, "", cookie[:-1], "x" * 43, cookie + "x", cookie.replace(cookie[0], "~", 1), "a.", "é.é"]
    assert [visitors.known(value) for value in forged] == [None] * len(forged)
    assert Visitors().known(cookie) is None
    assert visitors.of_header(f"a=b; {VISITOR_COOKIE}={cookie}") == cookie
    assert visitors.of_header(f"{VISITOR_COOKIE}={'x' * 43}") is None


def test_long_conversations_take_time_in_proportion(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of turns are joined for turns that show something alone."""
    from medmvl.models import conversations

    read = 0
    text = Message.text

    def counted(self: Message) -> str:
        nonlocal read
        read += 1
        return str(text.fget(self))  # type: ignore[attr-defined]

    monkeypatch.setattr(Message, "text", property(counted))
    turns = [Message(role="user", content=(TextBlock(text="a"),))] * 200
    conversations.questions(turns)
    assert read <= 400
