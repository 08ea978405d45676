#!/usr/bin/env bash
# SimpleITK reads a DICOM series in the number type of its first slice, whatever the other slices need.
# A PET whose first slice is empty and has slope 1 becomes a series of integers: all decimals of the other slices are cut off, and a series of
# small values is all zero. A CT whose first slice has no intercept is unsigned, and -724 HU becomes 64812. Nothing is said.
# In the other order (a fraction first) the same slices are right.
# Expected by a user: a type that holds every slice, as dcm2niix takes. Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SimpleITK==2.5.7 pydicom==3.0.2 dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import subprocess
from pathlib import Path

import dcm2niix, nibabel as nib, numpy as np, SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid


def write(folder, storage, modality, stored, slopes, intercepts):
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k, (number, slope, intercept) in enumerate(zip(stored, slopes, intercepts)):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = storage, generate_uid(), modality
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, frame
        one.InstanceNumber, one.SeriesNumber = k + 1, 1
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3.0 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [1, 1], 3
        one.Rows = one.Columns = 8
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.RescaleSlope, one.RescaleIntercept = slope, intercept
        one.PixelData = np.full((8, 8), number, "<u2").tobytes()
        one.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def values(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    by_itk = sitk.GetArrayFromImage(reader.Execute())[:, 0, 0]
    subprocess.run([dcm2niix.bin, "-f", folder.name, "-o", ".", folder], check=True, capture_output=True)
    return by_itk.astype(float), nib.load(f"{folder.name}.nii").get_fdata()[0, 0]


pet = PositronEmissionTomographyImageStorage
SERIES = {
    "PET, first slope 1": (pet, "PT", [0, 300, 400, 500], [1, 0.002, 0.002, 0.003], [0] * 4, [0, 0, 0, 1]),
    "PET, first slope a fraction": (pet, "PT", [0, 300, 400, 500], [0.002, 0.002, 0.002, 0.003], [0] * 4, [0, 0.6, 0.8, 1.5]),
    "CT, first intercept 0": (CTImageStorage, "CT", [0, 200, 300, 400], [1] * 4, [0, -1024, -1024, -1024], [0, 64712, 64812, 64912]),
}
print(f"SimpleITK {sitk.Version.VersionString()}")
same = True
for name, (storage, modality, stored, slopes, intercepts, described) in SERIES.items():
    folder = Path(name.replace(" ", "-").replace(",", ""))
    write(folder, storage, modality, stored, slopes, intercepts)
    expected = np.multiply(stored, slopes) + intercepts
    by_itk, by_dcm2niix = values(folder)
    print(f"{name}: expected {expected.tolist()}, SimpleITK {by_itk.tolist()}, dcm2niix {np.round(by_dcm2niix, 4).tolist()}")
    same &= np.allclose(by_itk, described) and np.allclose(by_dcm2niix, expected)
raise SystemExit(0 if same else 1)
PYTHON
