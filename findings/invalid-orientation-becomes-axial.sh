#!/usr/bin/env bash
# Coronal DICOM slices whose Image Orientation (Patient) is skewed, zero, or holds five numbers, as broken converters write.
# Expected by a user: a warning, an error, or no orientation. Seen: SimpleITK reads each series without a word and reports the identity
# as its direction, so coronal slices are axial ones from then on. highdicom refuses them, the skewed ones for uneven spacing.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SimpleITK==2.5.7 pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

CORONAL = [1, 0, 0, 0, 0, -1]
ORIENTATIONS = {
    "right": CORONAL,
    "zero": [0, 0, 0, 0, 0, 0],
    "skewed by 30 degrees": [1, 0, 0, 0.5, 0, -0.8660254],
    "five numbers": CORONAL[:5],
}


def write(folder, orientation):
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(4):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, generate_uid(), "CT"
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, frame
        one.InstanceNumber, one.SeriesNumber = k + 1, 1
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 3.0 * k, 0], orientation
        one.PixelSpacing, one.SliceThickness = [1, 1], 3
        one.Rows = one.Columns = 8
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        one.PixelData = np.full((8, 8), k, "<u2").tobytes()
        one.save_as(folder / f"{k}.dcm", enforce_file_format=True)


print(f"SimpleITK {sitk.Version.VersionString()}, highdicom {highdicom.__version__}")
directions, refused = {}, {}
for name, orientation in ORIENTATIONS.items():
    folder = Path(name.replace(" ", "-"))
    write(folder, orientation)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    directions[name] = np.round(reader.Execute().GetDirection(), 3) + 0.0
    try:
        highdicom.get_volume_from_series([pydicom.dcmread(path) for path in sorted(folder.iterdir())])
        refused[name] = ""
    except Exception as error:
        refused[name] = f"{type(error).__name__}: {error}"[:90]
    print(f"{name}: SimpleITK's direction {directions[name].tolist()}; highdicom: {refused[name] or 'a volume'}")
identity = np.eye(3).ravel()
wrong = [name for name in ORIENTATIONS if name != "right"]
as_described = not np.array_equal(directions["right"], identity) and refused["right"] == ""
as_described &= all(np.array_equal(directions[name], identity) and refused[name] for name in wrong)
raise SystemExit(0 if as_described else 1)
PYTHON
