#!/usr/bin/env bash
# A NIfTI with scl_slope 0 and scl_inter -1024: by the standard a slope of 0 means that nothing is scaled.
# Expected by a user: both readers give the stored numbers. Seen: SimpleITK adds the intercept, 1024 HU of difference.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import struct
import nibabel as nib, numpy as np, SimpleITK as sitk

nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), "a.nii")
with open("a.nii", "r+b") as file:
    file.seek(112)
    file.write(struct.pack("<2f", 0.0, -1024.0))
lowest = {"nibabel": float(nib.load("a.nii").get_fdata().min()),
          "SimpleITK": float(sitk.GetArrayFromImage(sitk.ReadImage("a.nii")).min())}
print(f"nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}; stored numbers begin at 0; lowest value seen: {lowest}")
raise SystemExit(0 if lowest == {"nibabel": 0.0, "SimpleITK": -1024.0} else 1)
PYTHON
