#!/usr/bin/env bash
# Radiomics of arrays by Nyxus: a PET in SUV (0.2 to 5.9), a map of diffusion in mm2/s (about 0.001), and a CT in Hounsfield units of which one slice
# has air around the body and one has not. Expected by a user: MIN, MAX and MEAN of the voxels of the mask, as numpy has them; one tissue has one
# value. Seen: numbers go through whole ones, so an SUV of 0.9 is 0, a mean of 3.1 is 2.6, and of the diffusion map all three are 0. dynamic_range,
# min_intensity and max_intensity, which scale floating point TIFFs, change nothing here. Negative numbers are moved up by the smallest number of
# their own array (which the documentation says), voxels outside the mask included: the same lung is 402 in one slice and 102 in the other. Nothing
# is said. What to do: multiply and shift by fixed numbers before (SUV times 1000, HU plus 1024).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile nyxus==0.11.0 numpy==2.4.6 pandas==2.3.3
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np, nyxus

NAMES = ["MIN", "MAX", "MEAN"]
draw = np.random.default_rng(0)
mask = np.zeros((30, 30), np.uint32)
mask[5:25, 5:25] = 1
suv = np.where(mask, draw.uniform(0.2, 5.9, mask.shape), 0)
lung = draw.integers(-700, -500, mask.shape)
images = {
    "SUV": suv, "diffusion in mm2/s": suv * 0.0005, "SUV times 1000": suv * 1000,
    "lung with air around": np.where(mask, lung, -1000), "lung without": np.where(mask, lung, -700),
}
print("nyxus", version("nyxus"))
seen = {}
for name, image in images.items():
    inside = image[mask > 0]
    expected = [float(round(value, 4)) for value in (inside.min(), inside.max(), inside.mean())]
    scaled = nyxus.Nyxus(NAMES, dynamic_range=10000, min_intensity=0, max_intensity=6).featurize(image, mask)[NAMES].iloc[0].tolist()
    seen[name] = nyxus.Nyxus(NAMES).featurize(image, mask)[NAMES].iloc[0].tolist()
    print(f"{name}: smallest, largest and mean expected {expected}, seen {[round(value, 4) for value in seen[name]]}")
    assert scaled == seen[name]
assert seen["SUV"] == [0, 5, np.floor(suv[mask > 0]).mean()]
assert seen["diffusion in mm2/s"] == [0, 0, 0]
assert abs(seen["SUV times 1000"][2] - suv[mask > 0].mean() * 1000) < 1
assert np.allclose(seen["lung with air around"], np.array(seen["lung without"]) + 300)
PYTHON
