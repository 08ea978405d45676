"""Files other than DICOM as programs really write them, a little beside their standard: what everyone reads is read right."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK
import tifffile

from medmvl.errors import ReadError
from medmvl.imaging import read
from tests.factories.imaging import numbered

ARRAY = numbered((4, 5, 6))


def warned(path: Path, words: str, **declared: Any) -> bool:
    return any(words in warning for warning in read(path, **declared).warnings)


def with_qform(path: Path, **fields: Any) -> Path:
    """A NIfTI whose only orientation is its qform, with header fields as given; `pixdim0` is its qfac."""
    nib.save(nib.Nifti1Image(ARRAY, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data, nib.nifti1.header_dtype, count=1).copy()
    header["sform_code"], header["qform_code"] = 0, 1
    for name, value in fields.items():
        if name.startswith(("pixdim", "dim")):
            header[name[:-1]][0, int(name[-1])] = value
        else:
            header[name] = value
    data[:348] = header.tobytes()
    path.write_bytes(data)
    return path


def itk_affine(path: Path) -> np.ndarray:
    """Where ITK says the voxels of a file are, `(slices, rows, columns)` to RAS+ millimetres."""
    image = SimpleITK.ReadImage(str(path))
    turn = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn[:, ::-1], image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize(
    "fields",
    [
        {"pixdim0": 0},
        {"pixdim0": 3},
        {"pixdim0": -1},
        {"quatern_b": 0.70711, "quatern_c": 0.70711, "quatern_d": 0},
        {"quatern_b": 0.7072, "quatern_c": 0, "quatern_d": 0.7072},
        {"quatern_b": 0.1, "quatern_c": -0.2, "quatern_d": 0.3, "qoffset_x": 7},
    ],
    ids=str,
)
def test_a_qform_is_read_as_niftilib_reads_it(tmp_path: Path, fields: dict[str, float]) -> None:
    path = with_qform(tmp_path / "a.nii", **fields)
    image = read(path)
    assert image.affine is not None and image.warnings == ()
    stored, theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), itk_affine(path)
    assert np.array_equal(stored, ARRAY.T)
    for index in np.ndindex(stored.shape):
        ours = np.linalg.solve(image.affine, theirs @ [*index, 1])[:3]
        assert np.abs(ours - np.round(ours)).max() < 1e-3
        assert image.array[tuple(np.round(ours).astype(int))] == stored[index]


def test_a_quaternion_that_is_none_is_told(tmp_path: Path) -> None:
    path = with_qform(tmp_path / "a.nii", quatern_b=0.9, quatern_c=0.9)
    assert warned(path, "the qform is not a usable orientation") and read(path).axcodes is None


def test_negative_steps_of_a_qform_are_told(tmp_path: Path) -> None:
    image = read(with_qform(tmp_path / "a.nii", pixdim1=-1))
    assert image.acquired_axcodes == ("S", "A", "R") and image.spacing_mm == (3, 2, 1)
    assert "negative steps" in image.warnings[0]


def test_axes_of_length_0_are_not_there(tmp_path: Path) -> None:
    assert read(with_qform(tmp_path / "a.nii", dim0=5)).shape == (6, 5, 4)
    assert read(with_qform(tmp_path / "a.nii", dim0=4, dim4=0)).shape == (6, 5, 4)


@pytest.mark.parametrize("tail", [b"\0" * 512, b"garbage!", b"\x1f\x8c" + b"x" * 40])
def test_what_follows_a_whole_gzip_is_no_damage(tmp_path: Path, tail: bytes) -> None:
    plain = with_qform(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(plain) + tail)
    assert np.array_equal(read(path).array, read(tmp_path / "a.nii").array)
    assert warned(path, "bytes after its compressed pixels") is bool(tail.strip(b"\0"))
    damaged = bytearray(gzip.compress(plain))
    damaged[-8] ^= 1
    path.write_bytes(bytes(damaged) + tail)
    with pytest.raises(ReadError, match="damaged"):
        read(path)


def test_sides_are_known_where_only_the_place_is_not(tmp_path: Path) -> None:
    header = {"space": "left-posterior-superior", "space directions": np.diag([1, -2, 3.0])}
    nrrd.write(str(tmp_path / "a.nrrd"), ARRAY, header)
    lines = (
        "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"
        "TransformMatrix = 1 0 0 0 -1 0 0 0 1\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(lines.encode() + ARRAY.astype("<i2").tobytes(order="F"))
    for name in ("a.nrrd", "a.mha"):
        image = read(tmp_path / name)
        assert image.acquired_axcodes == ("S", "A", "L") and np.array_equal(image.array, ARRAY.T[:, ::-1])
        assert warned(tmp_path / name, "does not say where the first voxel lies")


@pytest.mark.parametrize(("layer", "name"), [(0, "liver"), (1, "tumour")])
def test_segments_of_each_layer_have_their_own_names(tmp_path: Path, layer: int, name: str) -> None:
    labels = np.zeros((2, 4, 5, 6), np.uint8)
    labels[0, :3], labels[1, 2] = 1, 1
    header = {
        "space": "LPS", "space directions": np.array([[np.nan] * 3, [1, 0, 0], [0, 2, 0], [0, 0, 3]]),
        "space origin": [0, 0, 0], "kinds": ["list", "domain", "domain", "domain"],
        "Segment0_LabelValue": "1", "Segment0_Name": "liver", "Segment0_Layer": "0",
        "Segment1_LabelValue": "1", "Segment1_Name": "tumour", "Segment1_Layer": "1",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "a.seg.nrrd"), labels, header)
    image = read(f"{tmp_path / 'a.seg.nrrd'}#time={layer + 1}")
    assert image.label_names == {1: name} and np.array_equal(image.array, labels[layer].T)


STACK = np.arange(12 * 32 * 32, dtype=np.uint16).reshape(12, 32, 32)


@pytest.mark.parametrize("by", ["imagej", "shape", "depth"])
def test_a_stack_behind_one_page_is_not_its_first_slice(tmp_path: Path, by: str) -> None:
    """ImageJ writes stacks of more than 4 GB so, tifffile with `truncate`, others with the tag Image Depth."""
    path = tmp_path / "a.tif"
    if by == "depth":
        tifffile.imwrite(path, STACK, volumetric=True, tile=(16, 16, 16))
    else:
        tifffile.imwrite(path, STACK, imagej=by == "imagej", truncate=True)
    with pytest.raises(ReadError, match="12 slices"):
        read(path)


def test_a_stack_with_a_page_per_slice_is_chosen_from(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True)
    assert np.array_equal(read(f"{tmp_path / 'a.tif'}#frame=3").array, STACK[2])
    for description in (
        json.dumps({"shape": [32, 32]}),
        json.dumps({"shape": "?"}),
        "ImageJ=1.5\nimages=1\n",
        "{",
    ):
        tifffile.imwrite(tmp_path / "b.tif", STACK[0], description=description, metadata=None)
        assert np.array_equal(read(tmp_path / "b.tif").array, STACK[0])


def test_a_ct_stored_with_the_offset_of_deeplesion_says_how_to_get_back(tmp_path: Path) -> None:
    values = np.linspace(-1000, 1200, 1024).reshape(32, 32).round().astype(int)
    tifffile.imwrite(tmp_path / "a.tif", (values + 32768).astype(np.uint16))
    for declared in ({"modality": "CT"}, {"units": "HU"}):
        assert warned(tmp_path / "a.tif", "minus 32768", **declared)


def test_imagej_s_unit_of_length_is_told(tmp_path: Path) -> None:
    for unit, said in (("mm", "0.5 x 0.25 mm"), ("micron", "0.0005 x 0.00025 mm"), ("pixel", "")):
        tifffile.imwrite(
            tmp_path / "a.tif", STACK[0], imagej=True, resolution=(4.0, 2.0), metadata={"unit": unit}
        )
        assert warned(tmp_path / "a.tif", said) is bool(said)
