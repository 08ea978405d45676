"""Real DICOM: what two other readers agree on holds, slice by slice and voxel by voxel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medmvl.imaging import read
from medmvl.imaging.image import MedicalImage

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def facts(real_data: Path) -> dict[str, Any]:
    return dict(json.loads((real_data / "facts.json").read_text()))


@pytest.fixture(scope="module")
def series(real_data: Path) -> MedicalImage:
    return read(real_data / "ct_dicom_philips_head_phantom" / "dicom")


def test_every_slice_of_the_series(facts: dict[str, Any], series: MedicalImage) -> None:
    about = facts["series"][0]
    assert series.shape == (len(about["slices"]), *about["rows_cols"])
    assert (series.modality, series.units, series.axcodes) == (about["modality"], "HU", ("S", "P", "L"))
    found = series.array
    assert (found.min(), found.max()) == (about["min"], about["max"])
    assert found.mean() == pytest.approx(about["mean"], abs=1e-4)
    for plane, said, index in zip(found, about["slices"], range(len(found)), strict=True):
        assert (series.affine @ [index, 0, 0, 1])[2] == pytest.approx(said["pos_along_normal"], abs=1e-3)
        assert plane.mean() == pytest.approx(said["mean"], abs=1e-3)
        digest = hashlib.sha256(np.ascontiguousarray(plane.astype("<i4")).tobytes()).hexdigest()
        assert digest.startswith(said["sha256_int32_rescaled_rowmajor"])


def test_named_voxels_of_the_series(facts: dict[str, Any], series: MedicalImage) -> None:
    about = facts["series"][0]
    order = [one["file"] for one in about["slices"]]
    for voxel in about["voxels"]:
        index = [order.index(voxel["file"]), voxel["row"], voxel["col"]]
        assert series.array[tuple(index)] == voxel["value"]
        np.testing.assert_allclose((series.affine @ [*index, 1])[:3], voxel["ras_mm"], atol=2e-3)


def test_the_series_equals_its_reference_nifti(real_data: Path, series: MedicalImage) -> None:
    path = real_data / "ct_dicom_philips_head_phantom" / "reference_dcm2niix.nii.gz"
    nifti = nib.as_closest_canonical(nib.load(path))
    reference = np.asarray(nifti.dataobj)[::-1, ::-1].transpose(
        2, 1, 0
    )  # RAS file order to Superior, Posterior, Left
    np.testing.assert_array_equal(series.array, reference)
    for index in [(0, 0, 0), (27, 511, 511), (3, 100, 400)]:
        other = [511 - index[2], 511 - index[1], index[0], 1]
        np.testing.assert_allclose(series.affine @ [*index, 1], nifti.affine @ other, atol=2e-3)
    ours = read(path, modality="CT")
    np.testing.assert_array_equal(series.array, ours.array)
    np.testing.assert_allclose(series.affine, ours.affine, atol=2e-3)


@pytest.mark.parametrize("name", ["CT_small", "MR_small", "RG1_J2KI", "examples_rgb_color"])
def test_single_files(real_data: Path, facts: dict[str, Any], name: str) -> None:
    said = next(one for one in facts["dicom_single"] if Path(one["file"]).stem == name)
    image = read(real_data / said["file"])
    low, high, mean = said["rescaled_min_max_mean"]
    if said["photometric"] == "MONOCHROME1":
        white = 2 ** said["bits"][1] - 1
        low, high, mean = white - high, white - low, white - mean
    assert image.kind == "image" and image.modality == said["modality"]
    assert image.shape[:2] == (said["rows"], said["cols"])
    assert (image.array.min(), image.array.max()) == (low, high)
    assert image.array.mean() == pytest.approx(mean, abs=1e-3)
