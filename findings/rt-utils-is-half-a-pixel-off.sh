#!/usr/bin/env bash
# rt-utils, between masks and the contours of RT structure sets, on pixels of 1 x 1 mm: squares of voxels written, and drawn circles read.
# Expected by a user: a structure keeps its area, within the jitter of a pixel's edge. Seen: contours are written through the centres of the
# outermost voxels, so half a pixel is lost all around: 5 x 5 voxels become 16 square mm, 3 x 3 become 4, and one voxel becomes a single point
# without area (as CLOSED_PLANAR). Contours are read with every pixel that their line touches, so half a pixel is added all around: a circle of 7.1
# square mm becomes 14, of 28.3 becomes 40, of 314 becomes 346. skimage's polygon2mask has 7, 29 and 317. Each error hides the other: mask to
# contour to mask by rt-utils gives back the mask. Doses and volumes of small organs and lesions are off as soon as one of the two ways is another
# program's. What to do: trace the voxels' outlines, and rasterize by pixel centres.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rt-utils==1.2.7 pydicom==3.0.2 scikit-image==0.26.0 opencv-python==5.0.0.93 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder
from skimage.draw import polygon2mask

Path("ct").mkdir()
study, series, frame = generate_uid(), generate_uid(), generate_uid()
for k in range(3):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
    ds.Modality, ds.PatientID, ds.StudyID, ds.StudyDate, ds.StudyTime, ds.InstanceNumber = "CT", "1", "1", "20250101", "101010", k + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [0, 0, k], [1, 0, 0, 0, 1, 0], [1, 1]
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 40, 40, 16, 16, 15
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation, ds.PixelData = 1, "MONOCHROME2", 1, bytes(3200)
    ds.save_as(f"ct/{k}.dcm", enforce_file_format=True)

print(*(f"{name} {version(name)}" for name in ("rt-utils", "pydicom", "scikit-image", "opencv-python")))
structures = RTStructBuilder.create_new("ct")
for size, seen in ((1, 0), (3, 4), (5, 16), (11, 100)):
    mask = np.zeros((40, 40, 3), bool)
    mask[10:10 + size, 10:10 + size, 1] = True
    structures.add_roi(mask, name=str(size))
    contour = structures.ds.ROIContourSequence[-1].ContourSequence[0]
    x, y, _ = np.reshape(contour.ContourData, (-1, 3)).astype(float).T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    print(f"mask of {mask.sum()} square mm: contour of {contour.NumberOfContourPoints} points, {area:g} square mm")
    assert area == seen and (structures.get_roi_mask_by_name(str(size)) == mask).all()

angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
for radius, seen in ((1.5, 14), (3, 40), (10, 346)):
    points = np.stack([20.3 + radius * np.cos(angles), 19.6 + radius * np.sin(angles), np.ones(120)], axis=1).round(3)
    contour.ContourData, contour.NumberOfContourPoints = points.ravel().tolist(), len(points)
    mask, control = structures.get_roi_mask_by_name("11"), polygon2mask((40, 40), points[:, 1::-1])
    print(f"circle of {np.pi * radius ** 2:.1f} square mm: rt-utils {mask.sum()}, polygon2mask {control.sum()}")
    assert mask.sum() == seen and abs(control.sum() - np.pi * radius ** 2) < 3
PYTHON
