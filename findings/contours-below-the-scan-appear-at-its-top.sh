#!/usr/bin/env bash
# An RT structure set whose structure begins 3 mm below the first of four CT slices (contours at z = -3, 0 and 3; slices at 0, 3, 6, 9), as where the
# structure was drawn on the whole scan and a part of it was kept, by dcmrtstruct2nii and by platipy. Expected by a user: contours outside the image
# are left out, or named, as both do above the last slice. Seen: the slice number is -1, which numpy takes for the last one: the contour from below
# the scan is filled in its top slice, 12 mm away, and a pelvis gets a piece of bladder under the diaphragm. Nothing is said. dcmrtstruct2nii drops
# the whole structure, with a warning, if it ends one slice above the scan. What to do: leave out contours below the first slice before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps dcmrtstruct2nii==5 platipy==0.7.2 pydicom==2.4.5 SimpleITK==2.5.7 numpy==2.4.6 scikit-image==0.26.0 \
  scipy==1.17.1 lazy_loader==0.6 packaging==26.4 networkx==3.6.1 pillow==13.0.0 termcolor==3.3.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import contextlib, io, os
from importlib.metadata import version

import numpy as np, SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

with contextlib.redirect_stdout(io.StringIO()):  # a request to cite it
    from dcmrtstruct2nii import dcmrtstruct2nii
from platipy.dicom.io.rtstruct_to_nifti import convert_rtstruct

print(*(f"{name} {version(name)}" for name in ("dcmrtstruct2nii", "platipy", "pydicom", "SimpleITK")))
study, series, frame = generate_uid(), generate_uid(), generate_uid()


def new(sop_class, modality):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, sop_class, generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, meta.MediaStorageSOPInstanceUID, modality
    ds.PatientName = ds.PatientID = "1"
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = study, frame
    return ds


os.mkdir("ct")
for k in range(4):
    ds = new(CTImageStorage, "CT")
    ds.SeriesInstanceUID, ds.InstanceNumber, ds.Rows, ds.Columns = series, k + 1, 20, 20
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept = 16, 16, 15, 1, -1024
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.PixelData = [1, 1], 3, bytes(800)
    ds.save_as(f"ct/{k}.dcm", write_like_original=False)


def structures(heights):
    ds = new(RTStructureSetStorage, "RTSTRUCT")
    ds.SeriesInstanceUID, ds.StructureSetLabel = generate_uid(), "1"
    name, drawn = Dataset(), Dataset()
    name.ROINumber, name.ROIName, name.ReferencedFrameOfReferenceUID, name.ROIGenerationAlgorithm = 1, "Bladder", frame, "MANUAL"
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, Sequence()
    for z in heights:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        contour.ContourData = [5.5, 5.5, z, 12.5, 5.5, z, 12.5, 12.5, z, 5.5, 12.5, z]
        drawn.ContourSequence.append(contour)
    ds.StructureSetROISequence, ds.ROIContourSequence = Sequence([name]), Sequence([drawn])
    ds.save_as("rt.dcm", write_like_original=False)


def slices(path):
    return (sitk.GetArrayFromImage(sitk.ReadImage(path)) > 0).any((1, 2)).tolist()


seen = {}
for where, heights in (("inside", [0, 3]), ("from below", [-3, 0, 3])):
    structures(heights)
    dcmrtstruct2nii("rt.dcm", "ct", f"one-{where}", convert_original_dicom=False)
    os.mkdir(f"two-{where}")
    convert_rtstruct("ct", "rt.dcm", output_dir=f"two-{where}")
    seen[where] = slices(f"one-{where}/mask_Bladder.nii.gz"), slices(f"two-{where}/Struct_Bladder.nii.gz")
    print(f"contours at z = {heights}: expected in slices [True, True, False, False], dcmrtstruct2nii {seen[where][0]}, platipy {seen[where][1]}")
assert seen["inside"] == ([True, True, False, False],) * 2
assert seen["from below"] == ([True, True, False, True],) * 2
PYTHON
