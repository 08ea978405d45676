#!/usr/bin/env bash
# An FDG PET slice (injected 09:30, scanned 10:30, 5000 Bq/ml), anonymized by dicognito, and its SUV by pysuv before and after.
# Expected by a user: the same SUV, as the README says of dates and times that "their order will remain consistent". Seen: Series Time and
# Acquisition Time move, Radiopharmaceutical Start DateTime with them, but Radiopharmaceutical Start Time stays at 09:30. An uptake of one hour
# becomes one of 11, 16 or 19 hours, and an SUV of 1.38 becomes 61, 406 or 1265, by chance of the seed. The file is valid and nothing is said. pysuv
# reads Start Time only. What to do: write Start Time anew from Start DateTime after dicognito.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dicognito==0.19.0 pysuv==0.1.0 pydicom==3.0.2 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from datetime import datetime
from importlib.metadata import version

import numpy as np, pysuv
from dicognito.anonymizer import Anonymizer
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

HALF_LIFE, DOSE, WEIGHT = 6586.2, 3.7e8, 70.0


def slice_of_pet():
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName, ds.PatientWeight, ds.Manufacturer = "PT", "1", "A^B", WEIGHT, "SIEMENS"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20250301"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "103000"
    ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    ds.Rows = ds.Columns = 2
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 15, 1, 1, "MONOCHROME2"
    ds.RescaleSlope, ds.RescaleIntercept, ds.PixelData = "5", "0", np.full((2, 2), 1000, "<i2").tobytes()
    drug = Dataset()
    drug.RadiopharmaceuticalStartTime, drug.RadiopharmaceuticalStartDateTime = "093000", "20250301093000"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE, HALF_LIFE
    ds.RadiopharmaceuticalInformationSequence = [drug]
    return ds


def by_hand(ds):
    start = datetime.strptime(ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime, "%Y%m%d%H%M%S")
    scan = datetime.strptime(ds.SeriesDate + ds.SeriesTime, "%Y%m%d%H%M%S")
    return 5000 * WEIGHT * 1000 / (DOSE * 2 ** (-(scan - start).total_seconds() / HALF_LIFE))


print(*(f"{name} {version(name)}" for name in ("dicognito", "pysuv", "pydicom")))
before = slice_of_pet()
expected = by_hand(before)
print(f"before: SUV by pysuv {pysuv.compute_suv(before).max():.2f}, by hand {expected:.2f}")
assert abs(pysuv.compute_suv(before).max() - expected) < 1e-6
for seed, seen in (("s", 61), ("a", 406), ("b", 1265)):
    ds = slice_of_pet()
    Anonymizer(seed=seed).anonymize(ds)
    drug = ds.RadiopharmaceuticalInformationSequence[0]
    suv = pysuv.compute_suv(ds).max()
    print(f"seed {seed}: series {ds.SeriesDate} {ds.SeriesTime}, start datetime {drug.RadiopharmaceuticalStartDateTime}, "
          f"start time {drug.RadiopharmaceuticalStartTime}, SUV {suv:.2f}, by hand with the datetime {by_hand(ds):.2f}")
    assert drug.RadiopharmaceuticalStartTime == "093000" and ds.SeriesTime != "103000" and abs(by_hand(ds) - expected) < 1e-6
    assert int(suv) == seen
PYTHON
