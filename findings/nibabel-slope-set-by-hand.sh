#!/usr/bin/env bash
# nibabel: the slope and intercept that a user sets in a header before saving are written next to the numbers, not taken out of them.
# Expected by a user: set_slope_inter(1, -1024) with int16 asks for that way of storing Hounsfield units, and the file holds the same units,
# as with the scaling that nibabel finds by itself where nothing is set. Seen: -1000 HU are stored as -1000, and every reader then gives -2024;
# with a slope of 0.5 everything is halved. Nothing is said. An array of stored numbers, not of units, is what that call is for.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import warnings

import nibabel as nib, numpy as np, SimpleITK as sitk

values = np.linspace(-1000, 3000, 60, dtype=np.float32).reshape(3, 4, 5)
SET = {"nothing set": None, "slope 1, intercept -1024": (1, -1024), "slope 0.5, intercept 0": (0.5, 0)}
seen, told = {}, {}
for name, scaling in SET.items():
    image = nib.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(np.int16)
    if scaling:
        image.header.set_slope_inter(*scaling)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nib.save(image, "a.nii")
    told[name] = len(caught)
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage("a.nii"))
    seen[name] = (float(nib.load("a.nii").get_fdata().min()), float(by_itk.min()), float(by_itk.max()))
print(f"nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}; written: -1000 to 3000")
for name, (by_nibabel, low, high) in seen.items():
    print(f"{name}: lowest by nibabel {by_nibabel:.2f}; by SimpleITK {low:.2f} to {high:.2f}; warnings {told[name]}")
described = {"nothing set": (-1000, -1000, 3000), "slope 1, intercept -1024": (-2024, -2024, 1976), "slope 0.5, intercept 0": (-500, -500, 1500)}
raise SystemExit(0 if not any(told.values()) and all(np.allclose(seen[n], v, atol=0.1) for n, v in described.items()) else 1)
PYTHON
