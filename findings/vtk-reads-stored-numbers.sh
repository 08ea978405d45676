#!/usr/bin/env bash
# VTK (and with it PyVista, as it uses the same readers) on a NIfTI with slope and intercept, and on a NRRD whose axes are permuted.
# Expected by a user: Hounsfield units, and the spacing of each axis as every other reader has it.
# Seen: vtkNIFTIImageReader hands out the stored numbers, so air of a CT is 0 and soft tissue 1064 (slope and intercept must be asked for and
# applied by hand; apply them to another reader's image and they are applied twice). vtkNrrdReader takes the columns of the space directions
# for their rows, so a sagittal volume of 1 x 2 x 3 mm has 2 x 3 x 1: each axis gets another one's spacing. Neither says a word.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q vtk==9.7.2 nibabel==5.4.2 pynrrd==1.1.3 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import struct

import nibabel as nib, nrrd, numpy as np, SimpleITK as sitk, vtk
from vtk.util.numpy_support import vtk_to_numpy

stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
nib.save(nib.Nifti1Image(stored, np.eye(4)), "ct.nii")
with open("ct.nii", "r+b") as file:
    file.seek(112)  # scl_slope and scl_inter
    file.write(struct.pack("<2f", 1.0, -1024.0))
directions = np.array([[0, -1.0, 0], [0, 0, 2.0], [-3.0, 0, 0]])  # a row per axis of the array: 1, 2 and 3 mm
nrrd.write("sagittal.nrrd", stored, {"space": "left-posterior-superior", "space directions": directions, "space origin": [5, 6, 7]})


def by_vtk(reader, path):
    reader.SetFileName(path)
    reader.Update()
    return reader.GetOutput()


nifti = by_vtk(vtk.vtkNIFTIImageReader(), "ct.nii")
lowest = {
    "VTK": float(vtk_to_numpy(nifti.GetPointData().GetScalars()).min()),
    "nibabel": float(nib.load("ct.nii").get_fdata().min()),
    "SimpleITK": float(sitk.GetArrayFromImage(sitk.ReadImage("ct.nii")).min()),
}
spacing = {"VTK": by_vtk(vtk.vtkNrrdReader(), "sagittal.nrrd").GetSpacing(), "SimpleITK": sitk.ReadImage("sagittal.nrrd").GetSpacing()}
print(f"VTK {vtk.vtkVersion.GetVTKVersion()}, nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}")
print("NIfTI, lowest value, expected -1024:", lowest)
print("NRRD, spacing, expected (1, 2, 3):", spacing)
as_described = lowest == {"VTK": 0.0, "nibabel": -1024.0, "SimpleITK": -1024.0}
as_described &= np.allclose(spacing["VTK"], (2, 3, 1))
raise SystemExit(0 if as_described and np.allclose(spacing["SimpleITK"], (1, 2, 3)) else 1)
PYTHON
