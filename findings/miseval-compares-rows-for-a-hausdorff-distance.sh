#!/usr/bin/env bash
# Hausdorff distance ("HD") and average Hausdorff distance ("AHD") of 2D masks by MISeval, made for evaluating medical segmentations: squares of 10 x
# 10 pixels moved by 20 pixels, and one right square with a single false pixel 21 pixels off. Expected by a user: the largest distance from a pixel
# of one mask to the other mask, and a mean that is below it. Seen: HD is 0 for a square moved 20 pixels down, 3.16 for one moved 20 pixels to the
# side, and 1 for the false pixel: each row of the mask (0 and 1) is taken for the coordinates of one point, so rows of equal patterns are at
# distance 0, wherever they are. An organ that was missed has 3.16, the root of its width. AHD is the largest distance, 20 and 21, not a mean, so an
# "average" of one stray pixel is 21. scipy has 20, 20 and 21. Nothing is said. What to do: AHD for the Hausdorff distance, another package for means.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile miseval==1.3.0 hausdorff==0.2.6 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from miseval import evaluate
from scipy.ndimage import distance_transform_edt


def square(row, column, size=10):
    mask = np.zeros((60, 60), int)
    mask[row : row + size, column : column + size] = 1
    return mask


organ = square(10, 10)
cases = {  # mask of the model, HD and AHD as seen
    "the same": (organ, 0, 0),
    "moved 20 pixels down": (square(30, 10), 0, 20),
    "moved 20 pixels aside": (square(10, 30), 3.1623, 20),
    "one false pixel 21 off": (np.maximum(organ, square(10, 40, 1)), 1, 21),
}
print(*(f"{name} {version(name)}" for name in ("miseval", "hausdorff")))
for name, (mask, *seen) in cases.items():
    there, back = distance_transform_edt(1 - mask)[organ == 1], distance_transform_edt(1 - organ)[mask == 1]
    largest, mean = max(there.max(), back.max()), (there.mean() + back.mean()) / 2
    values = [float(np.round(evaluate(organ, mask, metric=metric), 4)) for metric in ("HD", "AHD")]
    print(f"{name}: Hausdorff distance expected {largest:g}, seen {values[0]}; mean distance expected {mean:.2f}, seen {values[1]}")
    assert values == seen and values[1] == largest
missed = float(np.round(evaluate(organ, np.zeros_like(organ), metric="HD"), 4))
print(f"missed altogether: Hausdorff distance expected infinite or an error, seen {missed}")
assert missed == 3.1623
PYTHON
