#!/usr/bin/env bash
# ANTsPy's orientation codes name the side an axis comes FROM; nibabel's, NIfTI's, SimpleITK's, MONAI's and DICOM's the side it goes TO.
# Expected by a user: reorient_image2(image, "RAS") gives the RAS of the NIfTI world, and an RAS file has orientation "RAS".
# Seen: an RAS file has the orientation "LPI", and the image reoriented to "RAS" is LPI for everybody else: each axis is the other way round,
# so the array fed to a network trained on RAS is mirrored left to right, front to back and upside down. The affine is right,
# so viewers show nothing wrong.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q antspyx==0.6.3 nibabel==5.4.2 SimpleITK==2.5.7
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import ants, nibabel as nib, numpy as np, SimpleITK as sitk

voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
nib.save(nib.Nifti1Image(voxels, np.eye(4)), "ras.nii")
image = ants.image_read("ras.nii")
turned = ants.reorient_image2(image, "RAS")
ants.image_write(turned, "turned.nii")
by_nibabel = "".join(nib.aff2axcodes(nib.load("turned.nii").affine))
by_itk = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(sitk.ReadImage("turned.nii").GetDirection())
mirrored = np.array_equal(turned.numpy(), voxels[::-1, ::-1, ::-1])
print(f"antspyx {version('antspyx')}, nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}")
print(f"an RAS file has orientation: expected RAS, seen {image.orientation} (SimpleITK: ",
      sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(sitk.ReadImage("ras.nii").GetDirection()), ")", sep="")
print(f"after reorient_image2(image, 'RAS'): expected RAS, seen by nibabel {by_nibabel}, by SimpleITK {by_itk}; every axis mirrored: {mirrored}")
raise SystemExit(0 if image.orientation == by_nibabel == by_itk == "LPI" and mirrored else 1)
PYTHON
