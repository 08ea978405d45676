#!/usr/bin/env bash
# Slices by dicom-csv (get_image and stack_images): an ADC map in mm2/s (12 bits, slope 1e-6), a PET (slope 1.2345) and a slice of 16 bits with slope
# 2. Expected by a user: stored value times slope, to the last digits of a float. Seen: the slope is put into the smallest type that numpy names for
# it, and numpy asks for the range alone: half precision. 1e-6 becomes 1.0133e-6, so every diffusion coefficient is 1.3 % too large (0.0010133 for
# 0.001), and 2e-8, as of dose grids, becomes 0: an image of zeros. A slope of 2 becomes uint8, so the product stays uint16: 40000 twice is 14464.
# Nothing is said. What to do: pydicom's apply_rescale on pixel_array.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps dicom-csv==0.5.1 pydicom==3.0.2 numpy==2.4.6 pandas==3.1.1 \
  python-dateutil==2.9.0.post0 six==1.17.0 tqdm==4.67.1
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import dicom_csv, numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

print(*(f"{name} {version(name)}" for name in ("dicom-csv", "pydicom", "numpy")))
seen = {}
for slope, stored in (("0.000001", 1000), ("0.00000002", 60000), ("1.2345", 1000), ("2", 40000), ("2.5", 1000)):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = MRImageStorage, generate_uid(), "MR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, 2, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = slope, "0"
    ds.PixelData = np.array([0, stored], "<u2").tobytes()
    right = float(apply_rescale(ds.pixel_array, ds)[0, 1])
    assert abs(right - stored * float(slope)) <= 1e-12 * right
    image = dicom_csv.stack_images([ds])
    seen[slope] = float(image[0, 1, 0]) / right
    print(f"{stored} times {slope}: expected {right:.8g}, seen {float(image[0, 1, 0]):.8g} as {image.dtype}, {100 * (seen[slope] - 1):+.2f} %")
assert 1.012 < seen["0.000001"] < 1.015 and seen["0.00000002"] == 0 and seen["2.5"] == 1
assert 1e-5 < abs(seen["1.2345"] - 1) < 1e-3 and seen["2"] == 14464 / 80000
PYTHON
