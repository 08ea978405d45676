#!/usr/bin/env bash
# highdicom 0.28.2: a float parametric map that it wrote itself cannot be read with its real world mapping applied frame by frame.
# Expected: values equal to what was written (slope 1, intercept 0). Seen: AttributeError, as float objects have no Pixel Representation.
# An integer map of the same places reads as expected. Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install highdicom==0.28.2 pydicom==3.0.2 numpy
"$folder/venv/bin/python" -W ignore - "$folder" <<'PY'
import importlib.metadata as about
import sys

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def slices(count):
    shared = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    for k in range(count):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, generate_uid(), "CT"
        for keyword, value in shared.items():
            setattr(ds, keyword, value)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
                        "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer"):
            setattr(ds, keyword, "")
        ds.Rows = ds.Columns = 4
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
        ds.PixelData = bytes(32)
        yield ds


def read_back(dtype):
    values = np.arange(32).reshape(2, 4, 4).astype(dtype)
    mapping = hd.pm.RealWorldValueMapping(lut_label="1", lut_explanation="index", unit=codes.UCUM.NoUnits,
                                          value_range=[0, 100] if dtype is np.uint16 else [0.0, 100.0], slope=1.0, intercept=0.0)
    path = f"{sys.argv[1]}/{np.dtype(dtype).name}.dcm"
    hd.pm.ParametricMap(
        source_images=list(slices(2)), pixel_array=values, series_instance_uid=hd.UID(), series_number=1,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="none", manufacturer_model_name="none",
        software_versions="1", device_serial_number="1", contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping], window_center=0.5, window_width=1.0,
    ).save_as(path)
    image = hd.imread(path)
    try:
        found = [image.get_frame(number, apply_real_world_transform=True) for number in (1, 2)]
        return "equal" if sorted(np.ravel(found)) == sorted(values.ravel()) else "other values"
    except AttributeError as error:
        return f"AttributeError: {error}"


print("highdicom", about.version("highdicom"))
whole, real = read_back(np.uint16), read_back(np.float32)
print("uint16: expected equal, seen", whole)
print("float32: expected equal, seen", real)
sys.exit(0 if whole == "equal" and real.startswith("AttributeError") else 1)
PY
