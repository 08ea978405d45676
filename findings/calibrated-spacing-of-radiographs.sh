#!/usr/bin/env bash
# Projection images whose pixels have a size in the patient, read by SimpleITK: a radiograph that was calibrated (Pixel Spacing 0.3 x 0.15 mm,
# calibration by geometry) and keeps the detector's spacing (Imager Pixel Spacing 0.2 x 0.1 mm), and an ultrasound image whose
# Sequence of Ultrasound Regions says 0.4 x 0.5 mm.
# Expected by a user: 0.3 x 0.15 mm, as PS3.3 10.7 gives Pixel Spacing that meaning; 0.4 x 0.5 mm or a warning.
# Seen: the detector's 0.2 x 0.1 mm, so everything is measured a third too small; 1 x 1 mm where the calibrated spacing is the only one, and 1 x 1 mm of
# the ultrasound image. Nothing is said.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q simpleitk==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset


def spacing(sop, modality, **tags):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop, uid.generate_uid(), modality
    made.StudyInstanceUID, made.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 6, 8, 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PixelData = 7, 0, np.zeros((6, 8), np.uint8).tobytes()
    made["PixelData"].VR = "OB"
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    made.save_as("one.dcm", enforce_file_format=True)
    return tuple(round(step, 4) for step in sitk.ReadImage("one.dcm").GetSpacing()[1::-1])


region = Dataset()
region.RegionSpatialFormat = region.RegionDataType = 1
region.RegionFlags = region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 7, 5
region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # centimetres
region.PhysicalDeltaX, region.PhysicalDeltaY = 0.05, 0.04
calibrated = {"PixelSpacing": [0.3, 0.15], "PixelSpacingCalibrationType": "GEOMETRY"}
radiograph = uid.DigitalXRayImageStorageForPresentation
seen = {
    "calibrated, detector's spacing kept": spacing(radiograph, "DX", ImagerPixelSpacing=[0.2, 0.1], **calibrated),
    "calibrated alone": spacing(radiograph, "DX", **calibrated),
    "ultrasound region": spacing(uid.UltrasoundImageStorage, "US", SequenceOfUltrasoundRegions=[region]),
}
print(f"SimpleITK {sitk.Version_VersionString()}; expected (0.3, 0.15), (0.3, 0.15), (0.4, 0.5); seen: {seen}")
raise SystemExit(0 if list(seen.values()) == [(0.2, 0.1), (1.0, 1.0), (1.0, 1.0)] else 1)
PYTHON
