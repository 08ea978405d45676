"""A DICOM series of 300 slices of 512 x 512 to a volume: today's reader, that of 295bc4a, and SimpleITK, in one run.

Headers are as long as a scanner's: over 100 elements, sequences, and private ones, among them 12 KiB of a vendor's own. Four
ways to store it: explicit and implicit VR, and compressed as JPEG-LS and RLE. Each reading is a process of its own, after one
of a few small slices, which imports what is needed; CPU seconds include those of decoding processes. A checksum compares the
voxels of all sides.

    python benchmarks/dicom_series.py [--slices 300] [--size 512] [--repeats 3] [--cores 2] [--cases explicit rle]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import zlib
from pathlib import Path

import both_builds
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

SYNTAXES = {
    "explicit": uid.ExplicitVRLittleEndian, "implicit": uid.ImplicitVRLittleEndian, "jpeg-ls": uid.JPEGLSLossless,
    "rle": uid.RLELossless,
}  # fmt: skip
SIDES = ("now", "before", "SimpleITK")
PLAIN = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], "StudyDate": "20200101", "SeriesDate": "20200101",
    "AcquisitionDate": "20200101", "ContentDate": "20200101", "StudyTime": "101500.000", "SeriesTime": "101600.000",
    "AcquisitionTime": "101700.000", "AccessionNumber": "A1", "Modality": "CT", "Manufacturer": "VENDOR",
    "InstitutionName": "HOSPITAL", "InstitutionAddress": "STREET", "StationName": "CT1", "StudyDescription": "CHEST",
    "SeriesDescription": "CHEST 1.0 B31f", "InstitutionalDepartmentName": "RADIOLOGY", "ManufacturerModelName": "MODEL",
    "ReferringPhysicianName": "A^B", "PhysiciansOfRecord": "A^B", "PerformingPhysicianName": "A^B", "OperatorsName": "A^B",
    "PatientName": "PSEUDONYM^1", "PatientID": "P1", "PatientBirthDate": "19500101", "PatientSex": "F", "PatientAge": "070Y",
    "PatientSize": "1.7", "PatientWeight": "70", "AdditionalPatientHistory": "NONE", "PatientComments": "NONE",
    "BodyPartExamined": "CHEST", "ScanOptions": "SPI", "SliceThickness": "1", "KVP": "120", "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "1234", "SoftwareVersions": "VA44A", "ProtocolName": "CHEST", "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "1040", "DistanceSourceToPatient": "570", "GantryDetectorTilt": "0", "TableHeight": "150",
    "RotationDirection": "CW", "ExposureTime": "500", "XRayTubeCurrent": "250", "Exposure": "125", "FilterType": "0",
    "GeneratorPower": "30", "FocalSpots": "1.2", "DateOfLastCalibration": "20200101", "TimeOfLastCalibration": "080000.000",
    "ConvolutionKernel": "B31f", "PatientPosition": "HFS", "EstimatedDoseSaving": 0.5, "CTDIvol": 8.5,
    "SingleCollimationWidth": 0.6, "TotalCollimationWidth": 38.4, "TableSpeed": 55.0, "SpiralPitchFactor": 0.9,
    "StudyID": "1", "SeriesNumber": "4", "AcquisitionNumber": "1", "PositionReferenceIndicator": "", "ImageComments": "NONE",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": ["0.703125", "0.703125"], "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0, "LargestImagePixelValue": 4000, "WindowCenter": ["40", "-600"],
    "WindowWidth": ["400", "1200"], "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU",
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"], "RequestingPhysician": "A^B", "CurrentPatientLocation": "WARD",
    "RequestedProcedureDescription": "CT CHEST", "PerformedProcedureStepStartDate": "20200101",
    "PerformedProcedureStepStartTime": "101500.000", "PerformedProcedureStepID": "1", "LossyImageCompression": "00",
    "PerformedProcedureStepDescription": "CT CHEST", "RequestedProcedureID": "1", "ContrastBolusAgent": "AGENT",
}  # fmt: skip


def write_series(folder: Path, syntax: uid.UID, slices: int, size: int) -> None:
    """Slices of smooth tissue and noise, which compress about as well as real ones, with long headers."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    tissue = 800 * np.sin(np.linspace(0, 3, size))[:, None] * np.cos(np.linspace(0, 5, size))[None] + 1000
    series, study, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
    vendor = rng.integers(0, 255, 12 << 10, dtype=np.uint8).tobytes()
    for number in range(slices):
        made = Dataset()
        for keyword, value in PLAIN.items():
            setattr(made, keyword, value)
        made.SOPClassUID, made.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
        made.InstanceNumber, made.SliceLocation = str(number + 1), f"{number * 1.0:.1f}"
        made.ImagePositionPatient = ["-180", "-180", f"{-150 + number * 1.0:.4f}"]
        made.ContentTime = f"1017{number // 60:02}.{number % 60:02}0000"
        made.Rows = made.Columns = size
        _add_sequences(made)
        _add_private(made, vendor, number)
        values = np.clip(tissue + rng.normal(0, 15, (size, size)), 0, 4000).astype(np.uint16)
        made.PixelData = values.tobytes()
        made["PixelData"].VR = "OW"
        made.file_meta = FileMetaDataset()
        native = syntax if syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian) else None
        made.file_meta.TransferSyntaxUID = native or uid.ExplicitVRLittleEndian
        if native is None:
            made.compress(syntax, generate_instance_uid=False)
        made.save_as(folder / f"IM{number:04}", enforce_file_format=True)


def _add_sequences(made: Dataset) -> None:
    for keyword in ("ReferencedStudySequence", "ReferencedImageSequence", "SourceImageSequence"):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
        setattr(made, keyword, Sequence([item]))
    for keyword in ("ProcedureCodeSequence", "RequestAttributesSequence"):
        code, item = Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99LOCAL", "CHEST"
        item.ScheduledProcedureStepID, item.ScheduledProtocolCodeSequence = "1", Sequence([code])
        setattr(made, keyword, Sequence([item]))


def _add_private(made: Dataset, vendor: bytes, number: int) -> None:
    for group, creator in (
        (0x0019, "SIEMENS CT VA0  COAD"),
        (0x0021, "SIEMENS MED"),
        (0x0029, "SIEMENS CSA HEADER"),
    ):
        block = made.private_block(group, creator, create=True)
        for element in range(12):
            block.add_new(element, "DS", str(number + element))
    made.private_block(0x0029, "SIEMENS CSA HEADER").add_new(0x10, "OB", vendor)


def read_side(side: str, folder: Path) -> dict[str, float]:
    """CPU and wall seconds of one reading, and a checksum of the values."""
    if side == "SimpleITK":
        import SimpleITK

        def run(folder: Path) -> np.ndarray:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            return SimpleITK.GetArrayFromImage(reader.Execute())
    else:
        from medmvl.imaging import read

        def run(folder: Path) -> np.ndarray:
            return read(folder).array

    run(folder / "warm")
    cpu, wall = _cpu(), time.perf_counter()
    found = run(folder / "series")
    spent, took = _cpu() - cpu, time.perf_counter() - wall
    return {"cpu": spent, "wall": took, "checksum": zlib.crc32(np.ascontiguousarray(found, np.int16).data)}


def _cpu() -> float:
    """CPU seconds of this process and of the ones it started, those that still run included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    total = usage.ru_utime + usage.ru_stime
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for child in children:
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def floor(folder: Path) -> float:
    """CPU seconds of reading all bytes and understanding none."""
    began = time.process_time()
    for file in folder.iterdir():
        file.read_bytes()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--cases", nargs="+", choices=SYNTAXES, default=list(SYNTAXES))
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(read_side(options.side, options.folder)))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    print(
        f"{options.slices} slices of {options.size} x {options.size}, {len(os.sched_getaffinity(0))} core(s)"
    )
    for case in options.cases:
        with tempfile.TemporaryDirectory() as name:
            series = Path(name, "series")
            write_series(Path(name, "warm"), SYNTAXES[case], 8, 32)
            write_series(series, SYNTAXES[case], options.slices, options.size)
            elements = len(list(pydicom.dcmread(series / "IM0000").iterall()))
            print(f"\n{case}: {elements} elements per header; bytes only {floor(series):.3f} CPU s")
            found = both_builds.in_turns(__file__, SIDES, options.repeats, ["--folder", name])
            assert len({row.pop("checksum") for row in found.values()}) == 1, "the voxels differ"
            both_builds.print_table(found, ("cpu", "wall"))


if __name__ == "__main__":
    main()
