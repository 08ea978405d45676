#!/usr/bin/env bash
# Two MR slices with Rescale, made one enhanced file by highdicom, read by medio with pydicom (backend="pdcm"): values up to 50000 with slope 1 (16
# bits), up to 4000 with slope 10 (12 bits), and slopes of 1 and 3 per slice. Expected by a user: stored value times the slope of its frame. Seen: the
# numbers are made signed 16-bit ones first and stay so if the slope is whole: 50000 is -15536, and 4000 times 10 is -25536. Slopes that differ per
# frame, as in every enhanced PET, are left out altogether: stored numbers. Nothing is said. highdicom has the right values in all three.
# What to do: highdicom's get_volume.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps medio==0.7.1 dicom-numpy==0.6.5 nibabel==5.4.2 itk-core==5.4.7 itk-numerics==5.4.7 itk-io==5.4.7 \
  highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 pyjpegls==1.5.1 typing_extensions==4.15.0 packaging==26.4
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import logging
from importlib.metadata import version

import highdicom as hd, medio, numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

logging.disable(logging.WARNING)  # highdicom on the window that the slices do not have
print(*(f"{name} {version(name)}" for name in ("medio", "highdicom", "pydicom")))


def enhanced(values, slopes):
    study, series, frame, slices = generate_uid(), generate_uid(), generate_uid(), []
    for number, slope in enumerate(slopes, start=1):
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
        ds.WindowCenter, ds.WindowWidth = 1000, 2000
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, 0, "US"
        ds.PixelData = np.array([values] * 2, "<u2").tobytes()
        slices.append(ds)
    hd.legacy.LegacyConvertedEnhancedMRImage(slices, generate_uid(), 2, generate_uid(), 1).save_as("one.dcm")


seen = []
for values, slopes in (((0, 100, 50000), (1, 1)), ((0, 100, 4000), (10, 10)), ((0, 100, 4000), (1, 3)), ((0, 100, 4000), (2.5, 2.5))):
    enhanced(values, slopes)
    expected = [[value * slope for value in values] for slope in slopes]
    volume = hd.imread("one.dcm").get_volume()
    right = sorted(frame[0].tolist() for frame in volume.array)
    assert right == sorted(expected), right
    image, _ = medio.read_img("one.dcm", backend="pdcm")
    seen.append(sorted(image[:, 0, k].tolist() for k in range(2)))
    print(f"slopes {slopes}: expected {sorted(expected)}, seen {seen[-1]} as {image.dtype}")
raise SystemExit(0 if seen == [[[0, 100, -15536]] * 2, [[0, 1000, -25536]] * 2, [[0, 100, 4000]] * 2, [[0, 250, 10000]] * 2] else 1)
PYTHON
