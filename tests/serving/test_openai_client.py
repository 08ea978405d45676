"""OpenAI's public client, unchanged, against a running server: its answers are the engine's."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from medmvl.engine import Engine
from medmvl.imaging import read
from medmvl.imaging.write import write_nifti
from medmvl.phantoms import write_dataset
from medmvl.serving.api import create_app
from medmvl.serving.settings import Limits, ServeSettings
from tests.factories.engine import tiny_engine
from tests.factories.server import running

KEYS = ("a-key-of-hospital-one", "a-key-of-hospital-two")


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine: Engine = tiny_engine()
    return engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    settings = ServeSettings(
        keys=KEYS, model_name="tiny", limits=Limits(upload_bytes=4_000_000, longest_wait_seconds=0)
    )
    with running(create_app(engine, settings)) as address:
        yield address


def client_of(address: str, key: str = KEYS[0]) -> Any:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


@pytest.fixture
def client(address: str) -> Any:
    return client_of(address)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_dataset(folder, preset="tiny", patients=1, seed=0, format="dicom")
    return folder


@pytest.fixture(scope="module")
def series(scans: Path) -> Path:
    return next(path.parent for path in sorted(scans.rglob("*.dcm")) if len(list(path.parent.glob("*"))) > 3)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def ask(client: Any, content: Any, **options: Any) -> Any:
    return client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": content}], **{"max_tokens": 8, **options}
    )


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"../../{path.name}")  # a name that tries to leave
    return buffer.getvalue()


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_models_and_text(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    answer = ask(client, "Is there a nodule?")
    assert answer.choices[0].message.content and answer.usage.completion_tokens <= 8
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_an_image_is_answered_as_by_the_engine(client: Any, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(1))
    expected = engine.ask("Is the heart enlarged?", images=[tmp_path / "x.png"], max_new_tokens=8)
    part = {"type": "image_url", "image_url": {"url": uri(png(1))}}
    found = ask(client, [part, text_part("Is the heart enlarged?")], logprobs=True, top_logprobs=2)
    assert found.choices[0].message.content == expected.text
    given = [entry.logprob for entry in found.choices[0].logprobs.content]
    assert given == pytest.approx([entry.logprob for entry in expected.logprobs], abs=1e-4)
    assert all(len(entry.top_logprobs) == 2 for entry in found.choices[0].logprobs.content)


def test_a_series_uploaded_as_zip_sent_inline_and_read_from_disk_is_one_scan(
    client: Any, engine: Engine, series: Path, tmp_path: Path
) -> None:
    expected = engine.ask("Which lobe?", volumes=[series], max_new_tokens=8)
    file = client.files.create(file=("jane-doe.zip", zipped(series)), purpose="user_data")
    assert file.study["kind"] == "volume" and file.study["units"] == "HU" and "jane" not in file.to_json()
    write_nifti(read(series), tmp_path / "ct.nii.gz")
    nifti = client.files.create(
        file=("ct.nii.gz", (tmp_path / "ct.nii.gz").read_bytes()), purpose="user_data"
    )
    inline = uri((tmp_path / "ct.nii.gz").read_bytes(), "application/gzip")
    parts = [
        {"type": "volume", "volume": {"file_id": file.id}},
        {"type": "file", "file": {"file_id": file.id}},
        {"type": "volume", "volume": {"data": uri(zipped(series), "application/zip")}},
    ]
    for part in parts:
        assert ask(client, [part, text_part("Which lobe?")]).choices[0].message.content == expected.text
    for part in ({"file_id": nifti.id}, {"data": inline}):
        found = ask(client, [{"type": "volume", "volume": part}, text_part("Which lobe?")])
        assert found.seen[0]["shape"] == expected.seen[0]["shape"]
    assert {found.id for found in client.files.list()} >= {file.id, nifti.id}
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_streams_forms_several_answers_and_turns(client: Any) -> None:
    whole = ask(client, "Describe the findings.").choices[0].message.content
    chunks = list(ask(client, "Describe the findings.", stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0
    schema = {"type": "object", "properties": {"nodule": {"type": "boolean"}}, "required": ["nodule"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "finding", "schema": schema, "strict": True}}
    found = ask(client, "Nodule?", response_format=form, max_tokens=40).choices[0].message.content
    assert isinstance(json.loads(found)["nodule"], bool)
    chosen = ask(client, "Nodule?", extra_body={"guided_choice": ["yes", "no"]})
    assert chosen.choices[0].message.content in ("yes", "no")
    several = [ask(client, "Describe.", n=3, temperature=1.0, seed=5).choices for _ in range(2)]
    texts = [[choice.message.content for choice in choices] for choices in several]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
    turns = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Nodule?"},
        {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Where?"},
    ]  # fmt: skip
    assert client.chat.completions.create(model="tiny", messages=turns, max_tokens=4).choices


def test_stop_and_length(client: Any) -> None:
    whole = ask(client, "Describe the findings.").choices[0].message.content
    stop = whole[len(whole) // 2]
    cut = ask(client, "Describe the findings.", stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)] and cut.finish_reason == "stop"


def test_keys_share_nothing(address: str, client: Any) -> None:
    with pytest.raises(openai.AuthenticationError):
        client_of(address, "another-key-altogether").models.list()
    file = client.files.create(file=("x.png", png(3)), purpose="user_data")
    other = client_of(address, KEYS[1])
    assert file.id not in {found.id for found in other.files.list()}
    with pytest.raises(openai.NotFoundError) as stranger:
        ask(other, [{"type": "file", "file": {"file_id": file.id}}, text_part("?")])
    with pytest.raises(openai.NotFoundError) as nobody:
        ask(other, [{"type": "file", "file": {"file_id": "file-that-never-was"}}, text_part("?")])
    assert stranger.value.message == nobody.value.message


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/secret.png"}}],
        [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
        [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}],
        [{"type": "volume", "volume": {"file_id": "../../etc/passwd"}}],
        [{"type": "volume", "volume": {"data": "data:x;base64,%%%"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
        [{"type": "video", "video": {}}],
    ],
)
def test_what_a_client_must_not_name_is_refused(client: Any, content: Any) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as refused:
        ask(client, [*content, text_part("?")])
    assert "/tmp" not in refused.value.message and "passwd" not in refused.value.message.replace(
        "addresses", ""
    )


def test_bad_uploads_are_refused_and_leave_nothing(address: str, client: Any) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(50_000_000))
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        info = zipfile.ZipInfo("a.dcm")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    for data, words in (
        (bomb.getvalue(), "grow beyond"),
        (link.getvalue(), "link"),
        (b"PK\x03\x04xx", "zip"),
    ):
        with pytest.raises(openai.BadRequestError, match=words) as refused:
            client.files.create(file=("x.zip", data), purpose="user_data")
        assert "medmvl-serve" not in refused.value.message
    with pytest.raises(openai.APIStatusError) as large:
        client.files.create(file=("x.bin", bytes(6_000_000)), purpose="user_data")
    assert large.value.status_code == 413


def test_figures_and_health(address: str) -> None:
    import httpx

    assert httpx.get(f"{address}/health").json() == {"status": "ok"}
    figures = httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {KEYS[0]}"}).text
    assert "medmvl_requests_total" in figures and "nodule" not in figures
    assert httpx.get(f"{address}/metrics").status_code == 401
