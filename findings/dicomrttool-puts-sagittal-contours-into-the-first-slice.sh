#!/usr/bin/env bash
# RT structure sets by DicomRTTool on six slices 3 mm apart of 1 x 1 mm: a square of 7 x 7 mm (64 pixels with the edges) drawn on three axial slices,
# drawn every 1.5 mm (on a scan with thinner slices), and drawn on three or four sagittal MR slices. Expected by a user: a mask on the slices where
# it was drawn. Seen: a contour's slice is the one whose z is nearest, whatever way the slices run, and what is drawn twice on a slice is taken for
# a hole. Axial slices are right. Every 1.5 mm, two contours meet on a slice and cancel: one slice in three is left. All sagittal slices have one z,
# so three contours lie in the first slice it reads, at the patient's side (an ear for the spinal cord), and of four nothing is left. A contour 31 mm
# above an axial scan is drawn in its last slice. Nothing is logged as a warning. What to do: another package for any but axial slices.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile DicomRTTool==6.2.0 pydicom==3.0.2 SimpleITK==2.5.7 scikit-image==0.26.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON' 2>"$folder/messages.txt" || { cat "$folder/messages.txt" >&2; exit 1; }
import logging, shutil
from importlib.metadata import version
from pathlib import Path

import SimpleITK as sitk
from DicomRTTool.ReaderWriter import DicomReaderWriter
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RTStructureSetStorage, generate_uid

warnings = []
handler = logging.Handler(logging.WARNING)
handler.emit = warnings.append
logging.getLogger().addHandler(handler)


def new(sop_class, modality, **values):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName = modality, "1", "1"
    return nested(ds, **values)


def nested(ds=None, **values):
    ds = ds or Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def pixels_per_slice(sagittal, heights):
    """Pixels of the mask per slice, in the order of the places of the slices."""
    shutil.rmtree("scan", ignore_errors=True)
    Path("scan").mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    place = (lambda a, b, h: [h, a, 20 - b]) if sagittal else (lambda a, b, h: [a, b, h])
    references = []
    for k in range(6):
        ds = new(MRImageStorage, "MR", StudyInstanceUID=study, SeriesInstanceUID=series, FrameOfReferenceUID=frame, InstanceNumber=k + 1,
                 Rows=20, Columns=20, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0, BitsAllocated=16,
                 BitsStored=16, HighBit=15, ImagePositionPatient=place(0, 0, 3 * k), PixelSpacing=[1, 1], SliceThickness=3, PixelData=bytes(800),
                 ImageOrientationPatient=[0, 1, 0, 0, 0, -1] if sagittal else [1, 0, 0, 0, 1, 0])
        ds.save_as(f"scan/{k}.dcm", enforce_file_format=True)
        references.append(nested(ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=ds.SOPInstanceUID))
    corners = ((5, 5), (12, 5), (12, 12), (5, 12))
    contours = [nested(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4,
                       ContourData=[value for a, b in corners for value in place(a, b, height)]) for height in heights]
    whole = nested(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=study,
                   RTReferencedSeriesSequence=[nested(SeriesInstanceUID=series, ContourImageSequence=references)])
    ds = new(RTStructureSetStorage, "RTSTRUCT", StudyInstanceUID=study, SeriesInstanceUID=generate_uid(), StructureSetLabel="1",
             ReferencedFrameOfReferenceSequence=[nested(FrameOfReferenceUID=frame, RTReferencedStudySequence=[whole])],
             StructureSetROISequence=[nested(ROINumber=1, ROIName="cord", ReferencedFrameOfReferenceUID=frame, ROIGenerationAlgorithm="MANUAL")],
             ROIContourSequence=[nested(ReferencedROINumber=1, ContourSequence=contours)],
             RTROIObservationsSequence=[nested(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter="")])
    ds.save_as("scan/structures.dcm", enforce_file_format=True)
    reader = DicomReaderWriter(Contour_Names=["cord"], arg_max=True)
    reader.walk_through_folders("scan")
    reader.get_images_and_mask()
    counts, image = reader.mask.sum(axis=(1, 2)).tolist(), reader.dicom_handle
    axis = 0 if sagittal else 2
    places = [image.TransformIndexToPhysicalPoint((0, 0, k))[axis] for k in range(6)]
    return [count for _, count in sorted(zip(places, counts))]


print(*(f"{name} {version(name)}" for name in ("DicomRTTool", "pydicom")), "SimpleITK", sitk.Version.VersionString())
cases = {  # sagittal, places of contours in mm, expected and seen pixels per slice at 0, 3, ... 15 mm
    "three axial slices": (False, [3, 6, 9], [0, 64, 64, 64, 0, 0], [0, 64, 64, 64, 0, 0]),
    "every 1.5 mm": (False, [3, 4.5, 6, 7.5, 9], [0, 64, 64, 64, 0, 0], [0, 0, 0, 64, 0, 0]),
    "31 mm above the scan": (False, [46], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 64]),
    "three sagittal slices": (True, [3, 6, 9], [0, 64, 64, 64, 0, 0], [0, 0, 0, 0, 0, 64]),
    "four sagittal slices": (True, [3, 6, 9, 12], [0, 64, 64, 64, 64, 0], [0, 0, 0, 0, 0, 0]),
}
for name, (sagittal, heights, expected, seen) in cases.items():
    counts = pixels_per_slice(sagittal, heights)
    print(f"{name}: expected {expected}, seen {counts}")
    assert counts == seen
assert not warnings, warnings
PYTHON
