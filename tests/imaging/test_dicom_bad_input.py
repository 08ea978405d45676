"""Damaged, hostile and identifying files: one clear ReadError, bounded memory, and nothing about the patient."""

from __future__ import annotations

import logging
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from medmvl.errors import ReadError, UserError
from medmvl.imaging import dicom_header, dicom_series, limits
from medmvl.imaging.decode_worker import stream_size
from medmvl.imaging.dicom import read_dicom, read_dicom_folder, sniff_dicom
from medmvl.imaging.selector import Selector
from tests.factories import dicom as make

PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"


def valid_file(folder: Path) -> Path:
    return make.save(make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), PixelPaddingValue=3), folder / "one")


@pytest.mark.parametrize("keep", [0, 3, 131, 140, 400, -1, -50])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    path = valid_file(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError):
        read_dicom(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 65535, "Columns": 65535}, "cut off|limit"),
        ({"Rows": 0}, "no voxels"),
        ({"NumberOfFrames": 2_000_000_000}, "limit|cut off"),
        ({"NumberOfFrames": -3}, "no voxels"),
        ({"BitsAllocated": 7}, "7 bits"),
        ({"SamplesPerPixel": 200}, "200 samples"),
        ({"PixelData": None}, "no pixels"),
    ],
)
def test_absurd_headers_are_refused_before_memory_is_taken(
    tmp_path: Path, tags: dict[str, int], message: str
) -> None:
    made = make.set_tags(make.ct_slice(make.stored_volume(1)[0], (0, 0, 0)), **tags)
    path = make.save(made, tmp_path / "one")
    tracemalloc.start()
    with pytest.raises(ReadError, match=message):
        read_dicom(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_compressed_stream_that_claims_another_size_is_refused(tmp_path: Path) -> None:
    path = make.transcode(
        make.save(make.ct_slice(make.stored_volume(1, 64, 64)[0], (0, 0, 0)), tmp_path / "one"),
        uid.JPEG2000Lossless,
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\x4f\xff\x51") + 8
    assert stream_size(bytes(data[at - 8 :])) == (64, 64)
    data[at : at + 8] = (100_000).to_bytes(4, "big") * 2
    path.write_bytes(data)
    with pytest.raises(ReadError, match="100000 x 100000"):
        read_dicom(path)


def test_a_deflate_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 10**6)
    monkeypatch.setattr(limits, "MAX_EXPANSION", 5)
    path = make.save(
        make.dataset(np.zeros((2000, 2000), np.uint16)), tmp_path / "one", uid.DeflatedExplicitVRLittleEndian
    )
    assert path.stat().st_size < 10**5
    with pytest.raises(ReadError, match="grow beyond"):
        read_dicom(path)


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medmvl.imaging.dicom.MAX_FILES", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"")
    with pytest.raises(ReadError, match="more than 3 files"):
        read_dicom_folder(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(["plain", "deflated", "jpeg2000", "rle", "enhanced"]))
    raw = bytearray(_source(tmp_path, source))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(128, len(raw) - 1))
        raw[at] = data.draw(st.one_of(st.sampled_from([0, 0x7F, 0x80, 0xFF]), st.integers(0, 255)))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(1, len(raw))) :]
    path = tmp_path / "mutated"
    path.write_bytes(raw)
    try:
        image = read_dicom(path)
    except UserError as error:
        assert "SECRET" not in str(error)
    else:
        assert image.array.size > 0


def _source(folder: Path, name: str) -> bytes:
    path = folder / f"source-{name}"
    if not path.exists():
        plane = make.stored_volume(1, 64, 64)[0]
        made = (
            make.enhanced(make.stored_volume(3), rescale=[(1, k) for k in range(3)])
            if name == "enhanced"
            else None
        )
        made = made or make.ct_slice(plane, (0, 0, 0), PixelPaddingValue=7)
        syntax = uid.DeflatedExplicitVRLittleEndian if name == "deflated" else uid.ExplicitVRLittleEndian
        make.save(made, path, syntax)
        compressed = {"jpeg2000": uid.JPEG2000Lossless, "rle": uid.RLELossless}.get(name)
        if compressed:
            make.transcode(path, compressed)
    return path.read_bytes()


@given(head=st.binary(max_size=200))
def test_sniffing_takes_any_bytes(head: bytes) -> None:
    assert sniff_dicom(head, Path("x")) in (True, False)


def test_files_without_a_preamble_are_recognised_and_text_is_not(tmp_path: Path) -> None:
    path = make.save(
        make.ct_slice(make.stored_volume(1)[0], (0, 0, 0)), tmp_path / "one", uid.ImplicitVRLittleEndian
    )
    full = path.read_bytes()
    body = full[full.index(b"\x08\x00\x08\x00" if b"\x08\x00\x08\x00" in full else b"\x08\x00\x16\x00") :]
    path.write_bytes(body)
    assert sniff_dicom(body[:144], path)
    assert read_dicom(path).units == "HU"
    for junk in (
        b"",
        b"\x08",
        b"\x89PNG\r\n" + b"\0" * 20,
        b"hello, this is text",
        b"\0" * 200,
        b"\x08\x00" * 80,
    ):
        assert not sniff_dicom(junk, path)


def test_nothing_identifying_comes_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), Modality="SECRETIVE", Units="SECRET UNIT")
    path = make.save(made, tmp_path / "one")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        image = read_dicom(path)
    said = [
        repr(image),
        str(image.warnings),
        str(image.modality),
        image.units,
        caplog.text,
        *map(str, caught),
    ]
    assert not any("SECRET" in text or "1901" in text or "666" in text for text in said)
    assert image.modality == "CT" and "SOP Class" in image.warnings[0]


def test_values_that_cannot_be_parsed_are_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = valid_file(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"-1024.0 ", b"SECRETIV", 1))
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(ReadError) as error:
            read_dicom(path)
    assert not any("SECRET" in text for text in (str(error.value), caplog.text, *map(str, caught)))
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_pydicom_may_speak_again_after_reading(tmp_path: Path) -> None:
    before = list(warnings.filters)
    read_dicom(valid_file(tmp_path))
    assert list(warnings.filters) == before
    assert logging.getLogger("pydicom").level != logging.CRITICAL + 1


@pytest.mark.parametrize("path", sorted(p for p in PACKAGED.rglob("*") if p.is_file()), ids=lambda p: p.name)
def test_files_packaged_with_pydicom_are_read_or_refused_clearly(path: Path) -> None:
    if path.name.startswith("DICOMDIR"):
        with pytest.raises(ReadError):
            read_dicom(path)
        return
    with path.open("rb") as stream:
        if not sniff_dicom(stream.read(1024), path):
            return
    header = dicom_header.read_header(path)
    try:
        image = read_dicom(path)
    except dicom_series.AmbiguousSourceError:
        image = read_dicom(path, Selector(frame=1))
    except ReadError:
        damaged = ("truncated", "embedded", "badVR", "meta_missing", "nested_priv")
        assert header.pixel_keyword is None or any(word in path.name for word in damaged), path.name
        return
    assert image.array.size > 0 and np.isfinite(image.array).all()
