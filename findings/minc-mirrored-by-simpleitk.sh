#!/usr/bin/env bash
# MINC 2 by SimpleITK (ITK's own reader and writer): a file that nibabel carries as test data, and a scan of 5 x 6 x 7 voxels with a bright one on
# the patient's left, which SimpleITK writes as NIfTI and as MINC. Expected by a user: the same place in every reader, as for NIfTI and NRRD, where
# SimpleITK turns the coordinates. Seen: MINC's coordinates (x to the right, y to the front; the file says so itself in the comments of its
# dimensions) are taken for ITK's (to the left and the back) and written as them, so left and right as well as front and back are exchanged for
# nibabel and everybody else. SimpleITK reads its own files back without a fault, and an affine registration does not see it either. Nothing is
# said. What to do: MINC through nibabel, or to NIfTI by the MINC tools.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps SimpleITK==2.5.7 nibabel==5.4.2 h5py==3.16.0 numpy==2.4.6 packaging==26.4 typing_extensions==4.15.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from pathlib import Path

import h5py, nibabel as nib, numpy as np, SimpleITK as sitk

print("SimpleITK", sitk.Version.VersionString(), "nibabel", nib.__version__)


def by_nibabel(path):
    """Place of the brightest voxel in DICOM's and ITK's coordinates (left, back, up)."""
    image = nib.load(path)
    voxels = image.get_fdata()
    x, y, z = nib.affines.apply_affine(image.affine, np.unravel_index(np.argmax(voxels), voxels.shape))
    return [round(float(n), 3) for n in (-x, -y, z)]


def by_simpleitk(path):
    image = sitk.ReadImage(path, sitk.sitkFloat64)
    index = np.unravel_index(np.argmax(sitk.GetArrayFromImage(image)), image.GetSize()[::-1])
    return [round(n, 3) for n in image.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]])]


scan = sitk.Image([5, 6, 7], sitk.sitkInt16)
scan.SetSpacing((1, 2, 3)), scan.SetOrigin((5, 10, 20))  # x grows to the patient's left
scan[4, 1, 2] = 100
for path in ("scan.nii", "scan.mnc"):
    sitk.WriteImage(scan, path)
bundled = str(Path(nib.__file__).parent / "tests" / "data" / "small.mnc")
seen = {name: (by_nibabel(path), by_simpleitk(path)) for name, path in (("NIfTI", "scan.nii"), ("MINC", "scan.mnc"), ("nibabel's MINC", bundled))}
for name, (one, other) in seen.items():
    print(f"{name}, (left, back, up) in mm: nibabel {one}, SimpleITK {other}")
for path in ("scan.mnc", bundled):
    axes = h5py.File(path)["minc-2.0/dimensions"]
    notes = [axes[axis].attrs["comments"].decode() for axis in ("xspace", "yspace")]
    print(f"{Path(path).name} says: {notes}")
    assert notes == ["X increases from patient left to right", "Y increases from patient posterior to anterior"]
assert seen["NIfTI"] == ([9, 12, 26], [9, 12, 26])
for name in ("MINC", "nibabel's MINC"):
    one, other = seen[name]
    assert np.allclose(one, other * np.array([-1, -1, 1])) and one[0] and one[1]
assert seen["MINC"][1] == [9, 12, 26]
PYTHON
