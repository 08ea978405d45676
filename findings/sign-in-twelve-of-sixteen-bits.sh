#!/usr/bin/env bash
# A DICOM image of signed numbers with 12 bits stored in 16 (High Bit 11, Pixel Representation 1) whose four unused bits are zero, as the standard
# allows (PS3.5 8.1.1: they are no part of the number): -1, -1024 and 5.
# Expected by a user: those numbers. Seen: dicomsdl, and the reader that imageio.v2.imread takes by default, give 4095, 3072 and 5: all that is
# below zero becomes the brightest. Nothing is said of it. The same numbers with the sign spread over the unused bits are right everywhere, and so
# are pydicom and SimpleITK (and imageio with plugin="pydicom") on both. What to do: read with one of those.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dicomsdl==0.109.4 imageio==2.38.1 pydicom==3.0.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import dicomsdl, imageio.v2, imageio.v3, numpy as np, pydicom, SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

print(*(f"{name} {version(name)}" for name in ("dicomsdl", "imageio", "pydicom", "SimpleITK")))
numbers = np.array([[-1, -1024, 5]], "<i2")
for unused, wrong in (("filled with the sign", [-1, -1024, 5]), ("zero", [4095, 3072, 5])):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality, ds.InstanceNumber = generate_uid(), generate_uid(), "CT", 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, 3, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.PixelData = (numbers.view("<u2") & (0x0FFF if unused == "zero" else 0xFFFF)).tobytes()
    ds.save_as("image.dcm", enforce_file_format=True)
    seen = {
        "pydicom": (pydicom.dcmread("image.dcm").pixel_array, numbers[0]),
        "SimpleITK": (sitk.GetArrayFromImage(sitk.ReadImage("image.dcm")), numbers[0]),
        "imageio, plugin pydicom": (imageio.v3.imread("image.dcm", plugin="pydicom"), numbers[0]),
        "imageio": (imageio.v2.imread("image.dcm"), wrong),
        "dicomsdl": (dicomsdl.open_file("image.dcm").pixelData(), wrong),
    }
    for name, (found, wanted) in seen.items():
        print(f"unused bits {unused}: {name} {[int(number) for number in np.ravel(found)]}")
        assert np.array_equal(np.ravel(found), wanted)
PYTHON
