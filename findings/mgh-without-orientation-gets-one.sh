#!/usr/bin/env bash
# An MGH file (FreeSurfer) whose goodRASFlag is 0: its header says nothing about orientation, and its 2 x 0.6 x 0.5 mm voxels are stored all the same.
# Expected by a user of nibabel: an image that says that its orientation is not known, of voxels of 0.5 x 0.6 x 2 mm. Seen: the flag reads 1, the
# orientation is LSP (coronal) and centred, and voxels are 1 x 1 x 1 mm, without a warning: sides and sizes that no file said.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import struct
import warnings

import nibabel as nib
import numpy as np

nib.save(nib.MGHImage(np.zeros((7, 6, 5), np.int16), np.diag([0.5, 0.6, 2, 1])), "a.mgh")
with open("a.mgh", "r+b") as file:
    file.seek(28)
    file.write(struct.pack(">h", 0))  # goodRASFlag
    stored = struct.unpack(">3f", file.read(12))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", ResourceWarning)
    image = nib.load("a.mgh")
flag, zooms = int(image.header["goodRASFlag"]), tuple(float(step) for step in image.header.get_zooms())
codes = "".join(nib.aff2axcodes(image.affine))
print(f"nibabel {nib.__version__}; stored: flag 0, voxels of {np.round(stored, 3).tolist()} mm; seen: flag {flag}, {zooms} mm, {codes}, "
      f"{len(said)} warnings")
raise SystemExit(0 if (flag, zooms, codes, len(said)) == (1, (1.0, 1.0, 1.0), "LSP", 0) else 1)
PYTHON
