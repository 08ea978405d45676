"""What a client of the API is told about what it sent can be done by a client, and what it sent in good faith is read."""

import base64
import io
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmvl.errors import UserError
from medmvl.serving.api import create_app
from medmvl.serving.intake import MAX_STUDIES, read_all, read_one
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.stored_image import load_image
from tests.factories import dicom as make
from tests.factories.engine import tiny_engine
from tests.factories.imaging import numbered
from tests.factories.server import running

COMMAND_LINE = re.compile(
    r"--[a-z]|#\w+=N|\bpath\b|recipe|pip install|command line|max_length \(|/tmp|name one|name what"
)
"""What only somebody with a command line, a recipe or this machine could follow."""
VOXELS = numbered((5, 6, 4))
MHD = b"ObjectType = Image\nNDims = 3\nDimSize = 5 6 4\nElementType = MET_SHORT\nElementDataFile = "
NHDR = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 4\nendian: little\nencoding: raw\ndata file: "
RAW = VOXELS.T.tobytes()
JUNK = b"\0\5\x16\7 of a Mac"


def in_file(write: Any, folder: Path, name: str) -> bytes:
    write(folder / name)
    return (folder / name).read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files by name."""
    folder = tmp_path_factory.mktemp("data")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Pair(VOXELS, affine), folder / "pair.hdr")
    stack = make.ct_series(folder / "series", make.stored_volume(3))
    found = {f"IM{number}": path.read_bytes() for number, path in enumerate(sorted(stack.iterdir()), 1)}
    found["nifti"] = in_file(lambda path: nib.save(nib.Nifti1Image(VOXELS, affine), path), folder, "a.nii")
    found["hdr"], found["img"] = (folder / "pair.hdr").read_bytes(), (folder / "pair.img").read_bytes()
    found["png"] = in_file(lambda path: Image.new("L", (16, 16)).save(path), folder, "a.png")
    found["npy"] = in_file(lambda path: np.save(path, VOXELS.T), folder, "a.npy")
    units = np.array("HU")
    found["npz"] = in_file(lambda path: np.savez(path, array=VOXELS.T, units=units), folder, "a.npz")
    return found


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    limits = Limits(longest_wait_seconds=0)
    with running(create_app(tiny_engine(), ServeSettings(model_name="tiny", limits=limits))) as found:
        yield found


def upload(address: str, content: bytes, **form: str) -> httpx.Response:
    return httpx.post(f"{address}/v1/files", files={"file": ("x", content)}, data=form, timeout=60)


def ask(address: str, *parts: dict[str, Any], text: str = "What is it?") -> httpx.Response:
    content = [*parts, {"type": "text", "text": text}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)


def uri(content: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    found: str = answer.json()["error"]["message"]
    assert not COMMAND_LINE.search(found), found
    return found


SAME = ("pair", "mhd", "mhd below", "nhdr", "list", "pattern", "mac", "readme", "npz", "npy", "npz in a zip")


def archives(data: dict[str, bytes]) -> dict[str, bytes]:
    half = len(RAW) // 2
    return {
        "pair": packed({"JOHN.hdr": data["hdr"], "JOHN.img": data["img"]}),
        "mhd": packed({"scan.mhd": MHD + b"pixels.raw", "pixels.raw": RAW}),
        "mhd below": packed({"a/scan.mhd": MHD + b"scan.raw", "a/scan.raw": RAW, "notes.txt": b"x"}),
        "nhdr": packed({"scan.nhdr": NHDR + b"./scan.raw\n\n", "scan.raw": RAW}),
        "list": packed({"s.mhd": MHD + b"LIST\na.raw\nb.raw\n", "b.raw": RAW[half:], "a.raw": RAW[:half]}),
        "pattern": packed({"s.mhd": MHD + b"p%d.raw 1 2 1", "p1.raw": RAW[:half], "p2.raw": RAW[half:]}),
        "mac": packed({"scan.nii": data["nifti"], "__MACOSX/._scan.nii": JUNK, ".DS_Store": JUNK}),
        "readme": packed({"scan.nii": data["nifti"], "README.txt": b"of a scanner"}),
        "npz": data["npz"],
        "npy": packed({"a.npy": data["npy"]}),
        "npz in a zip": packed({"scan.npz": data["npz"], "README.txt": b"x"}),
    }


@pytest.mark.parametrize("name", SAME)
def test_one_scan_in_several_files_or_next_to_others_is_read(
    name: str, data: dict[str, bytes], address: str, tmp_path: Path
) -> None:
    content = archives(data)[name]
    assert upload(address, content).status_code == 200
    for number, folder in enumerate(("one", "all")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "upload").write_bytes(content)
        received = tmp_path / folder / "upload"
        stored = read_all(received, Limits()).images[0] if number else read_one(received, "", Limits())
        image = load_image(stored.path)
        np.testing.assert_array_equal(np.sort(image.array.ravel()), np.arange(VOXELS.size))
        assert image.array.shape == (4, 6, 5)
        assert image.units == ("HU" if "npz" in name else "arbitrary")


def test_pixels_of_one_name_are_never_those_of_another_header(tmp_path: Path) -> None:
    body = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(body, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the names
        for pixels in (RAW, RAW[::-1]):
            archive.writestr("scan.mhd", MHD + b"scan.raw")
            archive.writestr("scan.raw", pixels)
    (tmp_path / "upload").write_bytes(body.getvalue())
    with pytest.raises(UserError, match=r"two files of one name.*send them apart"):
        read_all(tmp_path / "upload", Limits())


def test_a_header_finds_no_pixels_outside_its_archive(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    (tmp_path / "upload").write_bytes(packed({"a/scan.mhd": MHD + b"../../secret.raw", "b.raw": RAW}))
    with pytest.raises(UserError, match=r"missing, or lies outside.*one folder or zip"):
        read_one(tmp_path / "upload", "", Limits())


def test_a_name_twice_is_told_to_the_client(data: dict[str, bytes], address: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in ("a.hdr", "a.img", "a.hdr"):
                archive.writestr(name, data[name[2:]])
    assert "two files of one name" in said(upload(address, buffer.getvalue()))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"JOHN^DOE.nii": "nifti", "b.nii": "nifti"}, r"^the upload: the archive holds 2 scans \(00001\.nii, 00002\.nii\): "),
        ({"a.txt": "text", "b.txt": "text"}, r"^the upload: the archive holds 2 files, none of which is an image"),
        ({"scan.hdr": "hdr"}, r"^the upload: .*\.img.*keep both in one folder or zip$"),
        ({"IM1": "IM1", "IM2": "cut"}, r"^the upload: file 00002: .*cut"),
    ],
)  # fmt: skip
def test_archives_that_cannot_be_read_are_described_as_they_are(
    members: dict[str, str], words: str, data: dict[str, bytes], address: str
) -> None:
    contents = {**data, "text": b"hello", "cut": data["IM2"][:-20]}
    found = said(upload(address, packed({name: contents[key] for name, key in members.items()})))
    assert re.search(words, found), found
    assert "JOHN" not in found


def test_images_next_to_a_series_are_warned_of_and_read_where_everything_is(
    data: dict[str, bytes], address: str, tmp_path: Path
) -> None:
    content = packed({"IM1": data["IM1"], "IM2": data["IM2"], "other.nii": data["nifti"], "notes.txt": b"x"})
    study = upload(address, content).json()["study"]
    assert any("other formats (00003.nii)" in warning for warning in study["warnings"])
    (tmp_path / "upload").write_bytes(content)
    found = read_all(tmp_path / "upload", Limits())
    assert [load_image(stored.path).array.shape for stored in found.images] == [(2, 6, 7), (4, 6, 5)]
    assert not found.bad


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("2", "^select: '2' chooses nothing: expected series=N"),
        ("#frame=1", "^select: '#frame=1' chooses nothing"),
        ("level=1", "^select: 'level=1' chooses nothing"),
        ("time=0", "^select: 'time=0' chooses nothing.*counted from 1"),
        ("series=1#series=1", "^select: series= is given twice"),
        ("series=1", "^the upload: series 1 was asked for, but there is no series to choose here"),
        ("time=2", "^the upload: time 2 was asked for, but there is only 1"),
    ],
)
def test_a_select_that_chooses_nothing_is_told_its_form(
    select: str, words: str, data: dict[str, bytes], address: str
) -> None:
    assert re.search(words, said(upload(address, data["nifti"], select=select)))


def test_fields_that_nobody_looks_at_are_refused(data: dict[str, bytes], address: str) -> None:
    assert said(upload(address, data["npy"], spacing="5,1,1")).startswith(
        "spacing: unknown field; known are file,"
    )
    name = upload(address, data["nifti"]).json()["id"]
    found = said(ask(address, {"type": "volume", "volume": {"file_id": name, "select": "time=1"}}))
    assert (
        found
        == "messages.0.content.0.volume: select chooses from data; from an upload it chooses when it is sent"
    )


def test_what_warnings_say_to_declare_can_be_declared(data: dict[str, bytes], address: str) -> None:
    bare = upload(address, data["npy"]).json()["study"]
    assert bare["spacing_mm"] is None and "orientation is unknown" in bare["warnings"][0]
    study = upload(address, data["npy"], spacing_mm="5,1,0.5", axcodes="SPL").json()["study"]
    assert study["spacing_mm"] == [5.0, 1.0, 0.5] and not study["warnings"]
    part = {"data": uri(data["npy"]), "spacing_mm": [5, 1, 0.5], "axcodes": "SPL"}
    (seen,) = ask(address, {"type": "volume", "volume": part}).json()["seen"]
    assert seen["spacing_mm"] == [5.0, 1.0, 0.5] and not seen["warnings"]
    assert said(upload(address, data["npy"], spacing_mm="5x")).startswith("spacing_mm: expected millimetres")
    wrong = {"data": uri(data["npy"]), "spacing_mm": [5, -1, 1]}
    assert "expected positive millimetres" in said(ask(address, {"type": "volume", "volume": wrong}))
    assert "contradicts the file" in said(upload(address, data["nifti"], spacing_mm="9,9,9"))


def test_a_part_inside_a_request_is_named_by_its_place(data: dict[str, bytes], address: str) -> None:
    good, bad = ({"type": "image_url", "image_url": {"url": uri(one)}} for one in (data["png"], b"text"))
    answer = ask(address, good, bad)
    assert said(answer).startswith("messages.0.content.1: this is not an image")
    assert answer.json()["error"]["param"] == "messages.0.content.1"
    for address_of in ("https://x.org/a.png", "/data/a.png", "data:image/png;base64,@"):
        found = said(ask(address, good, {"type": "image_url", "image_url": {"url": address_of}}))
        assert found.startswith("messages.0.content.1: ")


def test_the_wrong_kind_is_told_the_part_that_takes_both(data: dict[str, bytes], address: str) -> None:
    for kind, content in (("volume", data["png"]), ("image_url", data["nifti"])):
        part = {"url" if kind == "image_url" else "data": uri(content)}
        assert '"type": "file"' in said(ask(address, {"type": kind, kind: part}))
        assert ask(address, {"type": "file", "file": {"data": uri(content)}}).status_code == 200


def test_a_conversation_that_is_too_long_is_told_what_a_client_can_do(address: str) -> None:
    found = said(ask(address, text="word " * 2000))
    assert re.search(
        r"more than max_length \d+; nothing is cut\. Shorten it, or send fewer or smaller images\.", found
    )


def test_a_library_that_the_server_lacks_is_not_the_client_s_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    (tmp_path / "upload").write_bytes(imagecodecs.jpegxl_encode(np.zeros((8, 9, 3), np.uint8)))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UserError, match=r"^the upload: JPEG XL is not read here: save the image as PNG$"):
        read_one(tmp_path / "upload", "", Limits())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"guided_choice": ["yes"], "guided_regex": "a"}, "guided_choice and guided_regex: give one form of the answer"),
        ({"guided_choice": [""]}, "stop and guided_choice must not hold an empty text"),
        ({"messages": [{"role": "assistant", "content": "IMAGE"}, {"role": "user", "content": "a"}]},
         "messages.0: an assistant message holds an image or volume; only user messages may"),
        ({"messages": [{"role": "user", "content": "BARE"}]}, "messages.0.content.0.volume.axcodes: expected a list"),
    ],
)  # fmt: skip
def test_what_a_library_checks_is_told_in_the_names_of_the_protocol(
    fields: dict[str, Any], words: str, data: dict[str, bytes], address: str
) -> None:
    parts = {
        "IMAGE": [{"type": "image_url", "image_url": {"url": uri(data["png"])}}],
        "BARE": [{"type": "volume", "volume": {"data": uri(data["npy"]), "axcodes": 7}}],
    }
    for message in fields.get("messages", ()):
        message["content"] = parts.get(message["content"], message["content"])
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], **fields}
    found = said(httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60))
    assert found.startswith(words)
    assert "pydantic" not in found and "input_value" not in found


def test_an_upload_is_one_file_and_its_fields_lie_in_the_form(data: dict[str, bytes], address: str) -> None:
    route = f"{address}/v1/files"
    two = [("file", ("a", data["nifti"])), ("file", ("b", data["png"]))]
    assert said(httpx.post(route, files=two, timeout=60)) == "file: sent 2 times; one is taken"
    files = {"file": ("a", data["nifti"])}
    assert said(httpx.post(f"{route}?select=time=1", files=files, timeout=60)).startswith(
        "select: send it as a field of the form"
    )
    for answer in (
        httpx.post(route, data={"file": "/data/a.nii"}, timeout=60),
        httpx.post(route, json={"file": "a"}, timeout=60),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("file: send the file itself")


def test_what_holds_no_pixels_is_named_where_everything_is_read(
    data: dict[str, bytes], tmp_path: Path
) -> None:
    report = make.dataset(np.zeros((4, 4), np.uint16), "SR")
    del report.PixelData, report.Rows, report.Columns
    path = make.save(report, tmp_path / "report")
    (tmp_path / "upload").write_bytes(packed({"a.dcm": path.read_bytes(), "b.nii": data["nifti"]}))
    found = read_all(tmp_path / "upload", Limits())
    assert len(found.images) == 1 and len(found.bad) == 1
    assert re.match(r"file 1 of the upload: .* holds no pixels", found.bad[0])


def test_headers_that_name_every_file_of_an_archive_cost_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only headers that may be read are asked for their pixels: 300 of them with 10,000 names each took six minutes."""
    asked: list[Path] = []
    monkeypatch.setattr("medmvl.serving.intake.files_of", lambda header: asked.append(header) or (header,))
    (tmp_path / "upload").write_bytes(packed({f"{n}.mhd": MHD + b"LIST\na.raw\n" for n in range(100)}))
    with pytest.raises(UserError, match="68 more studies were left out"):
        read_all(tmp_path / "upload", Limits())
    assert len(asked) == MAX_STUDIES
