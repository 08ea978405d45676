#!/usr/bin/env bash
# Analyze 7.5 and SPM99 images (.hdr with .img, in SPM's case with .mat) with one bright voxel, read by nibabel and by SimpleITK.
# Expected by a user: both say the same place for it. Seen: SimpleITK takes rows to grow to the back and columns to the patient's left, whatever
# is known; nibabel takes rows to grow to the front (and of SPM99, whose .mat says so, columns to the right). Of Analyze the two mirror front and
# back, of SPM99 also left and right. SimpleITK says on the terminal that the format is deprecated, nothing of sides.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 SimpleITK==2.5.7 scipy==1.17.1 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import nibabel as nib
import numpy as np
import SimpleITK as sitk

sitk.ProcessObject.SetGlobalWarningDisplay(False)
pixels = np.zeros((7, 6, 5), np.int16)
pixels[6, 1, 0] = 1000
spacing = np.diag([0.5, 0.6, 2, 1])
ways = {}
for name, kind in (("analyze", nib.AnalyzeImage), ("spm99", nib.Spm99AnalyzeImage)):
    nib.save(kind(pixels, spacing), f"{name}.hdr")
    itk = sitk.ReadImage(f"{name}.hdr")
    columns = np.reshape(itk.GetDirection(), (3, 3)) * [[-1], [-1], [1]]  # LPS to RAS
    own = nib.aff2axcodes(nib.load(f"{name}.hdr").affine)
    ways[name] = "".join(own), "".join(nib.aff2axcodes(np.block([[columns, np.zeros((3, 1))], [np.zeros((1, 3)), 1]])))
    assert itk.GetPixel(6, 1, 0) == 1000
print(f"nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}; to where columns, rows and slices grow, by nibabel and by SimpleITK:")
print(ways)
raise SystemExit(0 if ways == {"analyze": ("LAS", "LPS"), "spm99": ("RAS", "LPS")} else 1)
PYTHON
