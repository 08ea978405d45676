#!/usr/bin/env bash
# dicompyler-core on a dose of 1 to 9 Gy on planes at z = -12 to 12 mm, whose Grid Frame Offset Vector is relative (0, 3, ...) or absolute (-12, -9,
# ...), both allowed by the standard (PS3.3 C.8.8.3.2: absolute if its first value is the z of Image Position), and on dose pixels of 3 x 1 mm.
# Expected by a user: the same doses, whichever way the file says the places; x positions from the spacing along x. Seen: an absolute vector is
# added to the position once more. A structure with a mean dose of 3 Gy gets 7 Gy, and the sum of two plans a pixel apart is 6 Gy where 10 are
# right. In DoseGrid a spacing of 3 mm in y and 1 mm in x is taken for 3 in x and 1 in y. No word of it. (dicompyler-core 0.5.6 is the newest, and
# cannot be imported with pydicom 3.) What to do: make the vector relative before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dicompyler-core==0.5.6 pydicom==2.4.5 scipy==1.17.1 matplotlib==3.11.2 numpy==1.26.4
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from dicompylercore import dvhcalc
from dicompylercore.dose import DoseGrid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTDoseStorage, RTStructureSetStorage, generate_uid


def item(**values):
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def dataset(uid, modality):
    ds = item(SOPClassUID=uid, SOPInstanceUID=generate_uid(), Modality=modality, file_meta=FileMetaDataset())
    ds.file_meta.TransferSyntaxUID, ds.is_little_endian, ds.is_implicit_VR = ImplicitVRLittleEndian, True, True
    return ds


def dose(first, x=0, spacing=(2, 2)):
    ds = dataset(RTDoseStorage, "RTDOSE")
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 20, 20, 9, 32, 32, 31
    ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [x, 0, -12], [1, 0, 0, 0, 1, 0], list(spacing)
    ds.GridFrameOffsetVector, ds.FrameIncrementPointer = [first + 3 * k for k in range(9)], 0x3004000C
    ds.DoseGridScaling, ds.DoseUnits, ds.DoseType, ds.DoseSummationType = 0.001, "GY", "PHYSICAL", "PLAN"
    ds.PixelData = np.repeat(np.arange(1000, 10000, 1000, "<u4"), 400).tobytes()
    return ds


contours = [item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=[5, 5, z, 25, 5, z, 25, 25, z, 5, 25, z])
            for z in (-9, -6, -3)]
organ = dataset(RTStructureSetStorage, "RTSTRUCT")
organ.StructureSetROISequence = [item(ROINumber=1, ROIName="organ")]
organ.RTROIObservationsSequence = [item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN")]
organ.ROIContourSequence = [item(ReferencedROINumber=1, ROIDisplayColor=[1, 2, 3], ContourSequence=contours)]

print(*(f"{name} {version(name)}" for name in ("dicompyler-core", "pydicom")))
for kind, first, wanted in (("relative", 0, (3, 10)), ("absolute", -12, (7, 6))):
    mean = dvhcalc.get_dvh(organ, dose(first), 1).mean
    total = (DoseGrid(dose(first)) + DoseGrid(dose(first, x=2))).dose_grid[10, 10, 4]
    print(f"{kind}: mean dose {mean:.2f} Gy (expected 3), sum of two plans in the middle {total:.2f} Gy (expected 10)")
    assert abs(mean - wanted[0]) < 0.02 and abs(total - wanted[1]) < 0.02
grid = DoseGrid(dose(0, spacing=(3, 1)))
print(f"rows 3 mm and columns 1 mm apart: last x {grid.x_axis[-1]} (expected 19), last y {grid.y_axis[-1]} (expected 57)")
assert (grid.x_axis[-1], grid.y_axis[-1]) == (57, 19)
PYTHON
