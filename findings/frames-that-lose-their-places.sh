#!/usr/bin/env bash
# SimpleITK on DICOM files of several frames whose frames are not in even steps in the order of the file: an enhanced CT with frames stored
# interleaved, and a segmentation that leaves out an empty frame (highdicom's default, and allowed by the standard).
# Expected: frames sorted by their positions, or an error. Seen: the order of the file with spacing 1 x 1 x 1 and the direction of the identity,
# without a word; the segmentation, stored from the top, is upside down as well. Where a segmentation's steps happen to be even, all is right.
# Slopes per frame are ignored as well: each frame has the first one's. dcm2niix has places and slopes of the CT right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SimpleITK==2.5.7 pydicom==3.0.2 highdicom==0.28.2 dcm2niix==1.0.20260724 nibabel==5.4.2 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from pathlib import Path

import dcm2niix, highdicom as hd, nibabel as nib, numpy as np, SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

STUDY = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
         "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer")


def dataset(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(storage, pixels, **values):
    made = dataset(**STUDY, **dict.fromkeys(EMPTY, ""), Modality="CT", SOPClassUID=storage, SOPInstanceUID=generate_uid(),
                   SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=8, Columns=6, BitsAllocated=16, BitsStored=16,
                   HighBit=15, PixelRepresentation=1, PixelData=pixels.astype("<i2").tobytes(), **values)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def enhanced(name, heights, slopes):
    """Each pixel holds the number of its slice, one to four from the feet."""
    measures = dataset(PixelSpacing=[0.8, 0.7], SliceThickness=5)
    shared = dataset(PlaneOrientationSequence=[dataset(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])], PixelMeasuresSequence=[measures])
    frames = [dataset(PlanePositionSequence=[dataset(ImagePositionPatient=[0, 0, z])],
                      PixelValueTransformationSequence=[dataset(RescaleSlope=slope, RescaleIntercept=0, RescaleType="HU")],
                      FrameContentSequence=[dataset(DimensionIndexValues=[1, int(z / 5) + 1], StackID="1", InStackPositionNumber=int(z / 5) + 1)])
              for z, slope in zip(heights, slopes)]
    pixels = np.repeat(np.array([z / 5 + 1 for z in heights]), 48)
    made = image(EnhancedCTImageStorage, pixels, NumberOfFrames=len(frames), SharedFunctionalGroupsSequence=[shared],
                 PerFrameFunctionalGroupsSequence=frames)
    Path(name).mkdir()
    made.save_as(f"{name}/a.dcm", enforce_file_format=True)


def segmentation(name, slices):
    """One voxel more in each labelled slice: its number, one to four from the feet."""
    sources = [image(CTImageStorage, np.zeros(48), ImagePositionPatient=[0, 0, 5.0 * k], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                     PixelSpacing=[0.8, 0.7], SliceThickness=5) for k in range(4)]
    mask = np.zeros((4, 8, 6), np.uint8)
    for k in slices:
        mask[k - 1, 0, :k] = 1
    nodule = hd.seg.SegmentDescription(1, "nodule", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, "MANUAL")
    Path(name).mkdir()
    hd.seg.Segmentation(sources, mask, "BINARY", [nodule], generate_uid(), 2, generate_uid(), 1, "none", "none", "1", "1").save_as(f"{name}/a.dcm")


def places(name):
    """Value (or voxels) of each frame with its height, from the feet; and the spacing in a slice."""
    read = sitk.ReadImage(f"{name}/a.dcm")
    frames = sitk.GetArrayFromImage(read)
    numbers = [int((f > 0).sum()) if "segmentation" in name else int(f[0, 0]) for f in frames]
    heights = [read.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(len(frames))]
    return sorted(zip(heights, numbers)), read.GetSpacing()[:2]


enhanced("in-order", [0, 5, 10, 15], [1, 1, 1, 1])
enhanced("interleaved", [0, 10, 5, 15], [1, 1, 1, 1])
enhanced("slopes", [0, 5, 10, 15], [1, 2, 3, 4])
segmentation("segmentation-without-a-gap", [1, 2, 3])
segmentation("segmentation-with-a-gap", [1, 2, 4])
CASES = {  # expected by the positions, and as it is
    "in-order": ([(0, 1), (5, 2), (10, 3), (15, 4)], [(0, 1), (5, 2), (10, 3), (15, 4)], (0.7, 0.8)),
    "interleaved": ([(0, 1), (5, 2), (10, 3), (15, 4)], [(0, 1), (1, 3), (2, 2), (3, 4)], (1, 1)),
    "slopes": ([(0, 1), (5, 4), (10, 9), (15, 16)], [(0, 1), (5, 2), (10, 3), (15, 4)], (0.7, 0.8)),
    "segmentation-without-a-gap": ([(0, 1), (5, 2), (10, 3)], [(0, 1), (5, 2), (10, 3)], (0.7, 0.8)),
    "segmentation-with-a-gap": ([(0, 1), (5, 2), (15, 4)], [(15, 4), (16, 2), (17, 1)], (1, 1)),
}
print(f"SimpleITK {sitk.Version.VersionString()}, highdicom {hd.__version__}; (height in mm, what lies there)")
same = True
for name, (right, described, spacing) in CASES.items():
    seen, seen_spacing = places(name)
    print(f"{name}: expected {right}, seen {seen}, spacing {seen_spacing}")
    same &= np.allclose(seen, described) and np.allclose(seen_spacing, spacing)
    if "segmentation" not in name:
        subprocess.run([dcm2niix.bin, "-f", name, "-o", ".", name], check=True, capture_output=True)
        by_dcm2niix = nib.load(f"{name}.nii").get_fdata()[0, 0].tolist()
        print(f"    dcm2niix {by_dcm2niix}")
        same &= np.allclose(by_dcm2niix, [value for _, value in right])
raise SystemExit(0 if same else 1)
PYTHON
