"""What a DICOM header says of colours, depth and parts of an object: read as it says, told, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from medmvl.errors import ReadError
from medmvl.imaging import read
from tests.factories import dicom as make

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])
STORED = make.stored_volume(4)


def written(
    path: Path, pixels: np.ndarray, modality: str = "OT", data: bytes | None = None, **tags: Any
) -> Path:
    made = make.dataset(pixels, modality, **tags)
    if data is not None:
        made["PixelData"].value = data
    return make.save(made, path / "one.dcm")


def told(path: Path) -> list[str]:
    return [one for one in read(path).warnings if "burned" not in one]


@pytest.mark.parametrize("term", ["HSV", "CMYK", "ARGB", "YBR_PARTIAL_422"])
def test_colours_that_would_be_read_as_others_are_refused_by_name(tmp_path: Path, term: str) -> None:
    with pytest.raises(ReadError, match=term):
        read(written(tmp_path, RGB, PhotometricInterpretation=term))


def test_four_samples_and_negative_colours_are_refused(tmp_path: Path) -> None:
    four = np.concatenate([RGB, RGB[..., :1]], -1)
    with pytest.raises(ReadError, match="4 samples"):
        read(written(tmp_path, RGB, SamplesPerPixel=4, PhotometricInterpretation="CMYK", data=four.tobytes()))
    with pytest.raises(ReadError, match="negative"):
        read(written(tmp_path, RGB.astype(np.int8)))


@pytest.mark.parametrize("term", ["MONOCHROME2", "MONOCHROME3", None])
def test_three_samples_under_a_wrong_term_are_told(tmp_path: Path, term: str | None) -> None:
    path = written(tmp_path, RGB, PhotometricInterpretation=term)
    assert np.array_equal(read(path).array, RGB) and any("RGB" in one for one in told(path))


@pytest.mark.parametrize("term", ["RGB", "MONOCHROME3", None])
def test_one_sample_under_a_wrong_term_is_told(tmp_path: Path, term: str | None) -> None:
    path = written(tmp_path, GREY, PhotometricInterpretation=term)
    assert np.array_equal(read(path).array, GREY) and any("Photometric" in one for one in told(path))
    assert told(written(tmp_path, GREY)) == []


def test_colours_without_planes_are_pixel_by_pixel(tmp_path: Path) -> None:
    path = written(tmp_path, RGB, PlanarConfiguration=None)
    assert np.array_equal(read(path).array, RGB) and any("Planar Configuration" in one for one in told(path))


def test_planes_and_half_chroma(tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    path = written(tmp_path, RGB, PlanarConfiguration=1, data=RGB.transpose(2, 0, 1).tobytes())
    assert np.array_equal(read(path).array, RGB)
    ybr = convert_color_space(RGB, "RGB", "YBR_FULL")
    ybr[:, 1::2, 1:] = ybr[:, ::2, 1:]
    half = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    path = written(tmp_path, RGB, PhotometricInterpretation="YBR_FULL_422", data=half.tobytes())
    assert np.array_equal(read(path).array, convert_color_space(ybr, "YBR_FULL", "RGB"))


@pytest.mark.parametrize("bits", [4, 6, 7, 8])
def test_white_is_the_largest_number_of_shallow_images(tmp_path: Path, bits: int) -> None:
    shallow = RGB >> (8 - bits)
    image = read(written(tmp_path, shallow, BitsStored=bits))
    assert np.array_equal(image.array, shallow.astype(int) * 255 // (2**bits - 1))
    grey = read(written(tmp_path, shallow[..., 0].copy(), BitsStored=bits))
    assert np.array_equal(grey.array, shallow[..., 0])
    assert grey.units == ("display" if bits == 8 else "arbitrary"), "scaled between percentiles"


def test_signed_bytes_are_no_brightness(tmp_path: Path) -> None:
    image = read(written(tmp_path, GREY.astype(np.int8)))
    assert image.units == "arbitrary" and np.array_equal(image.array, GREY.astype(np.int8))


def test_video_is_refused_by_name_before_a_frame_is_asked_for(tmp_path: Path) -> None:
    made = make.dataset(RGB, "ES", PhotometricInterpretation="YBR_PARTIAL_420", NumberOfFrames=10)
    made.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    made.PixelData = encapsulate([bytes(100)])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(tmp_path / "v.dcm", enforce_file_format=True)
    with pytest.raises(ReadError, match="video"):
        read(tmp_path / "v.dcm")


def test_a_palette_without_a_colour_says_which(tmp_path: Path) -> None:
    tables = {}
    for colour in ("Red", "Green"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = (np.arange(256) * 257).astype("<u2").tobytes()
    with pytest.raises(ReadError, match="BluePalette"):
        read(written(tmp_path, GREY, "US", PhotometricInterpretation="PALETTE COLOR", **tables))


def test_raw_detector_values_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, STORED[0], "DX", SOPClassUID=uid.DigitalXRayImageStorageForProcessing)
    assert any("FOR PROCESSING" in one for one in told(path))
    assert any(
        "FOR PROCESSING" in one
        for one in told(written(tmp_path, STORED[0], "MG", PresentationIntentType="FOR PROCESSING"))
    )
    assert told(written(tmp_path, STORED[0], "DX", PresentationIntentType="FOR PRESENTATION")) == []


@pytest.mark.parametrize(("parts", "missing"), [((1, 2), None), ((2,), "no. 1"), ((1,), "no. 2")])
def test_a_part_of_an_object_says_that_it_is_one(
    tmp_path: Path, parts: tuple[int, ...], missing: str | None
) -> None:
    for part in parts:
        planes = slice(2 * part - 2, 2 * part)
        places = [(0.0, 0.0, 3.0 * k) for k in range(4)][planes]
        made = make.enhanced(STORED[planes], positions=places, rescale=[(1, -1024)])
        made.SOPInstanceUID = f"1.2.9.{part}"
        made.ConcatenationUID, made.InConcatenationNumber, made.InConcatenationTotalNumber = "1.2.8", part, 2
        make.save(made, tmp_path / f"{part}.dcm")
    image = read(tmp_path)
    assert len(image.array) == 2 * len(parts)
    assert told(tmp_path) == [] if missing is None else any(missing in one for one in told(tmp_path))
    if missing is None:
        assert np.array_equal(image.array, STORED.astype(int) - 1024)


def test_an_object_without_pixels_says_what_it_is(tmp_path: Path) -> None:
    for sop, name in ((uid.RTStructureSetStorage, "RT Structure Set"), (uid.BasicTextSRStorage, "Basic Text SR"),
                      ("1.2.3.4.5", "holds no pixels")):  # fmt: skip
        made = make.dataset(GREY, SOPClassUID=sop)
        del made.PixelData, made.Rows
        with pytest.raises(ReadError, match=name):
            read(make.save(made, tmp_path / "o.dcm"))
