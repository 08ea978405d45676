#!/usr/bin/env bash
# A NIfTI with two positions of one brain, which the standard's codes are made for: the scanner's in the qform (code 1), an aligned or an atlas' one
# in the sform (code 2 or 4), and files with other codes, by nibabel, SimpleITK and nifti-reader-js (npm; web viewers). Expected by a user: sform
# before qform wherever the sform has a code, in every program. Seen: nibabel does so. SimpleITK takes the sform only where its code is 1 or the
# qform has none, so of these files it gives the scanner's position, and the qform even where both codes are 2: a mask drawn on one lies elsewhere on
# the other, by any distance. nifti-reader-js takes the one with the larger code, the sform if they are equal. Nothing is said by any. What to do:
# write both alike (set_sform and set_qform with one matrix and one code), or one alone.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6 packaging==26.4 typing_extensions==4.15.0
cd "$folder" && npm install --silent --no-audit --no-fund nifti-reader-js@0.8.0 > /dev/null
cat > origin.mjs <<'JS'
import fs from "fs";
import * as nifti from "nifti-reader-js";
for (const path of process.argv.slice(2)) {
  const bytes = fs.readFileSync(path);
  const header = nifti.readHeader(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  console.log(JSON.stringify(header.affine.slice(0, 3).map((row) => row[3])));
}
JS
venv/bin/python -W ignore - <<'PYTHON'
import json, subprocess

import nibabel as nib, numpy as np, SimpleITK as sitk

SFORM, QFORM = np.diag([2.0, 3, 4, 1]), np.diag([2.0, 3, 4, 1])
SFORM[:3, 3], QFORM[:3, 3] = (5, 6, 7), (1, 2, 3)
NAMES = {(5, 6, 7): "sform", (1, 2, 3): "qform"}
CODES = {  # (sform code, qform code): taken by nibabel, SimpleITK, nifti-reader-js
    (1, 1): ("sform", "sform", "sform"),
    (1, 0): ("sform", "sform", "sform"),
    (0, 1): ("qform", "qform", "qform"),
    (4, 0): ("sform", "sform", "sform"),
    (4, 1): ("sform", "qform", "sform"),
    (2, 1): ("sform", "qform", "sform"),
    (2, 2): ("sform", "qform", "sform"),
    (1, 2): ("sform", "sform", "qform"),
    (2, 4): ("sform", "qform", "qform"),
}
for sform, qform in CODES:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), SFORM)
    image.set_sform(SFORM, sform), image.set_qform(QFORM, qform)
    nib.save(image, f"{sform}{qform}.nii")
paths = [f"{sform}{qform}.nii" for sform, qform in CODES]
in_js = [tuple(json.loads(line)) for line in subprocess.check_output(["node", "origin.mjs", *paths], text=True).split("\n") if line]
js = json.load(open("node_modules/nifti-reader-js/package.json"))["version"]
print(f"nibabel {nib.__version__}, SimpleITK {sitk.Version.VersionString()}, nifti-reader-js {js}; expected: the sform where it has a code")
for (codes, described), path, by_js in zip(CODES.items(), paths, in_js, strict=True):
    x, y, z = sitk.ReadImage(path).GetOrigin()
    seen = tuple(NAMES[tuple(round(float(n)) for n in place)] for place in (nib.load(path).affine[:3, 3], (-x, -y, z), by_js))
    print("sform code {}, qform code {}: nibabel {}, SimpleITK {}, nifti-reader-js {}".format(*codes, *seen))
    assert seen == described
PYTHON
