"""Advice on how to choose one image of several: for a path, for each way of the API and for the page; followed, it reads."""

import base64
import json
import pickle
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from medmvl.errors import AmbiguousSourceError, Choice, UserError
from medmvl.imaging import MedicalImage, read
from medmvl.serving.api import create_app
from medmvl.serving.intake import as_form_field, read_all, read_one
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.stored_image import load_image
from tests.factories.engine import tiny_engine
from tests.factories.server import running
from tests.factories.several import WRITERS, in_zip

FLAT = ("tiff", "webp", "jpeg xl")
STEPS = 3
"""A source is chosen from in three steps at most: series, time, frame."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    limits = Limits(longest_wait_seconds=0)
    with running(
        create_app(tiny_engine(), ServeSettings(model_name="tiny", page=True, limits=limits))
    ) as found:
        yield found


@pytest.fixture(scope="module")
def other_process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found == "jpeg xl":
        pytest.importorskip("imagecodecs")
    return found


@pytest.fixture
def sent(name: str, source: Path) -> Path:
    """What a client sends: one file, or a zip where there are two."""
    return in_zip(source) if name == "analyze" else source


@pytest.fixture
def source(name: str, tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return WRITERS[name](tmp_path / "source")


def after_path(said: str) -> str:
    """What the message says to add to the path; the last where it names a range."""
    found = re.search(r"\((?:file|folder)(#\S+)\)", said) or re.search(r"\.\.\. (#\S+?)(?:,|$)", said)
    assert found is not None, said
    return found[1]


def selected(said: str) -> str:
    """What the message says to send as `select`."""
    found = re.search(r'"select": "([^"]+)"', said)
    assert found is not None, said
    assert not re.search(r"#\w+=N|to the path|\.\.\.#|#\w+=1", said), said
    return found[1]


def followed(path: Path) -> tuple[MedicalImage, str]:
    """The image that the advice for a path leads to, and what was added to the path."""
    added = ""
    for _ in range(STEPS):
        try:
            return read(f"{path}{added}"), added
        except AmbiguousSourceError as error:
            assert str(error).startswith(f"{path}{added}: ")
            added = after_path(str(error))
    raise AssertionError(f"nothing was read with {added}")


def test_for_a_path(source: Path) -> None:
    image, added = followed(source)
    assert added and image.array.size


def test_for_a_zip_as_a_path(source: Path) -> None:
    image, added = followed(in_zip(source))
    direct, directly = followed(source)
    assert added == directly
    np.testing.assert_array_equal(image.array, direct.array)


def test_in_another_process(source: Path, other_process: ProcessPoolExecutor) -> None:
    with pytest.raises(AmbiguousSourceError) as here:
        read(source)
    with pytest.raises(AmbiguousSourceError) as there:
        other_process.submit(read, source).result()
    assert str(there.value) == str(here.value)
    assert there.value.choice == here.value.choice is not None
    assert there.value.worded(as_form_field) == here.value.worded(as_form_field) != str(here.value)


def received(path: Path, folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(path, folder / "upload"))


def test_for_an_upload_the_same_image_as_by_path(sent: Path, source: Path, tmp_path: Path) -> None:
    select = ""
    for step in range(STEPS):
        try:
            stored = read_one(received(sent, tmp_path / str(step)), select, Limits())
            break
        except UserError as error:
            select = selected(str(error))
    assert select
    np.testing.assert_array_equal(load_image(stored.path).array, read(f"{source}#{select}").array)


def test_for_an_upload_to_a_server(sent: Path, source: Path, address: str) -> None:
    data, select = sent.read_bytes(), ""
    for _ in range(STEPS):
        answer = httpx.post(
            f"{address}/v1/files", files={"file": ("x", data)}, data={"select": select}, timeout=60
        )
        if answer.status_code == 200:
            break
        assert answer.status_code == 400
        select = selected(answer.json()["error"]["message"])
    assert select
    assert answer.json()["study"]["shape"] == list(read(f"{source}#{select}").array.shape)


def ask(address: str, part: dict[str, Any]) -> httpx.Response:
    content = [part, {"type": "text", "text": "What is it?"}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)


def uri(path: Path) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_for_an_object_inside_a_request(sent: Path, source: Path, address: str) -> None:
    data, select = uri(sent), ""
    for _ in range(STEPS):
        answer = ask(address, {"type": "file", "file": {"data": data, "select": select}})
        if answer.status_code == 200:
            break
        select = selected(answer.json()["error"]["message"])
    assert select
    (seen,) = answer.json()["seen"]
    assert seen["kind"] == read(f"{source}#{select}").kind


@pytest.mark.parametrize("name", FLAT, indirect=True)
def test_for_an_image_url_which_cannot_choose(source: Path, address: str) -> None:
    data = uri(source)
    said = ask(address, {"type": "image_url", "image_url": {"url": data}}).json()["error"]["message"]
    part = json.loads(said[said.index("{") :])
    assert selected(said) == part["file"]["select"]
    part["file"]["data"] = data
    assert ask(address, part).status_code == 200


def test_for_the_page(name: str, sent: Path, tmp_path: Path) -> None:
    upload = received(sent, tmp_path / "upload")
    if name in ("dicom series", "dicom enhanced"):  # it takes every series
        assert len(read_all(upload, Limits()).images) == 2
        return
    with pytest.raises(
        UserError, match=r"the page cannot choose a (frame|time).*as a file of its own"
    ) as caught:
        read_all(upload, Limits())
    assert "#" not in str(caught.value)


def test_a_message_alone_is_an_error_too() -> None:
    """As torch makes it again of a process that reads training data: from its message."""
    error = AmbiguousSourceError("a: the file holds 2 frames; choose one with #frame=1 ... #frame=2")
    assert error.choice is None
    again = pickle.loads(pickle.dumps(error.reworded("sample 7: {}".format)))
    assert str(again) == str(again.worded(as_form_field)) == f"sample 7: {error}"


def test_other_words_around_the_advice_keep_the_choice() -> None:
    error = AmbiguousSourceError("/tmp/x/a: two", Choice("frame", 2, already="#series=1"), ":\n  /tmp/x/b")
    named = error.reworded(lambda said: f"at {said.replace('/tmp/x/', '')} (and more)")
    assert named.choice == error.choice
    assert str(named) == "at a: two; choose one with #series=1#frame=1 ... #series=1#frame=2:\n  b (and more)"
    assert named.worded(as_form_field).startswith(
        'at a: two; choose one with the form field "select": "series=1#'
    )
