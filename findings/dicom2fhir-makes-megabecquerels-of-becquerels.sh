#!/usr/bin/env bash
# An FDG PET (370 MBq, injected at 23:30, scanned at 00:30 the next day, pixels of 4 mm down a column and 2 mm along a row, procedure 44139-4 of
# LOINC, patient DOE^JANE) made an ImagingStudy by dicom2fhir with the FHIR library of its time. Expected by a user: 370 MBq, one hour, x 2 mm and
# y 4 mm, the procedure's code, the name. Seen: 370000000 "Megabecquerel", as DICOM's becquerels are written under the other unit, a million times
# as much; 23 hours of uptake, as days are left out and the sign is dropped; x and y exchanged; a procedure without its code; no half-life; and for
# the family name a piece of JSON, { "Alphabetic": "DOE. Nothing is said of any. What to do: read the tags with pydicom and write the resource by
# oneself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q dicom2fhir==0.1.25 fhir.resources==8.0.0 fhir-core==1.0.1 annotated-types==0.7.0 pydantic==2.14.4 pydicom==3.0.2 \
  pandas==3.1.1 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import asyncio, json, logging
from importlib.metadata import version
from pathlib import Path

from dicom2fhir.dicom2fhir import from_directory
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

logging.disable()


def dataset(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def code(value, scheme, meaning):
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


drug = dataset(Radiopharmaceutical="Fluorodeoxyglucose", RadiopharmaceuticalStartTime="233000", RadionuclideTotalDose="370000000",
               RadiopharmaceuticalStartDateTime="20260301233000", RadionuclideHalfLife="6586.2",
               RadionuclideCodeSequence=[code("C-111A1", "SRT", "^18^Fluorine")])
one = dataset(SOPClassUID=PositronEmissionTomographyImageStorage, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid(), Modality="PT",
              SeriesInstanceUID=generate_uid(), PatientID="1", PatientName="DOE^JANE", PatientSex="F", StudyDate="20260302", StudyTime="003000",
              SeriesDate="20260302", SeriesTime="003000", AcquisitionDate="20260302", AcquisitionTime="003000", Units="BQML",
              SeriesNumber=1, InstanceNumber=1, PixelSpacing=["4", "2"], SliceThickness="3", DecayCorrection="START",
              ProcedureCodeSequence=[code("44139-4", "LN", "PET CT whole body")], RadiopharmaceuticalInformationSequence=[drug])
one.file_meta = FileMetaDataset()
one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
Path("study").mkdir()
one.save_as("study/a.dcm", enforce_file_format=True)
how = {"dicom_timezone": "Europe/Berlin", "generator": {"imaging_study": {"add_instances": True}}}
entries = json.loads(asyncio.run(from_directory("study", how)).model_dump_json())["entry"]
study, patient = entries[0]["resource"], entries[1]["resource"]
parts = {part["url"]: part.get("valueQuantity", {}) for part in study["series"][0]["extension"][0]["extension"]}
pixels = {part["url"]: part["valueQuantity"]["value"] for part in study["series"][0]["instance"][0]["extension"][0]["extension"]}
rows = [  # what, expected, seen, as described
    ("dose", (370, "Megabecquerel"), tuple(parts["radionuclideTotalDose"][key] for key in ("value", "unit")), (370000000, "Megabecquerel")),
    ("uptake in s", 3600, parts["tracerExposureTime"]["value"], 82800),
    ("half-life in s", 6586.2, parts.get("radionuclideHalfLife"), None),
    ("pixel spacing x, y", (2, 4), (pixels["pixelSpacingX"], pixels["pixelSpacingY"]), (4, 2)),
    ("procedure's code", "44139-4", study["procedureCode"][0]["coding"][0].get("code"), None),
    ("family name", "DOE", " ".join(patient["name"][0]["family"].split()), '{ "Alphabetic": "DOE'),
]
print(*(f"{name} {version(name)}" for name in ("dicom2fhir", "fhir.resources", "pydicom")))
for name, expected, seen, described in rows:
    print(f"{name}: expected {expected}, seen {seen}")
    assert seen == described
PYTHON
