#!/usr/bin/env bash
# pydicom: Dataset.decompress(), as the first step of many preprocessing scripts, on a file in RLE Lossless.
# Expected: equal pixels under equal identifiers, as nothing is lost and the standard asks for no new SOP Instance UID where nothing is.
# Seen: a new random SOP Instance UID in each run (argument generate_instance_uid, True by default; compress() does so too). Tables of labels, segmentations and
# structured reports name slices by that UID, so after saving none of them is found any more, and a second run gives other ones.
# GDCM's transcoding keeps the UID. What to do: ds.decompress(generate_instance_uid=False).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pydicom==3.0.2 python-gdcm==3.2.6 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import gdcm, numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

one = Dataset()
one.file_meta = FileMetaDataset()
one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, generate_uid(), "CT"
one.StudyInstanceUID, one.SeriesInstanceUID = generate_uid(), generate_uid()
one.Rows = one.Columns = 8
one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
one.PixelData = np.arange(64, dtype="<u2").tobytes()
one.compress(RLELossless, generate_instance_uid=False)
one.save_as("a.dcm", enforce_file_format=True)
uid, pixels = one.SOPInstanceUID, np.arange(64).reshape(8, 8)


def decompressed(**how):
    read = pydicom.dcmread("a.dcm")
    read.decompress(**how)
    assert np.array_equal(read.pixel_array, pixels)
    return read.SOPInstanceUID


reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
reader.SetFileName("a.dcm")
assert reader.Read()
change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
change.SetInput(reader.GetImage())
assert change.Change()
writer.SetFileName("gdcm.dcm"), writer.SetFile(reader.GetFile()), writer.SetImage(change.GetOutput())
assert writer.Write()
by_gdcm = pydicom.dcmread("gdcm.dcm")
assert np.array_equal(by_gdcm.pixel_array, pixels)
first, second, asked = decompressed(), decompressed(), decompressed(generate_instance_uid=False)
print(f"pydicom {pydicom.__version__}, GDCM {gdcm.Version.GetVersion()}; pixels are equal everywhere")
for name, value in (("decompress()", first), ("decompress() once more", second), ("generate_instance_uid=False", asked), ("GDCM", by_gdcm.SOPInstanceUID)):
    print(f"{name}: SOP Instance UID {'kept' if value == uid else 'NEW'}")
raise SystemExit(0 if first != uid and second not in (uid, first) and asked == uid == by_gdcm.SOPInstanceUID else 1)
PYTHON
