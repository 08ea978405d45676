#!/usr/bin/env bash
# LoadImage of MONAI on three valid inputs whose geometry, or values, come out wrong.
# 1. An enhanced CT (one file, four frames) by PydicomReader. Expected: Hounsfield units and places, as of the same slices in single files.
#    Seen: a warning that the affine could not be found, but none that these are stored numbers, with an intercept of 1024 missing,
#    and axes (rows, frames, columns), where single files give (columns, rows, slices): a "slice" is a mix of all frames.
# 2. A series of two phases at the same two places. Expected: an error, or two volumes (dcm2niix: two times of two slices).
#    Seen: one volume of four slices, phase after phase, with the extent of one phase divided by three as its spacing, without a word.
# 3. A NRRD in left-anterior-superior space by NrrdReader. Expected: as SimpleITK. Seen: taken as right-anterior-superior, so left and right
#    are exchanged, without a word. In the spaces LPS and RAS it is right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 monai==1.6.1 pydicom==3.0.2 pynrrd==1.1.3 nibabel==5.4.2 SimpleITK==2.5.7 dcm2niix==1.0.20260724 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON' 2>errors.txt || { tail -3 errors.txt; exit 1; }
import subprocess, warnings
from pathlib import Path

import dcm2niix, monai, nibabel as nib, nrrd, numpy as np, SimpleITK as sitk
from monai.transforms import LoadImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

UIDS = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
AXIAL = [1, 0, 0, 0, 1, 0]


def dataset(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def write(path, storage, values, **more):
    made = dataset(**UIDS, Modality="CT", SOPClassUID=storage, SOPInstanceUID=generate_uid(), SeriesNumber=1, Rows=8, Columns=6,
                   SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=1, BitsAllocated=16, BitsStored=16,
                   HighBit=15, PixelData=np.repeat(np.array(values, "<i2"), 48).tobytes(), **more)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(exist_ok=True)
    made.save_as(path, enforce_file_format=True)


measures = dataset(PixelSpacing=[0.8, 0.7], SliceThickness=5)
units = dataset(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
frames = [dataset(PlanePositionSequence=[dataset(ImagePositionPatient=[-10, -20, 5.0 * k])],
                  FrameContentSequence=[dataset(DimensionIndexValues=[1, k + 1], StackID="1", InStackPositionNumber=k + 1)]) for k in range(4)]
shared = dataset(PlaneOrientationSequence=[dataset(ImageOrientationPatient=AXIAL)], PixelMeasuresSequence=[measures],
                 PixelValueTransformationSequence=[units])
write(Path("enhanced/a.dcm"), EnhancedCTImageStorage, [100, 200, 300, 400], InstanceNumber=1, NumberOfFrames=4,
      SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=frames)
for k in range(4):
    write(Path(f"phases/{k}.dcm"), CTImageStorage, [100 * (k + 1)], InstanceNumber=k + 1, AcquisitionNumber=k // 2 + 1, RescaleSlope=1,
          AcquisitionTime=f"10000{k // 2}", RescaleIntercept=-1024, ImagePositionPatient=[-10, -20, 5.0 * (k % 2)],
          ImageOrientationPatient=AXIAL, PixelSpacing=[0.8, 0.7], SliceThickness=5)
nrrd.write("las.nrrd", np.zeros((3, 4, 5), np.int16), {"space": "left-anterior-superior", "space directions": np.eye(3), "space origin": [5, 6, 7]})


told = []


def load(path, reader):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = LoadImage(reader=reader, image_only=True)(path)
    told.extend(str(one.message) for one in caught if "NvImgCodec" not in str(one.message))
    return np.asarray(image), image.affine.numpy()


values, affine = load("enhanced/a.dcm", "PydicomReader")
print(f"monai {monai.__version__}")
print(f"enhanced: expected (6, 8, 4) from -924 with an origin of (10, 20, 0); seen {values.shape} from {values.min():.0f} with {affine[:3, 3].tolist()}")
as_described = values.shape == (8, 4, 6) and values.min() == 100 and not affine[:3, 3].any()
values, affine = load("phases", "PydicomReader")
subprocess.run([dcm2niix.bin, "-f", "phases_%p", "-o", ".", "phases"], check=True, capture_output=True)
volumes = [nib.load(path).shape for path in sorted(Path().glob("phases_*.nii"))]
print(f"two phases: seen {values.shape}, slices {np.linalg.norm(affine[:3, 2]):.2f} mm apart, expected 5; dcm2niix {volumes}")
as_described &= volumes == [(6, 8, 2, 2)]
as_described &= values.shape == (6, 8, 4) and abs(np.linalg.norm(affine[:3, 2]) - 5 / 3) < 1e-3
_, affine = load("las.nrrd", "NrrdReader")
by_itk = -sitk.ReadImage("las.nrrd").GetOrigin()[0]
print(f"NRRD in LAS: the origin's x in RAS is {by_itk} by SimpleITK, {affine[0, 3]} by MONAI")
as_described &= by_itk == -5 and affine[0, 3] == 5
as_described &= len(told) == 1 and "affine" in told[0] and "Enhanced" in told[0]
print(f"warnings of all three: {told}")
raise SystemExit(0 if as_described else 1)
PYTHON
