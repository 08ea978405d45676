"""The DICOM we write reads back equal, holds no identity but the pseudonym, and is the same bytes each time."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.write import write_dicom_image, write_dicom_series, write_nifti, write_npy
from tests.factories.imaging import numbered, volume


def test_a_ct_series_reads_back_equal(tmp_path):
    image = volume((4, 6, 8), "SPL", (5.0, 0.7, 0.8), modality="CT").with_array(numbered((4, 6, 8)) - 1024)
    write_dicom_series(image, tmp_path / "s", patient_pseudonym="p-7", seed=3)
    again = read(tmp_path / "s")
    assert np.array_equal(again.array, image.array)
    assert np.allclose(again.affine, image.affine, atol=1e-4)
    assert (again.units, again.modality, again.spacing_mm) == ("HU", "CT", pytest.approx(image.spacing_mm))
    before = [path.read_bytes() for path in sorted((tmp_path / "s").iterdir())]
    write_dicom_series(image, tmp_path / "s", patient_pseudonym="p-7", seed=3)
    assert [path.read_bytes() for path in sorted((tmp_path / "s").iterdir())] == before
    assert str(pydicom.dcmread(tmp_path / "s" / "0001.dcm").PatientName) == "p-7"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_radiograph_reads_back_equal(tmp_path, dtype):
    image = MedicalImage(
        array=numbered((9, 7), dtype) * 3, kind="image", units="arbitrary", source_format="numpy", modality="DX",
        axcodes=("I", "L"), spacing_mm=(0.5, 0.25),
    )  # fmt: skip
    write_dicom_image(image, tmp_path / "x.dcm", patient_pseudonym="p")
    again = read(tmp_path / "x.dcm")
    assert np.array_equal(again.array, image.array)
    assert (again.axcodes, again.spacing_mm, again.modality) == (("I", "L"), (0.5, 0.25), "DX")


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    tilted = volume().affine.copy()
    tilted[1, 0] += 2
    with pytest.raises(UserError, match="right-angled"):
        write_dicom_series(replace(volume(), affine=tilted), tmp_path / "s", patient_pseudonym="p")
    with pytest.raises(UserError, match="whole numbers"):
        write_dicom_series(
            volume().with_array(np.full((4, 5, 6), 0.5)), tmp_path / "s", patient_pseudonym="p"
        )
    with pytest.raises(UserError, match="2D"):
        write_dicom_image(volume(), tmp_path / "x.dcm", patient_pseudonym="p")
    with pytest.raises(UserError, match="uneven"):
        write_nifti(volume(slice_positions_mm=(0, 5, 10, 20)), tmp_path / "a.nii")
    with pytest.raises(UserError, match=r"\.npz"):
        write_npy(volume(), tmp_path / "a.txt")
