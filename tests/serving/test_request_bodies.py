"""Bodies of other clients: what changes nothing is taken, what would change something is refused by its name."""

import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from medmvl.errors import UserError
from medmvl.serving.chat_bodies import parse_body
from medmvl.serving.conversation import Conversation
from medmvl.serving.intake import read_one
from medmvl.serving.protocol import ChatRequest, FilePart
from medmvl.serving.settings import Limits


def parse(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Nodule?"}], **fields}
    return parse_body(json.dumps(body).encode(), Limits())


def parse_content(content: Any, **more: Any) -> ChatRequest:
    return parse(messages=[{"role": "user", "content": content, **more}])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", None), ("keep_alive", None), ("chat_template", None), ("guided_json", None), ("anything_new", None),
        ("use_beam_search", False), ("ignore_eos", False), ("skip_special_tokens", True), ("min_tokens", 0),
        ("stop_token_ids", []),
        ("include_stop_str_in_output", False), ("add_generation_prompt", True), ("continue_final_message", False),
        ("repeat_penalty", 1.0), ("typical_p", 1), ("mirostat", 0), ("options", {}), ("transforms", []), ("cache_prompt", True),
        ("cache_prompt", False), ("prompt_cache_retention", "24h"), ("priority", 0), ("background", False), ("stop", ""),
        ("response_format", {"type": "text", "json_schema": None, "strict": None}),
        ("stream_options", {"continuous_usage_stats": None}),
    ],
)  # fmt: skip
def test_neutral_values_of_many_clients_are_taken(field: str, value: Any) -> None:
    assert parse(**{field: value}).options(Limits()) == parse().options(Limits())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("guided_json", {}), ("anything_new", 0), ("use_beam_search", True), ("skip_special_tokens", False), ("min_tokens", 5),
        ("repeat_penalty", 1.1), ("options", {"num_ctx": 1}), ("stop_token_ids", [2]), ("mirostat", 1), ("keep_alive", "5m"),
        ("prompt_cache_retention", "forever"), ("top_logprobs", 3),
    ],
)  # fmt: skip
def test_values_that_change_something_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^{field}"):
        parse(**{field: value})


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], {}),
        ([{"type": "text", "text": "a", "annotations": []}], {}),
        ([{"type": "text", "text": "a", "uuid": None}], {"id": None, "tool_call_id": None}),
        ("a", {"prefix": False}),
        (None, {}),
        ([], {}),
    ],
)
def test_messages_as_clients_send_them_are_taken(content: Any, more: dict[str, Any]) -> None:
    assert len(parse_content(content, **more).messages) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (["Nodule?"], r"messages\.0\.content: is a list of texts.*\{\"type\": \"text\""),
        ([{"type": "text", "text": "a"}, "b"], "is a list of texts"),
        ({"type": "text", "text": "a"}, r"messages\.0\.content: is one object"),
        ([{"type": "text", "text": "a", "bold": True}], r"messages\.0\.content\.0\.bold"),
    ],
)
def test_content_of_another_form_is_told_what_is_wrong(content: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_content(content)


def test_an_unknown_key_is_named_as_one() -> None:
    with pytest.raises(UserError, match=r"^messages\.0\.content\.0\.volume\.spacing: unknown key$"):
        parse_content([{"type": "volume", "volume": {"file_id": "f", "spacing": [5, 1, 1]}}])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("units", "mmHg", "units 'mmHg' are not known; expected one of: HU "),
        ("modality", "MRI", "modality 'MRI' is not known; write MR"),
    ],
)
def test_a_declaration_that_is_not_known_is_explained_in_one_line(name: str, value: str, words: str) -> None:
    request = parse_content([{"type": "volume", "volume": {"file_id": "f", name: value}}])
    store = SimpleNamespace(get=lambda owner, name: SimpleNamespace(id=name))
    conversation = Conversation(store, SimpleNamespace(), "me", {})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"^messages\.0\.content\.0\.{name}: {words}"):
        conversation.request(request.messages, "one")


def test_an_upload_of_two_series_says_how_a_client_chooses(tmp_path: Path) -> None:
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        with zipfile.ZipFile(tmp_path / folder / "scan.zip", "w") as archive:
            for name in ("MR_small.dcm", "CT_small.dcm"):
                archive.write(get_testdata_file(name), name)
    said = (
        r'^the upload: 2 images or series; choose one with the form field "select": "series=2":\n'
        r"  1 or [0-9a-f]{12}: CT.*\n  2 or ([0-9a-f]{12}): MR"
    )
    with pytest.raises(UserError, match=said) as caught:
        read_one(tmp_path / "one" / "scan.zip", "", Limits())
    by_number = read_one(tmp_path / "two" / "scan.zip", "series=2", Limits())
    digest = re.search(said, str(caught.value))[1]  # type: ignore[index]
    assert (
        read_one(tmp_path / "three" / "scan.zip", f"series={digest}", Limits()).num_voxels
        == by_number.num_voxels
    )


def test_an_archive_of_nothing_is_called_empty(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "scan.zip", "w").close()
    with pytest.raises(UserError, match=r"^the upload: the archive is empty$"):
        read_one(tmp_path / "scan.zip", "", Limits())


def test_a_file_under_openai_s_names_is_the_same_file() -> None:
    uri = "data:application/octet-stream;base64,AAAA"
    parts = []
    for file in (
        {"data": uri},
        {"file_data": uri, "filename": "a.nii.gz"},
        {"file_data": uri, "file_id": None},
    ):
        content = parse_content([{"type": "file", "file": file}]).messages[0].content
        assert isinstance(content, list) and isinstance(content[0], FilePart)
        parts.append(content[0].reference.data)
    assert parts == [uri] * 3
    with pytest.raises(UserError, match="exactly one"):
        parse_content([{"type": "file", "file": {"file_data": uri, "file_id": "f"}}])
