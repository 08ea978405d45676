#!/usr/bin/env bash
# nibabel.nicom, nibabel's own reader of DICOM, on a CT slice with one bright pixel in the patient's left, front.
# Expected by a user: the affine is nibabel's (RAS+), as of every image that nibabel loads, so Nifti1Image(wrapper.get_data(), wrapper.affine) is
# the scan. Seen: the affine is in DICOM's coordinates (LPS+): the NIfTI made so has the patient mirrored left to right and front to back,
# and the slice normal points to the feet for plain axial slices, so slices stacked from the feet up are upside down as well.
# The NIfTI of dcm2niix, and SimpleITK's image in RAS, have the pixel in its place.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 SimpleITK==2.5.7 pydicom==3.0.2 dcm2niix==1.0.20260724 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from pathlib import Path

import dcm2niix, nibabel as nib, numpy as np, SimpleITK as sitk
from nibabel.nicom.dicomwrappers import wrapper_from_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

one = Dataset()
one.file_meta = FileMetaDataset()
one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, generate_uid(), "CT"
one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
one.SeriesNumber = one.InstanceNumber = 1
one.ImagePositionPatient, one.ImageOrientationPatient = [-10, -20, 30], [1, 0, 0, 0, 1, 0]
one.PixelSpacing, one.SliceThickness = [5, 4], 3
one.Rows, one.Columns = 8, 10
one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
one.RescaleSlope, one.RescaleIntercept = 1, 0
pixels = np.zeros((8, 10), "<i2")
pixels[1, 9] = 1000  # row 1, column 9: 26 mm to the left (DICOM's x), 15 mm to the front (y -15), so (-26, 15, 30) in RAS
one.PixelData = pixels.tobytes()
Path("slice").mkdir()
one.save_as("slice/a.dcm", enforce_file_format=True)


def place(image):
    bright = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    return nib.affines.apply_affine(image.affine, [*bright, 0][:3]).tolist()


wrapper = wrapper_from_file("slice/a.dcm")
data = np.asarray(wrapper.get_data(), np.float32)[..., None]
subprocess.run([dcm2niix.bin, "-f", "slice", "-o", ".", "slice"], check=True, capture_output=True)
x, y, z = sitk.ReadImage("slice/a.dcm").TransformIndexToPhysicalPoint((9, 1, 0))
seen = {
    "nibabel.nicom": place(nib.Nifti1Image(data, wrapper.affine)),
    "dcm2niix": place(nib.load("slice.nii")),
    "SimpleITK, in RAS": [-x, -y, z],
}
step = wrapper.affine[:3, 2].tolist()
print(f"nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}; the bright pixel, expected (-26, 15, 30) in RAS:")
for name, value in seen.items():
    print(f"{name}: {np.round(value, 3).tolist()}")
print(f"one step along the slices, by nibabel.nicom: {step}")
as_described = np.allclose(seen["nibabel.nicom"], [26, -15, 30]) and np.allclose(step, [0, 0, -3])
as_described &= np.allclose(seen["dcm2niix"], [-26, 15, 30], atol=1e-3) and np.allclose(seen["SimpleITK, in RAS"], [-26, 15, 30])
raise SystemExit(0 if as_described else 1)
PYTHON
