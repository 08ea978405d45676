"""NIfTI files that would break a naive reader."""

import gzip
import json
import struct

import nibabel as nib
import numpy as np
import pytest

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging import read
from medmvl.imaging.geometry import reverse_axes
from tests.factories.imaging import nifti_file, numbered

RAS = np.diag([0.7, 0.8, 5.0, 1.0])
OBLIQUE = np.array([[0.6, 0.1, 1.0, -7], [-0.2, 0.8, 0.9, 5], [0.1, -0.3, 4.0, 3], [0, 0, 0, 1.0]])


def check_places(image, array, affine):
    """Every voxel (i, j, k) of the file is found at its millimetres in the image."""
    for ijk in np.ndindex(array.shape):
        index = np.linalg.inv(image.affine) @ affine @ [*ijk, 1]
        assert np.allclose(index, np.round(index), atol=1e-3)
        assert image.array[tuple(np.round(index[:3]).astype(int))] == pytest.approx(array[ijk], rel=1e-6)


@pytest.mark.parametrize(
    "affine", [RAS, np.diag([-1, -1, 1, 1]) @ RAS, OBLIQUE], ids=["ras", "las", "sheared"]
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "wrong.png"])
def test_every_voxel_is_where_the_file_says(tmp_path, affine, version, name):
    array = numbered((3, 4, 5))
    path = nifti_file(
        tmp_path / ("a.nii" if name == "wrong.png" else name if name != "a.hdr" else "a.nii"),
        array,
        affine,
        version,
    )
    if name == "wrong.png":
        path = path.rename(tmp_path / name)
    if name == "a.hdr":
        pair = nib.Nifti1Pair if version == 1 else nib.Nifti2Pair
        loaded = nib.load(path)
        nib.save(pair(array, affine, loaded.header), tmp_path / "pair.hdr")
        path = tmp_path / "pair.hdr"
    image = read(path)
    check_places(image, array, affine)
    assert image.axcodes == ("S", "P", "L")
    assert image.acquired_axcodes == nib.aff2axcodes(affine)[::-1]
    assert image.array.dtype == np.int16
    assert image.source_format == "nifti"


def test_the_pixel_file_of_a_pair_leads_to_its_header(tmp_path):
    nib.save(nib.Nifti1Pair(numbered((2, 3, 4)), RAS), tmp_path / "a.img")
    assert np.array_equal(read(tmp_path / "a.img").array, read(tmp_path / "a.hdr").array)
    (tmp_path / "a.img").unlink()
    with pytest.raises(ReadError, match=r"\.img"):
        read(tmp_path / "a.hdr")


def test_big_endian(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nib.Nifti1Image(numbered((3, 4, 5)).astype(">i2"), RAS, header)
    image.set_sform(RAS, code=1)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    check_places(read(tmp_path / "a.nii"), numbered((3, 4, 5)), RAS)


def test_slope_and_intercept(tmp_path):
    array = numbered((3, 4, 5))
    path = nifti_file(tmp_path / "a.nii", array, RAS)
    patch(path, 112, "<f", 0.5)
    patch(path, 116, "<f", -1024.0)
    image = read(path)
    assert image.array.dtype == np.float32
    check_places(image, array * 0.5 - 1024, RAS)
    patch(path, 112, "<f", 1.0)
    assert read(path).array.dtype == np.int16
    assert read(path).array.min() == -1024


def patch(path, offset, code, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(code, data, offset, *values)
    path.write_bytes(data)


def test_without_orientation_nothing_is_invented_until_it_is_declared(tmp_path):
    array = numbered((3, 4, 5))
    path = nifti_file(
        tmp_path / "a.nii", array, None, pixdim=[1, 0.7, 0.8, 5, 0, 0, 0, 0], qform_code=0, sform_code=0
    )
    image = read(path)
    assert image.affine is None
    assert image.axcodes is None
    assert image.spacing_mm == pytest.approx((5, 0.8, 0.7))
    assert np.array_equal(image.array, array.T)
    assert any("orientation is unknown" in warning for warning in image.warnings)
    declared = read(path, axcodes="SAR")
    assert declared.acquired_axcodes == ("S", "A", "R")
    assert np.array_equal(declared.array, array.T[:, ::-1, ::-1])
    assert declared.warnings == ()


def test_qform_alone_and_sform_first(tmp_path):
    array, shifted = numbered((3, 4, 5)), RAS.copy()
    shifted[:3, 3] = 9
    image = nib.Nifti1Image(array, RAS)
    image.set_qform(shifted, code=1)
    image.set_sform(RAS, code=0)
    nib.save(image, tmp_path / "q.nii")
    check_places(read(tmp_path / "q.nii"), array, shifted)
    image.set_sform(RAS, code=2)
    nib.save(image, tmp_path / "s.nii")
    check_places(read(tmp_path / "s.nii"), array, RAS)


def test_a_useless_sform_gives_way_to_the_qform(tmp_path):
    image = nib.Nifti1Image(numbered((3, 4, 5)), RAS)
    image.set_qform(RAS, code=1)
    image.set_sform(np.zeros((4, 4)), code=1)
    nib.save(image, tmp_path / "a.nii")
    found = read(tmp_path / "a.nii")
    assert np.allclose(found.affine @ np.linalg.inv(found.affine), np.eye(4))
    assert any("sform" in warning for warning in found.warnings)


def test_time_points_are_listed_and_chosen(tmp_path):
    array = numbered((3, 4, 5, 2))
    path = nifti_file(tmp_path / "bold.nii.gz", array, RAS)
    with pytest.raises(AmbiguousSourceError, match=r"#time=1 \.\.\. #time=2"):
        read(path)
    check_places(read(f"{path}#time=2"), array[..., 1], RAS)
    with pytest.raises(ReadError, match="only 2"):
        read(f"{path}#time=3")
    with pytest.raises(ReadError, match="#frame=1"):
        read(f"{path}#frame=1")


def test_a_trailing_single_time_point_is_a_plain_volume(tmp_path):
    assert read(nifti_file(tmp_path / "a.nii", numbered((3, 4, 5, 1)), RAS)).shape == (5, 4, 3)
    assert read(nifti_file(tmp_path / "b.nii", numbered((3, 4)), RAS)).shape == (1, 4, 3)


def test_nan_becomes_the_smallest_value_and_says_so(tmp_path):
    array = numbered((3, 4, 5), np.float32)
    array[1, 1, 1], array[2, 2, 2] = np.nan, np.inf
    image = read(nifti_file(tmp_path / "a.nii", array, RAS))
    assert np.isfinite(image.array).all()
    assert (image.array == 0).sum() == 3
    assert any("2 voxels are not finite" in warning for warning in image.warnings)
    with pytest.raises(ReadError, match="no voxel"):
        read(nifti_file(tmp_path / "b.nii", np.full((2, 2, 2), np.nan, np.float32), RAS))


def test_units_are_declared_never_guessed(tmp_path):
    array = np.linspace(-1000, 1500, 60).reshape(3, 4, 5).astype(np.int16)
    path = nifti_file(tmp_path / "ct.nii", array, RAS)
    plain = read(path)
    assert plain.units == "arbitrary"
    assert "units=HU" in plain.warnings[0]
    assert read(path, units="HU").units == read(path, modality="CT").units == "HU"
    assert read(path, modality="ct").modality == "CT"
    assert read(path, units="HU").warnings == ()
    with pytest.raises(ReadError, match="contradicts"):
        read(path, spacing_mm=(1, 1, 1))
    with pytest.raises(ReadError, match="contradict"):
        read(path, axcodes="IPL")


def test_a_ct_scaled_to_one_is_not_called_hounsfield(tmp_path):
    image = read(
        nifti_file(tmp_path / "a.nii", np.random.rand(3, 4, 5).astype(np.float32), RAS), modality="CT"
    )
    assert image.units == "arbitrary"
    assert any("may not be Hounsfield" in warning for warning in image.warnings)


def test_colour_and_complex_voxels(tmp_path):
    rgb = np.zeros((3, 4, 1), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    image = read(nifti_file(tmp_path / "a.nii", rgb, RAS))
    assert image.shape == (4, 3, 3)
    assert (image.array[..., 1] == 7).all()
    with pytest.raises(ReadError, match="real numbers"):
        read(nifti_file(tmp_path / "c.nii", np.zeros((2, 2, 2), np.complex64), RAS))


@pytest.mark.parametrize("keep", [1, 100, 347, 352, 400])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_cut_file_is_refused(tmp_path, keep, compressed):
    whole = nifti_file(tmp_path / "a.nii", numbered((9, 9, 9)), RAS).read_bytes()
    path = tmp_path / ("b.nii.gz" if compressed else "b.nii")
    path.write_bytes(gzip.compress(whole[:keep]) if compressed else whole[:keep])
    with pytest.raises(ReadError):
        read(path)
    path.write_bytes(gzip.compress(whole)[:keep] if compressed else whole[: keep + 300])
    with pytest.raises(ReadError):
        read(path)


def test_a_wrong_checksum_is_refused(tmp_path):
    data = bytearray(gzip.compress(nifti_file(tmp_path / "a.nii", numbered((9, 9, 9)), RAS).read_bytes()))
    data[-8] ^= 1
    (tmp_path / "b.nii.gz").write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        read(tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    "dims", [(3, 30000, 30000, 30000), (3, 2000, 2000, 200), (3, -4, 5, 6), (3, 0, 5, 6), (77, 1, 1, 1)]
)
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, dims):
    path = nifti_file(tmp_path / "a.nii", numbered((3, 4, 5)), RAS)
    patch(path, 40, "<4h", *dims)
    with pytest.raises(ReadError):
        read(path)
    zipped = tmp_path / "a.nii.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ReadError):
        read(zipped)


def test_micrometres_become_millimetres(tmp_path):
    path = nifti_file(tmp_path / "a.nii", numbered((3, 4, 5)), np.diag([700.0, 800, 5000, 1]), xyzt_units=3)
    assert read(path).spacing_mm == pytest.approx((5, 0.8, 0.7))


def test_reversing_axes_twice_is_nothing():
    assert np.array_equal(reverse_axes(reverse_axes(OBLIQUE)), OBLIQUE)


@pytest.mark.real_data
def test_every_fact_about_the_real_nifti_files(real_data):
    facts = json.loads((real_data / "facts.json").read_text())["nifti"]
    assert len(facts) == 9
    for fact in facts:
        image = read(real_data / fact["file"])
        assert image.shape != ()
        assert image.acquired_axcodes == tuple(fact["axcodes"])[::-1]
        assert sorted(image.spacing_mm) == pytest.approx(sorted(fact["zooms"]), abs=1e-4)
        assert image.array.mean(dtype=np.float64) == pytest.approx(fact["mean"], abs=1e-3)
        assert (float(image.array.min()), float(image.array.max())) == pytest.approx(
            (fact["min"], fact["max"]), rel=1e-6
        )
        for voxel in fact["voxels"]:
            index = np.linalg.inv(image.affine) @ [*voxel["ras_mm"], 1]
            assert np.abs(index - np.round(index)).max() < 2e-3
            assert image.array[tuple(np.round(index[:3]).astype(int))] == pytest.approx(
                voxel["value"], rel=1e-6
            )


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("sizes", "type_", "told"), [
    ((4, 3, 2), np.int16, True),  # a volume of two is counted
    ((4, 3, 3), np.int16, True),  # a slice is lost
    ((4, 3, 4), np.int16, False), ((4, 3, 4), np.int8, True),
])  # fmt: skip
def test_what_lies_beyond_the_count_is_told(tmp_path, name, sizes, type_, told):
    path = nifti_file(tmp_path / "whole.nii", numbered((4, 3, 4)).astype(np.int16), RAS)
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header.from_fileobj(path.open("rb"))
    header.set_data_shape(sizes)
    header.set_data_dtype(type_)
    data[:348] = header.binaryblock
    (tmp_path / name).write_bytes(gzip.compress(bytes(data)) if name.endswith("gz") else bytes(data))
    image = read(tmp_path / name)
    assert any("more than its header counts" in warning for warning in image.warnings) is told
