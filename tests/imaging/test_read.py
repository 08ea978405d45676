"""One entry point: content decides, selectors choose, and bad input gives one clear message."""

import io
import os
import zipfile
from pathlib import Path

import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from medmvl.errors import ReadError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.selector import Selector, parse_selector, split_selector
from medmvl.imaging.write import write_dicom_series, write_nifti, write_npy
from tests.factories.imaging import numbered, volume


def test_selectors():
    assert split_selector("a/b.nii") == (Path("a/b.nii"), Selector())
    assert split_selector("a#b/c.nii#time=3") == (Path("a#b/c.nii"), Selector(time=3))
    assert split_selector("d#series=2#frame=7") == (Path("d"), Selector(series=2, frame=7))
    assert str(Selector(series=2, frame=7)) == "#series=2#frame=7"
    named = Selector(series="5f3a9c01d2ab", frame=7)
    assert split_selector("d#series=5f3a9c01d2ab#frame=7") == (Path("d"), named)
    assert str(named) == "#series=5f3a9c01d2ab#frame=7"
    assert (
        parse_selector("series=123456789012").series == "123456789012"
    )  # twelve digits are a digest, nine a number
    for bad in ("a#time=0", "a#time=x", "a#slice=3", "a#time=1#time=2", "a#time=-1", "a#time="):
        with pytest.raises(ReadError):
            split_selector(bad)


def test_a_file_whose_name_looks_like_a_selector(tmp_path):
    np.save(tmp_path / "a#time=1.npy", numbered((4, 5)))
    assert read(tmp_path / "a#time=1.npy").shape == (4, 5)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"%PDF-1.4 junk", b"GIF89a" + b"\0" * 50, b"\x1f\x8b\x08junk", b"PK\x03\x04junk"],
)
def test_what_is_not_an_image_is_refused_with_the_path_in_front_and_not_in_the_cause(tmp_path, content):
    path = tmp_path / "secret-name.png"
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "secret-name" not in str(caught.value.__cause__)


def test_missing_files_and_devices(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "nothing.nii")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReadError, match="neither"):
        read(tmp_path / "pipe")


def test_the_supported_formats_are_listed(tmp_path):
    (tmp_path / "a.txt").write_text("words, nothing else")
    with pytest.raises(ReadError, match=r"NIfTI.*NRRD.*MetaImage.*NumPy.*PNG.*DICOM"):
        read(tmp_path / "a.txt")


def test_a_dicom_file_that_begins_like_a_tiff_is_dicom(tmp_path):
    write_dicom_series(volume((3, 4, 5)), tmp_path, patient_pseudonym="p")
    data = (tmp_path / "0001.dcm").read_bytes()
    (tmp_path / "0001.dcm").write_bytes(b"II*\0" + data[4:])
    assert read(tmp_path / "0001.dcm").source_format == "dicom"


def test_arrays_say_nothing_but_their_shape(tmp_path):
    np.save(tmp_path / "a.npy", numbered((4, 5, 6)))
    image = read(tmp_path / "a.npy")
    assert (image.kind, image.units, image.affine, image.spacing_mm) == ("volume", "arbitrary", None, None)
    declared = read(tmp_path / "a.npy", units="HU", spacing_mm=(5, 0.7, 0.8), axcodes="IPL", modality="CT")
    assert np.array_equal(declared.array, numbered((4, 5, 6))[::-1])
    assert declared.affine[2, 0] == 5
    assert (declared.units, declared.modality, declared.acquired_axcodes) == ("HU", "CT", ("I", "P", "L"))
    with pytest.raises(ReadError, match="spacing_mm"):
        read(tmp_path / "a.npy", axcodes="SPL")
    for bad in ({"axcodes": "SPX"}, {"axcodes": "SSL"}, {"spacing_mm": (0, 1, 1)}, {"spacing_mm": (1, 1)}):
        with pytest.raises(ReadError):
            read(tmp_path / "a.npy", **bad)


@pytest.mark.parametrize(
    ("array", "kind", "shape"),
    [
        (np.zeros((1, 4, 5, 6), np.float32), "volume", (4, 5, 6)),
        (np.zeros((4, 5), np.uint16), "image", (4, 5)),
        (np.zeros((4, 5, 3), np.uint8), "image", (4, 5, 3)),
        (np.zeros((4, 5, 3), np.int16), "volume", (4, 5, 3)),
        (np.zeros((4, 5, 6), bool), "volume", (4, 5, 6)),
    ],
)
def test_array_shapes(tmp_path, array, kind, shape):
    np.save(tmp_path / "a.npy", array)
    image = read(tmp_path / "a.npy")
    assert (image.kind, image.shape) == (kind, shape)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}]),
        np.zeros((2, 3, 4, 5)),
        np.zeros(3),
        np.zeros((0, 4, 5)),
        np.array("x"),
        np.zeros((2, 2), complex),
    ],
)
def test_arrays_that_are_no_image_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ReadError):
        read(tmp_path / "a.npy")


def test_an_array_whose_header_python_cannot_parse(tmp_path):
    np.save(tmp_path / "a.npy", numbered((4, 5)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"}", b" "))
    with pytest.raises(ReadError, match="damaged"):
        read(tmp_path / "a.npy")


def test_npz_with_several_arrays_lists_them(tmp_path):
    np.savez(tmp_path / "a.npz", train=np.zeros((4, 5)), test=np.zeros((4, 5)))
    with pytest.raises(ReadError, match="train, test"):
        read(tmp_path / "a.npz")


def test_an_npz_bomb_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (40000, 40000, 2)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("array.npy", header.getvalue() + b"\0" * 1000)
    with pytest.raises(ReadError, match=r"GiB|cut short"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("codes", ["SPL", "IAR", "RSP", "PIL"])
@pytest.mark.parametrize("name", ["a.npz", "a.nii", "a.nii.gz"])
def test_what_is_written_reads_back_equal(tmp_path, codes, name):
    image = volume((3, 4, 5), codes, (5.0, 0.75, 0.5), modality="CT")
    (write_npy if name == "a.npz" else write_nifti)(image, tmp_path / name)
    again = read(tmp_path / name) if name == "a.npz" else read(tmp_path / name, units="HU", modality="CT")
    assert np.array_equal(again.array, image.array)
    assert np.allclose(again.affine, image.affine, atol=1e-5)
    assert (again.units, again.modality) == ("HU", "CT")
    if name == "a.npz":
        assert again.acquired_axcodes == image.acquired_axcodes
    before = (tmp_path / name).read_bytes()
    (write_npy if name == "a.npz" else write_nifti)(image, tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def seed_files(folder: Path) -> list[bytes]:
    """One small valid file of each format."""
    image = volume((3, 4, 5))
    write_nifti(image, folder / "a.nii")
    write_nifti(image, folder / "b.nii.gz")
    write_npy(image, folder / "c.npz")
    np.save(folder / "d.npy", image.array)
    for encoding in ("raw", "gzip", "ascii"):
        nrrd.write(
            str(folder / f"{encoding}.nrrd"), numbered((3, 4, 5)), {"space": "LPS", "encoding": encoding}
        )
    head = "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementSpacing = 1 1 1\nOffset = 0 0 0\n"
    head += "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    body = f"{head}ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode()
    (folder / "f.mha").write_bytes(body + numbered((3, 4, 5)).tobytes())
    pil_image = Image.fromarray(numbered((9, 9, 3), np.uint8))
    for suffix in ("png", "jpg", "tiff", "bmp", "webp"):
        pil_image.save(folder / f"g.{suffix}")
    Image.fromarray(numbered((9, 9), np.uint16)).save(folder / "deep.png")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return seed_files(tmp_path_factory.mktemp("seeds"))


edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)


@given(st.integers(0, 10**6), edits, st.floats(0, 1), st.booleans())
@example(0, [(0.0, 0)], 1.0, False)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_an_image_or_one_error(seeds, tmp_path, which, changes, cut, near_the_start):
    data = bytearray(seeds[which % len(seeds)])
    for place, value in changes:
        span = min(len(data), 400) if near_the_start else len(data)
        data[int(place * (span - 1))] = value
    path = tmp_path / "file"
    path.write_bytes(data[: max(1, int(cut * len(data)))] if cut < 0.5 else data)
    try:
        image = read(path)
    except ReadError:
        return
    assert isinstance(image, MedicalImage)
    assert np.isfinite(image.array.astype(np.float64)).all()
