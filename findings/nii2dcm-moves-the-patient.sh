#!/usr/bin/env bash
# NIfTI to DICOM by nii2dcm: one bright voxel in two storage orders (that of most scanners, and RAS+), and a CT with air of -1000 and a lesion of
# 300.7. Expected by a user: the voxel lies where it lay, and numbers are kept, or scaled with a slope that says so. Seen: NIfTI's coordinates (to
# the right and the front) are written as DICOM's (to the left and the back), and the position of each slice is that of the slice before it: a voxel
# 12 mm right and 27 mm in front of the centre is 28 mm left, 33 mm behind, and 4 mm lower. Numbers are cut to whole ones and wrap around: air of
# -1000 is 3096, brighter than bone. Nothing is said. nibabel and SimpleITK agree about the NIfTI. The packages are those that nii2dcm asks for.
# What to do: highdicom with the scan's own DICOM files, or SimpleITK.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps nii2dcm==0.1.6 pydicom==2.3.0 nibabel==5.0.0 numpy==1.23.2 SimpleITK==2.5.7 packaging==26.4
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import contextlib, io
from importlib.metadata import version
from pathlib import Path

import nibabel as nib, numpy as np, SimpleITK as sitk
from nii2dcm.run import run_nii2dcm

print(*(f"{name} {version(name)}" for name in ("nii2dcm", "pydicom", "nibabel", "SimpleITK")))
SCANNER = np.array([[-2.0, 0, 0, 20], [0, -3, 0, 30], [0, 0, 4, -7], [0, 0, 0, 1]])
RAS = np.array([[2.0, 0, 0, -20], [0, 3, 0, -30], [0, 0, 4, -7], [0, 0, 0, 1]])


def converted(name, affine, background, bright):
    """Place of the bright voxel (left, back, up) in the NIfTI, by nibabel and SimpleITK, and in the series; its number and the other."""
    voxels = np.full((6, 8, 5), background, np.float32)
    voxels[4, 1, 3] = bright
    nib.save(nib.Nifti1Image(voxels, affine), f"{name}.nii")
    wanted = (np.diag([-1, -1, 1, 1]) @ affine @ [4, 1, 3, 1])[:3]
    assert np.allclose(sitk.ReadImage(f"{name}.nii").TransformIndexToPhysicalPoint((4, 1, 3)), wanted)
    Path(name).mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        run_nii2dcm(f"{name}.nii", name, "MR")
    series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(name))
    array = sitk.GetArrayFromImage(series)
    place = np.argwhere(array != array[0, 0, 0])[0]
    return wanted.tolist(), series.TransformIndexToPhysicalPoint([int(n) for n in place[::-1]]), int(array[tuple(place)]), int(array[0, 0, 0])


for name, affine, background, bright, place, numbers in (
    ("scanner", SCANNER, 0, 100, (28, 33, 1), (100, 0)),
    ("ras", RAS, 0, 100, (-28, -33, 1), (100, 0)),
    ("ct", SCANNER, -1000, 300.7, (28, 33, 1), (300, 3096)),
):
    wanted, seen, *found = converted(name, affine, background, bright)
    print(f"{name}: at {wanted} expected, at {seen} seen; {bright} in {background} expected, {found[0]} in {found[1]} seen")
    assert np.allclose(seen, place) and tuple(found) == numbers
PYTHON
