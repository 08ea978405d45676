"""The fast walk over a header gives what pydicom's parser gives, or leaves the file to it; never anything else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medmvl.errors import ReadError
from medmvl.imaging import dicom_header, dicom_values
from medmvl.imaging.dicom_header import DicomFile, read_header
from medmvl.imaging.dicom_scan import WINDOW_BYTES, scan_header
from medmvl.imaging.dicom_values import PARSER_ERRORS
from tests.factories.dicom import ct_slice, item, save

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
SYNTAXES = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]


def slice_with(**tags: object) -> Dataset:
    return ct_slice(PIXELS, (-10.0, -20.0, 1e-3), **tags)


def nested(undefined: bool) -> Dataset:
    """A slice with sequences in sequences, one of them private, of stated or undefined length."""
    inner = item(CodeValue="1", CodeMeaning="CHEST")
    outer = Dataset()
    outer.ScheduledProtocolCodeSequence = inner
    made = slice_with(RequestAttributesSequence=Sequence([outer, outer]))
    block = made.private_block(0x0029, "OWNER", create=True)
    block.add_new(1, "SQ", Sequence([outer]))
    block.add_new(2, "SQ", Sequence([]))
    for sequence in (made["RequestAttributesSequence"], outer["ScheduledProtocolCodeSequence"], block[1]):
        sequence.is_undefined_length = undefined
        for one in sequence.value:
            one.is_undefined_length_sequence_item = undefined
    return made


def long_header() -> Dataset:
    """Elements longer than what is read at a time, before, at and after ones that are wanted."""
    made = slice_with(ContrastBolusAgent="A" * 40)
    for number, group in enumerate((0x0009, 0x0019, 0x0029)):
        block = made.private_block(group, "OWNER", create=True)
        block.add_new(1, "OB", b"\x01" * (WINDOW_BYTES * number + 20_000))
    return made


MADE = {
    "plain": slice_with,
    "sequences of stated length": lambda: nested(False),
    "sequences of undefined length": lambda: nested(True),
    "long": long_header,
    "empty elements": lambda: slice_with(SliceThickness="", ConvolutionKernel="", AcquisitionNumber=""),
    "another character set": lambda: slice_with(
        SpecificCharacterSet="ISO_IR 192", ContrastBolusAgent="Jod é"
    ),
}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit"])
@pytest.mark.parametrize("name", MADE)
def test_a_plain_file_is_walked_and_gives_what_pydicom_gives(tmp_path: Path, name: str, syntax: str) -> None:
    path = save(MADE[name](), tmp_path / "one.dcm", syntax)
    with path.open("rb") as stream:
        assert scan_header(stream.fileno()) is not None
    assert facts(read_header(path)) == facts(by_pydicom(path))
    assert read_header(path).header.original_encoding == by_pydicom(path).header.original_encoding


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit"])
def test_values_are_those_of_pydicom(tmp_path: Path, syntax: str) -> None:
    """Numbers and texts that are read without pydicom's types are equal to what it reads."""
    made = slice_with(
        InstanceNumber="0012", RescaleType="HU ", PixelSpacing=["1e-1", " 0.75"], SliceThickness="+2.50",
        ConvolutionKernel="B31f", SeriesNumber=7,
    )  # fmt: skip
    path = save(made, tmp_path / "one.dcm", syntax)
    file, known = read_header(path), pydicom.dcmread(path)
    assert file.integer("InstanceNumber") == known.InstanceNumber == 12
    assert file.text("SOPInstanceUID") == known.SOPInstanceUID
    assert file.text("ConvolutionKernel") == known.ConvolutionKernel
    assert dicom_values.tag_text(file.header, "RescaleType") == "HU"
    assert dicom_values.tag_floats(file.header, "PixelSpacing", 2) == tuple(known.PixelSpacing)
    assert dicom_values.tag_floats(file.header, "SliceThickness", 1) == (known.SliceThickness,)


def test_a_number_in_another_type_is_not_read_as_digits(tmp_path: Path) -> None:
    path = save(slice_with(SeriesNumber=12), tmp_path / "one.dcm")
    body = path.read_bytes()
    as_text = bytes.fromhex("20001100") + b"IS\x02\x0012"
    assert as_text in body
    path.write_bytes(body.replace(as_text, as_text.replace(b"IS", b"US")))
    assert read_header(path).integer("SeriesNumber") == int.from_bytes(b"12", "little")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit"])
@pytest.mark.parametrize("name", ["plain", "sequences of undefined length"])
def test_damaged_files_are_read_as_pydicom_reads_them(tmp_path: Path, name: str, syntax: str) -> None:
    body = save(MADE[name](), tmp_path / "one.dcm", syntax).read_bytes()
    rng, walked = random.Random(0), 0
    for number in range(80):
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged(body, rng) if number % 4 else body[: rng.randrange(132, len(body))])
        with path.open("rb") as stream:
            walked += scan_header(stream.fileno()) is not None
        assert facts_or_none(lambda: read_header(path)) == facts_or_none(lambda: by_pydicom(path)), number  # noqa: B023
    assert walked > 10


def damaged(body: bytes, rng: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(128, len(body))] = rng.choice(
            (0, 1, 2, 8, 0x28, 0x41, 0x7F, 0xFF, rng.randrange(256))
        )
    return bytes(changed)


def by_pydicom(path: Path) -> DicomFile:
    with dicom_header.silent_libraries(), path.open("rb") as stream:
        return dicom_header._parse_by_pydicom(path, stream)


def facts(file: DicomFile) -> tuple[object, ...]:
    elements = {
        int(tag): (e.VR, e.value, e.is_implicit_VR)  # type: ignore[union-attr]
        for tag, e in file.header._dict.items()
        if tag != 0x00080005  # pydicom keeps it, parsed
    }
    return (
        file.syntax, file.big_endian, file.pixel_keyword, file.pixel_vr, file.pixel_offset, file.pixel_length,
        file.identity, {tag: value for tag, value in file.raw.items() if tag != 0x00080005}, elements,
        file.header._character_set,
    )  # fmt: skip


def facts_or_none(read: object) -> tuple[object, ...] | None:
    try:
        return facts(read())  # type: ignore[operator]
    except (ReadError, *PARSER_ERRORS):
        return None
