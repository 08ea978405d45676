#!/usr/bin/env bash
# rt-utils on images that are not square: 10 rows and 16 columns, with pixels of 3 mm down a column and 1 mm along a row.
# Expected by a user: the contours of a mask lie where the image has it, and the mask read back is the mask written. Seen: Pixel Spacing is taken in
# the wrong order, so a structure at x 9 to 14, y 6 to 21 mm is stored at x 27 to 42, y 2 to 7 mm, and every other program shows it there. Reading
# gives 16 rows and 10 columns and leaves out what lies right of column 9: 6 of 36 voxels come back. Nothing is said. Square pixels in as many rows
# as columns are right. What to do: pad and resample to such images, or use another package.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rt-utils==1.2.7 pydicom==3.0.2 SimpleITK==2.5.7 opencv-python==5.0.0.93 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np, SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder


def series(folder, rows, columns, spacing):
    Path(folder).mkdir()
    study, name, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(3):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, name, frame
        ds.Modality, ds.PatientID, ds.StudyID, ds.StudyDate, ds.StudyTime, ds.InstanceNumber = "CT", "1", "1", "20250101", "101010", k + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0], spacing
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = rows, columns, 16, 16, 15
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.PixelData = bytes(rows * columns * 2)
        ds.save_as(f"{folder}/{k}.dcm", enforce_file_format=True)
    return sitk.ReadImage([f"{folder}/{k}.dcm" for k in range(3)])


print(*(f"{name} {version(name)}" for name in ("rt-utils", "pydicom", "SimpleITK")))
for folder, rows, columns, spacing, wrong in (("control", 16, 16, [1, 1], False), ("other", 10, 16, [3, 1], True)):
    image = series(folder, rows, columns, spacing)
    mask = np.zeros((rows, columns, 3), bool)
    mask[2:8, 9:15, 1] = True
    first, last = (np.array(image.TransformIndexToPhysicalPoint(index)) for index in ((9, 2, 1), (14, 7, 1)))
    structures = RTStructBuilder.create_new(folder)
    structures.add_roi(mask, name="organ")
    points = np.reshape(structures.ds.ROIContourSequence[0].ContourSequence[0].ContourData, (-1, 3)).astype(float)
    back = structures.get_roi_mask_by_name("organ")
    print(f"{rows} x {columns}, {spacing} mm: expected {first} to {last}, seen {points.min(0)} to {points.max(0)};",
          f"mask {mask.shape} {mask.sum()}, read back {back.shape} {back.sum()}")
    if wrong:
        assert np.allclose([points.min(0), points.max(0)], [[27, 2, 3], [42, 7, 3]]) and back.shape == (16, 10, 3) and back.sum() == 6
    else:
        assert np.allclose([points.min(0), points.max(0)], [first, last]) and (back == mask).all()
PYTHON
