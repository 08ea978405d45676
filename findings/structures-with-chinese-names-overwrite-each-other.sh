#!/usr/bin/env bash
# An RT structure set of seven structures by dcmrtstruct2nii, which writes one mask per structure: liver, spleen and stomach by their Chinese names,
# and the pairs "GTV+5" and "GTV5", "PTV 0.5" and "PTV 05". Expected by a user: seven masks, or an error. Seen: three masks. File names lose every
# sign that is not a Latin letter, digit or hyphen, so the three organs are all called "mask_", and each mask overwrites the one before: what is left
# under that name is the stomach; the gross tumour is that of "GTV5" alone. Nothing is said, and the tool ends well. What to do: convert one
# structure at a time (structures=[name]) into a folder of its own.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps dcmrtstruct2nii==5 pydicom==2.4.5 SimpleITK==2.5.7 numpy==2.4.6 scikit-image==0.26.0 \
  scipy==1.17.1 lazy_loader==0.6 packaging==26.4 networkx==3.6.1 pillow==13.0.0 termcolor==3.3.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import contextlib, io, os
from importlib.metadata import version

import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

with contextlib.redirect_stdout(io.StringIO()):  # a request to cite it
    from dcmrtstruct2nii import dcmrtstruct2nii, list_rt_structs

print(*(f"{name} {version(name)}" for name in ("dcmrtstruct2nii", "pydicom", "SimpleITK")))
study, frame = generate_uid(), generate_uid()
NAMES = ["\u809d\u810f", "\u813e\u810f", "\u80c3", "GTV+5", "GTV5", "PTV 0.5", "PTV 05"]


def new(sop_class, modality):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, sop_class, generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = sop_class, meta.MediaStorageSOPInstanceUID, modality
    ds.PatientName = ds.PatientID = "1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, generate_uid(), frame
    return ds


os.mkdir("ct")
ds = new(CTImageStorage, "CT")
ds.InstanceNumber, ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, 40, 40, 1, "MONOCHROME2"
ds.PixelRepresentation, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept = 1, 16, 16, 15, 1, -1024
ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
ds.SliceThickness, ds.PixelData = 3, bytes(3200)
ds.save_as("ct/0.dcm", write_like_original=False)
ds = new(RTStructureSetStorage, "RTSTRUCT")
ds.StructureSetLabel, ds.StructureSetROISequence, ds.ROIContourSequence = "1", Sequence(), Sequence()
for number, name in enumerate(NAMES, start=1):  # squares of 3, 4, ... 9 pixels per side
    roi, drawn, contour = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = number, name, frame, "MANUAL"
    near, far = 5.5, 5.5 + number + 2
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [near, near, 0, far, near, 0, far, far, 0, near, far, 0]
    drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence([contour])
    ds.StructureSetROISequence.append(roi)
    ds.ROIContourSequence.append(drawn)
ds.save_as("rt.dcm", write_like_original=False)
assert list_rt_structs("rt.dcm") == NAMES
dcmrtstruct2nii("rt.dcm", "ct", "masks", convert_original_dicom=False)
seen = {name: int((sitk.GetArrayFromImage(sitk.ReadImage(f"masks/{name}")) > 0).sum()) for name in sorted(os.listdir("masks"))}
print(f"expected {len(NAMES)} masks of {[(n + 3) ** 2 for n in range(len(NAMES))]} pixels, seen {len(seen)}: {seen}")
raise SystemExit(0 if list(seen.values()) == [25, 49, 81] or sorted(seen.values()) == [25, 49, 81] else 1)
PYTHON
