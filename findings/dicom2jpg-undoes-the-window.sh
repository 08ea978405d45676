#!/usr/bin/env bash
# Two CT slices of one series with the same window (centre 40, width 80), and an ultrasound image in colour, by dicom2jpg, whose README promises
# "output files looks like what we see on standard DICOM viewers". Expected by a user: 40 HU is the same grey in both slices, and colours stay.
# Seen: after the window each image is stretched once more from its own smallest to its own largest number. 40 HU is 127 in one slice and 182 in the
# other, and a slice of soft tissue alone (35 to 42 HU) goes from black to white, as if it held an acute bleeding. Colours are stretched the same
# way, so a grey of 100 becomes 85, and the colours of Doppler are others than the machine's. Nothing is said. pydicom's windowing has the same grey
# in both. What to do: pydicom.pixels.apply_windowing, scaled by the range of the window.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps dicom2jpg==0.1.10 pydicom==3.0.2 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import dicom2jpg, numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_windowing
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid


def write(name, pixels, storage, **values):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID = storage, generate_uid(), "1.2.3", "1.2.3.4"
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated = made.BitsStored = pixels.itemsize * 8
    made.HighBit, made.PixelData = pixels.itemsize * 8 - 1, pixels.tobytes()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.save_as(name, enforce_file_format=True)


GREY = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": 0,
        "WindowCenter": 40, "WindowWidth": 80, "Modality": "CT"}
write("head.dcm", np.array([[-1000, 30], [40, 80]], "<i2"), CTImageStorage, **GREY)
write("brain.dcm", np.array([[35, 36], [40, 42]], "<i2"), CTImageStorage, **GREY)
colours = np.full((2, 2, 3), 100, "u1")
colours[0, 0], colours[1, 1] = (120, 100, 100), (100, 110, 90)
write("doppler.dcm", colours, UltrasoundImageStorage, SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelRepresentation=0,
      PlanarConfiguration=0, Modality="US")
print("dicom2jpg", version("dicom2jpg"), "pydicom", pydicom.__version__)
wanted = {"head": [[0, 30 / 80], [40 / 80, 1]], "brain": [[35 / 80, 36 / 80], [40 / 80, 42 / 80]]}
seen = {name: dicom2jpg.dicom2img(f"{name}.dcm").tolist() for name in ("head", "brain", "doppler")}
for name, parts in wanted.items():
    ds = pydicom.dcmread(f"{name}.dcm")
    by_pydicom = (apply_windowing(ds.pixel_array, ds) + 2**15) / (2**16 - 1)
    print(f"{name}: of 255 expected {(np.array(parts) * 255).round().tolist()}, pydicom {(by_pydicom * 255).round().tolist()}, seen {seen[name]}")
    assert np.allclose(by_pydicom, parts, atol=0.02)
print(f"doppler: expected {colours.tolist()}, seen {seen['doppler']}")
assert seen == {"head": [[0, 95], [127, 255]], "brain": [[0, 36], [182, 255]],
                "doppler": [[[255, 85, 85], [85, 85, 85]], [[85, 85, 85], [85, 170, 0]]]}
PYTHON
