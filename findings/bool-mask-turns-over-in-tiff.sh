#!/usr/bin/env bash
# A mask of booleans with one voxel set, written by tifffile (as by skimage.io) and read by Pillow.
# Expected by a user: one white pixel. Seen: 31 of 32: tifffile writes one bit per pixel as WhiteIsZero, so True is stored as black; it reads its own
# files back as they were, and a viewer or a training that reads with Pillow gets the background as the finding.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import PIL
import tifffile
from PIL import Image

mask = np.zeros((4, 8), bool)
mask[1, 2] = True
tifffile.imwrite("mask.tif", mask)
with tifffile.TiffFile("mask.tif") as file:
    photometric = file.pages[0].photometric.name
seen = {"tifffile": int(tifffile.imread("mask.tif").sum()), "Pillow": int(np.asarray(Image.open("mask.tif")).sum())}
print(f"tifffile {tifffile.__version__}, Pillow {PIL.__version__}; {photometric}; pixels set, 1 written: {seen}")
raise SystemExit(0 if (photometric, seen) == ("MINISWHITE", {"tifffile": 1, "Pillow": 31}) else 1)
PYTHON
