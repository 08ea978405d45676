"""Data files: content decides the format, samples are parsed when asked for, and errors say where."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.datasets.records import SampleFile
from medmvl.errors import SampleError, UserError
from medmvl.schema import Sample, dump_sample
from medmvl.tasks.protocols.predictions import read_predictions
from tests.factories.data import llava_record, sample, write_json_file

ANY_TEXT = st.text(max_size=30).filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text))


@given(st.lists(ANY_TEXT, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_every_layout_gives_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ascii_only: bool, indent: int | None
) -> None:
    folder = tmp_path_factory.mktemp("layouts")
    samples = [sample(number, answer=text) for number, text in enumerate(texts)]
    plain = [json.loads(dump_sample(one)) for one in samples]
    array = json.dumps(plain, ensure_ascii=ascii_only, indent=indent)
    lines = "\r\n\n".join(json.dumps(one, ensure_ascii=ascii_only) for one in plain)
    for text in (array, f"\ufeff  {array}\n", lines, f"\ufeff{lines}"):
        path = folder / "data"
        path.write_bytes(text.encode("utf-8"))
        assert list(SampleFile(path)) == samples


def test_llava_arrays_and_lines(tmp_path: Path) -> None:
    records = [llava_record(id=str(number)) for number in range(3)]
    array = SampleFile(write_json_file(tmp_path / "a.json", records))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert list(array) == list(SampleFile(tmp_path / "b.jsonl"))
    assert [one.id for one in array[1:]] == ["1", "2"]
    assert array[-1].id == "2"
    with pytest.raises(IndexError):
        array[3]


def test_a_record_without_id_gets_one_from_its_place(tmp_path: Path) -> None:
    record = {key: value for key, value in llava_record().items() if key != "id"}
    assert [one.id for one in SampleFile(write_json_file(tmp_path / "d.json", [record, record]))] == [
        "d-1",
        "d-2",
    ]


def test_a_bad_sample_is_an_error_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(dump_sample(sample(0)) + '\n\n{"id": "odd", "messages": []}\n{"id": \n[1]\n')
    samples = SampleFile(path)
    assert samples[0].id == "s0"
    with pytest.raises(SampleError, match=r"d.jsonl, line 3, sample 'odd': messages"):
        samples[1]
    with pytest.raises(SampleError, match=r"line 4: not valid JSON"):
        samples[2]
    with pytest.raises(SampleError, match=r"line 5: expected a JSON object, found list"):
        samples[3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no samples"),
        ("[]", "no samples"),
        ("id,answer\n1,yes", "neither JSON Lines nor a JSON array"),
        ('[{"id": "a"}', "is it cut off"),
        ('[{"id": "a"},', "is it cut off"),
        ('[{"id": "a"} {"id": "b"}]', "after sample 1 expected ','"),
        ('[{"id": "a"}, {"id": ]', r"sample 2 \(line 1, column"),
    ],
)
def test_what_is_no_data_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(SampleError, match=message):
        SampleFile(path)


def test_memory_is_24_bytes_a_sample_and_workers_open_the_file_themselves(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text((dump_sample(sample(0)) + "\n") * 2000)
    samples = SampleFile(path)
    before = samples[1999]
    carried = pickle.dumps(samples)
    assert len(carried) < 2000 * 24 + 1000
    copy: SampleFile = pickle.loads(carried)
    assert copy[1999] == before
    assert isinstance(before, Sample)


@pytest.mark.parametrize("record", [
    '{"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "\\\\ud83d"}]}',
    '{"id": "\\\\udc00", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}',
    '{"id": "1", "messages": [{"role": "user", "content": [{"type": "image", "image": "\\\\uD83Dx.png"}]}]}',
])  # fmt: skip
def test_half_a_character_is_an_error_of_that_sample(tmp_path, record):
    (tmp_path / "a.jsonl").write_text(record.replace("\\\\", "\\") + "\n")
    with pytest.raises(SampleError, match=r"a\.jsonl, line 1") as raised:
        SampleFile(tmp_path / "a.jsonl")[0]
    str(raised.value).encode("utf-8")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '[{"id":' + "9" * 5000 + "}]", '{"id":' + "9" * 5000 + "}"]
)
def test_what_json_itself_gives_up_at_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r"data\.jsonl"):
        list(SampleFile(path))
    with pytest.raises(UserError, match=r"data\.jsonl"):
        read_predictions(path)
    path.write_bytes(b'{"id": "\xff"}')
    with pytest.raises(UserError, match="not UTF-8"):
        read_predictions(path)


def _asked(*blocks: object, **more: object) -> str:
    turns = [{"role": "user", "content": [*blocks, {"type": "text", "text": "Is it?"}]}]
    return json.dumps({"id": "1", "messages": [*turns, {"role": "assistant", "content": "Yes."}], **more})


@pytest.mark.parametrize("more", [{}, {"images": ["a.png"]}], ids=["alone", "with files beside"])
@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_image", "image_url": "a.png"},
        {"type": "image", "url": "a.png"},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
        {"type": "video", "video": "a.mp4"},
        {"image": "a.png"},
    ],
)
def test_blocks_of_other_libraries_are_refused_with_what_to_write(
    tmp_path: Path, block: dict[str, object], more: dict[str, object]
) -> None:
    (tmp_path / "a.jsonl").write_text(_asked(block, **more))
    with pytest.raises(SampleError, match=r'block 1: .*write \{"type": "image", "image": "PATH"\}'):
        SampleFile(tmp_path / "a.jsonl")[0]


def test_images_without_a_path_take_the_files_beside_in_order(tmp_path: Path) -> None:
    image = {"type": "image", "text": None}
    (tmp_path / "a.jsonl").write_text(
        _asked(image, {"type": "text", "text": "and"}, image, images=["b.png", "a.png"])
    )
    read = SampleFile(tmp_path / "a.jsonl")[0]
    assert [block.path for block in read.visuals] == ["b.png", "a.png"]
    assert read.messages[0].text == "andIs it?"
    (tmp_path / "b.jsonl").write_text(_asked(image, image, images=["b.png"]))
    with pytest.raises(SampleError, match="2 <image> in the text, but 1 files"):
        SampleFile(tmp_path / "b.jsonl")[0]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("file:///data/a%20b.png", "/data/a b.png"), ("a%20b.png", "a%20b.png"), ("data/a.png", "data/a.png"),
        ("https://example.org/a.png", None), ("data:image/png;base64,AAAA", None), ("s3://store/a.png", None),
    ],
)  # fmt: skip
def test_a_file_is_named_by_its_path(tmp_path: Path, written: str, path: str | None) -> None:
    (tmp_path / "a.jsonl").write_text(_asked({"type": "image", "image": written}))
    if path is None:
        with pytest.raises(SampleError, match="named by its path"):
            SampleFile(tmp_path / "a.jsonl")[0]
    else:
        assert [block.path for block in SampleFile(tmp_path / "a.jsonl")[0].visuals] == [path]
