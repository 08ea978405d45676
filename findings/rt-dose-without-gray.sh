#!/usr/bin/env bash
# A radiotherapy dose (RTDOSE) of 1 to 4 Gy on planes 3, 3 and 6 mm apart, as Grid Frame Offset Vector and Dose Grid Scaling say.
# Expected by a user: values in gray, as CT comes in Hounsfield units, and planes in their places or a warning.
# Seen: SimpleITK gives the stored integers (1000 to 4000 here; another factor in every file, so two plans cannot be added or compared)
# and takes the first step for all, without a word. dcm2niix does not scale either, and sets 1 mm, telling that it cannot determine the distance.
# It says nothing about the scale. Doses are to be multiplied by DoseGridScaling by hand.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SimpleITK==2.5.7 pydicom==3.0.2 dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import subprocess
from pathlib import Path

import dcm2niix, nibabel as nib, numpy as np, SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, generate_uid

dose = Dataset()
dose.file_meta = FileMetaDataset()
dose.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dose.SOPClassUID, dose.SOPInstanceUID, dose.Modality = RTDoseStorage, generate_uid(), "RTDOSE"
dose.StudyInstanceUID, dose.SeriesInstanceUID, dose.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
dose.SeriesNumber = dose.InstanceNumber = 1
dose.ImagePositionPatient, dose.ImageOrientationPatient = [0, 0, 100], [1, 0, 0, 0, 1, 0]
dose.PixelSpacing, dose.SliceThickness = [2, 2], None
dose.NumberOfFrames, dose.FrameIncrementPointer, dose.GridFrameOffsetVector = 4, 0x3004000C, [0, 3, 6, 12]
dose.DoseUnits, dose.DoseType, dose.DoseSummationType, dose.DoseGridScaling = "GY", "PHYSICAL", "PLAN", 0.001
dose.Rows = dose.Columns = 8
dose.SamplesPerPixel, dose.PhotometricInterpretation, dose.PixelRepresentation = 1, "MONOCHROME2", 0
dose.BitsAllocated, dose.BitsStored, dose.HighBit = 32, 32, 31
dose.PixelData = np.repeat(np.array([1000, 2000, 3000, 4000], "<u4"), 64).tobytes()
Path("dose").mkdir()
dose.save_as("dose/a.dcm", enforce_file_format=True)

read = sitk.ReadImage("dose/a.dcm")
by_itk = sitk.GetArrayFromImage(read)[:, 0, 0].tolist()
heights = [read.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(4)]
run = subprocess.run([dcm2niix.bin, "-f", "dose", "-o", ".", "dose"], check=True, capture_output=True, text=True)
converted = nib.load("dose.nii")
by_dcm2niix, step = converted.get_fdata()[0, 0].tolist(), float(converted.header.get_zooms()[2])
warned = "slice thickness" in run.stdout
print("expected: [1, 2, 3, 4] Gy at 100, 103, 106, 112 mm")
print(f"SimpleITK {sitk.Version.VersionString()}: {by_itk} at {heights}")
print(f"dcm2niix 1.0.20260724: {by_dcm2niix}, {step} mm apart; warns of the distance: {warned}, of the scale: {'scaling' in run.stdout.lower()}")
as_described = by_itk == [1000, 2000, 3000, 4000] and heights == [100, 103, 106, 109]
as_described &= by_dcm2niix == [1000.0, 2000.0, 3000.0, 4000.0] and step == 1.0 and warned
raise SystemExit(0 if as_described else 1)
PYTHON
