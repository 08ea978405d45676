#!/usr/bin/env bash
# A label image whose numbers are larger than 2 to the 24th, as those of the Allen mouse brain atlas are, read by ANTsPy.
# Expected by a user: the labels of the file, at least where an integer type is asked for. Seen: image_read() goes through 32-bit floats, so
# 312782628 becomes 312782624, and 312782640 becomes 312782656: regions get numbers that no atlas knows, and two of four regions are one.
# pixeltype="unsigned int" gives the same merged numbers, now as integers. Nothing is said. SimpleITK and nibabel have the labels as stored, and so
# has ants.from_numpy() of unsigned integers. What to do: number the labels anew (1, 2, 3, ...) before ANTsPy reads them, or hand them over as an
# array.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q antspyx==0.6.3 nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import ants, nibabel as nib, numpy as np, SimpleITK as sitk

print(*(f"{name} {version(name)}" for name in ("antspyx", "nibabel", "SimpleITK")))
stored = [997, 312782628, 312782632, 312782640]
voxels = np.zeros((4, 4, 4), np.int32)
for k, label in enumerate(stored):
    voxels[k] = label
image = nib.Nifti1Image(voxels, np.eye(4))
image.header.set_xyzt_units("mm")
nib.save(image, "labels.nii.gz")


def labels(array):
    return [int(label) for label in np.unique(array)]


seen = {
    "nibabel": labels(np.asarray(nib.load("labels.nii.gz").dataobj)),
    "SimpleITK": labels(sitk.GetArrayFromImage(sitk.ReadImage("labels.nii.gz"))),
    "ants.from_numpy": labels(ants.from_numpy(voxels.astype(np.uint32)).numpy()),
    "ants.image_read": labels(ants.image_read("labels.nii.gz").numpy()),
    "ants.image_read, unsigned int": labels(ants.image_read("labels.nii.gz", pixeltype="unsigned int").numpy()),
}
print("stored", stored)
for name, found in seen.items():
    print(name, found)
    assert found == ([997, 312782624, 312782656] if "read" in name else stored)
PYTHON
