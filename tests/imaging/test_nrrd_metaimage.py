"""NRRD and MetaImage agree with their own libraries, keep places, and stay inside their folder."""

import bz2
import gzip

import nrrd
import numpy as np
import pytest

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging import read
from tests.factories.imaging import numbered

DIRECTIONS = np.array([[0.7, 0.1, 0.0], [-0.1, 0.8, 0.2], [0.0, -0.3, 5.0]])
ORIGIN = np.array([-7.0, 5.0, 30.0])
TO_RAS = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "LAS": (-1, 1, 1)}


def check_places(image, array, affine):
    for ijk in np.ndindex(array.shape):
        index = np.linalg.inv(image.affine) @ affine @ [*ijk, 1]
        assert image.array[tuple(np.round(index[:3]).astype(int))] == array[ijk]
        assert np.abs(index - np.round(index)).max() < 1e-4


def ras_affine(signs):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = DIRECTIONS.T, ORIGIN
    return np.diag([*signs, 1]) @ affine


@pytest.mark.parametrize("space", TO_RAS)
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
def test_nrrd_voxels_are_where_the_file_says(tmp_path, space, encoding, name):
    array = numbered((3, 4, 5))
    header = {"space": space, "space directions": DIRECTIONS, "space origin": ORIGIN, "encoding": encoding}
    nrrd.write(str(tmp_path / name), array, header)
    image = read(tmp_path / name)
    check_places(image, array, ras_affine(TO_RAS[space]))
    assert image.source_format == "nrrd"


def test_nrrd_without_a_space_has_no_orientation(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), numbered((3, 4, 5)), {"spacings": [0.7, 0.8, 5.0]})
    image = read(tmp_path / "a.nrrd")
    assert image.affine is None
    assert image.spacing_mm == (5.0, 0.8, 0.7)
    assert np.array_equal(image.array, numbered((3, 4, 5)).T)


@pytest.mark.parametrize("axis", [0, 3])
def test_nrrd_lists_are_chosen_from_and_vectors_refused(tmp_path, axis):
    array = numbered((3, 4, 5, 2)) if axis == 3 else np.moveaxis(numbered((3, 4, 5, 2)), 3, 0)
    kinds = ["list" if i == axis else "domain" for i in range(4)]
    directions = np.insert(DIRECTIONS, axis, np.nan, axis=0)
    header = {"space": "LPS", "space directions": directions, "space origin": ORIGIN, "kinds": kinds}
    nrrd.write(str(tmp_path / "a.nrrd"), array, header)
    with pytest.raises(AmbiguousSourceError, match="#time=2"):
        read(tmp_path / "a.nrrd")
    check_places(read(f"{tmp_path}/a.nrrd#time=2"), numbered((3, 4, 5, 2))[..., 1], ras_affine((-1, -1, 1)))
    header["kinds"] = ["vector" if i == axis else "domain" for i in range(4)]
    nrrd.write(str(tmp_path / "b.nrrd"), array, header)
    with pytest.raises(ReadError, match="vector"):
        read(tmp_path / "b.nrrd")


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/hostname", "missing.raw", "LIST", "a%03d.raw 1 3 1"])
def test_pixels_outside_the_folder_are_refused(tmp_path, name):
    (tmp_path / "secret.raw").write_bytes(b"\0" * 120)
    (tmp_path / "in").mkdir()
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: raw\n"
    (tmp_path / "in" / "a.nhdr").write_text(f"{header}data file: {name}\n\n")
    (tmp_path / "in" / "a.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = {name}\n"
    )
    for suffix in ("nhdr", "mhd"):
        with pytest.raises(ReadError):
            read(tmp_path / "in" / f"a.{suffix}")


def test_nrrd_bombs_and_cut_files(tmp_path):
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: {0} {0} {0}\nencoding: {1}\n\n"
    bomb = b"\0" * 10_000_000
    for encoding, body in (("gzip", gzip.compress(bomb)), ("bzip2", bz2.compress(bomb)), ("raw", b"12")):
        for side in (1200, 1500, 30000):
            (tmp_path / "a.nrrd").write_bytes(header.format(side, encoding).encode() + body)
            if encoding == "bzip2" and side == 1200:
                continue
            with pytest.raises(ReadError):
                read(tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").write_bytes(header.format(10, "gzip").encode() + gzip.compress(bomb))
    assert read(tmp_path / "a.nrrd").shape == (10, 10, 10)  # no more than the header says is unpacked


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_metaimage_equals_what_itk_wrote(tmp_path, compressed, name, dtype):
    sitk = pytest.importorskip("SimpleITK")
    array = numbered((3, 4, 5), dtype)
    direction = np.linalg.qr(DIRECTIONS)[0]
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing((0.7, 0.8, 5.0))
    image.SetOrigin(ORIGIN.tolist())
    image.SetDirection(direction.reshape(-1).tolist())
    sitk.WriteImage(image, str(tmp_path / name), compressed)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * [0.7, 0.8, 5.0], ORIGIN
    found = read(tmp_path / name)
    check_places(found, array, np.diag([-1.0, -1, 1, 1]) @ affine)
    assert found.source_format == "metaimage"


def test_metaimage_time_modality_and_silence(tmp_path):
    head = (
        "ObjectType = Image\nNDims = 4\nDimSize = 3 4 5 2\nElementType = MET_SHORT\nModality = MET_MOD_CT\n"
    )
    body = numbered((2, 5, 4, 3)).tobytes()
    (tmp_path / "a.mha").write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + body)
    with pytest.raises(AmbiguousSourceError, match="#time=2"):
        read(tmp_path / "a.mha")
    image = read(f"{tmp_path}/a.mha#time=2")
    assert np.array_equal(image.array, numbered((2, 5, 4, 3))[1])
    assert (image.modality, image.affine, image.spacing_mm) == ("CT", None, None)
    (tmp_path / "b.mha").write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + body[:-1])
    with pytest.raises(ReadError, match="cut short"):
        read(tmp_path / "b.mha#time=1")


BEYOND = {
    "a.nrrd": (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 {}\nspacings: 1 1 1\nendian: little\nencoding: raw\n",
        "\n",
        "data file: a.raw\n\n",
    ),
    "a.mhd": (
        "NDims = 3\nDimSize = 5 4 {}\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n",
        "ElementDataFile = LOCAL\n",
        "ElementDataFile = a.raw\n",
    ),
}
"""Header with a place for the number of slices, and its end where pixels follow it and where they lie in a file."""


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(("slices", "told"), [(3, False), (2, True)])
def test_what_lies_beyond_the_count_is_told(tmp_path, name, attached, slices, told):
    pixels = np.arange(3 * 4 * 5, dtype="<i2").tobytes()
    header, end, elsewhere = BEYOND[name]
    header = header.format(slices) + (end if attached else elsewhere)
    (tmp_path / name).write_bytes(header.encode() + (pixels if attached else b""))
    if not attached:
        (tmp_path / "a.raw").write_bytes(pixels)
    image = read(tmp_path / name)
    assert image.shape[0] == slices
    assert any("more than its header counts" in warning for warning in image.warnings) is told
