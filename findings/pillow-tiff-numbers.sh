#!/usr/bin/env bash
# Grey TIFFs whose numbers Pillow changes without a word: compressed big-endian ones, turned ones, white-is-zero ones.
# Expected by a user: the numbers that tifffile wrote (turned as the orientation tag says, white as the largest number).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np, PIL, tifffile
from PIL import Image

def pillow(source):
    with Image.open(source) as picture:
        return np.asarray(picture)

results = {}

# 1. Signed 16-bit, 32-bit and float numbers, big-endian and compressed: libtiff swaps them, and Pillow swaps them again.
for dtype in ("u2", "i2", "i4", "f4"):
    pixels = (np.arange(60).reshape(6, 10) - (0 if dtype == "u2" else 30)).astype(dtype)
    for compression in (None, "lzw", "zlib"):
        tifffile.imwrite("a.tif", pixels, byteorder=">", compression=compression)
        right = np.array_equal(pillow("a.tif").astype(np.float64), pixels.astype(np.float64))
        results[f"big-endian {dtype}, {compression or 'uncompressed'}"] = (right, dtype == "u2" or compression is None)

# 2. Orientation 5 to 8, uncompressed: right when Pillow is given a stream, scrambled when it is given the path.
pixels = np.arange(60, dtype=np.uint16).reshape(6, 10)
tifffile.imwrite("a.tif", pixels, photometric="minisblack", extratags=[(274, 3, 1, 6, True)])
turned = np.rot90(pixels, -1)
with open("a.tif", "rb") as file:
    results["orientation 6, 16 bits, as a stream"] = (np.array_equal(pillow(file), turned), True)
results["orientation 6, 16 bits, by its path"] = (np.array_equal(pillow("a.tif"), turned), False)

# 3. White is zero: turned round in 8 bits, left as a negative in 16.
for dtype in (np.uint8, np.uint16):
    tifffile.imwrite("a.tif", pixels.astype(dtype), photometric="miniswhite")
    right = np.array_equal(pillow("a.tif"), np.iinfo(dtype).max - pixels.astype(dtype))
    results[f"white is zero, {np.dtype(dtype).itemsize * 8} bits"] = (right, dtype is np.uint8)

print(f"Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
for name, (right, before) in results.items():
    print(f"{name}: {'as expected' if right else 'OTHER NUMBERS'}{'' if right == before else '  CHANGED'}")
raise SystemExit(0 if all(right == before for right, before in results.values()) else 1)
PYTHON
