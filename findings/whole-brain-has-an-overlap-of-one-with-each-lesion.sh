#!/usr/bin/env bash
# Overlap (IoU) of each lesion with a model's mask by lesion-metrics (iou_per_lesion), and with it the share of lesions found (ltpr) at an IoU above
# 0.5, which the package offers for multiple sclerosis. Expected by a user: intersection over union, so a mask that covers the whole volume has an
# IoU near 0 with a small lesion. Seen: 1, as the mask is cut to the box around the lesion before the union is taken, so all that lies outside that
# box costs nothing. A model that marks everything finds all lesions at any threshold; marks twice as long as the lesions have 1 for 0.5, and marks
# half a lesion off 0.5 for 0.33. Dice of the same masks is right. Nothing is said. What to do: IoU of whole masks, lesion by lesion.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile lesion-metrics==0.1.12 scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from lesion_metrics.metrics import dice, iou_per_lesion, ltpr


def box(*sides):
    mask = np.zeros((60, 60, 20), bool)
    mask[tuple(slice(first, last) for first, last in sides)] = True
    return mask


first, second = box((10, 16), (10, 16), (5, 9)), box((40, 46), (20, 26), (5, 9))
truth = first | second
models = {  # mask, IoU of the two lesions as seen
    "the lesions": (truth, [1, 1]),
    "each moved by 3 of 6 voxels": (np.roll(truth, 3, axis=0), [0.5, 0.5]),
    "each twice as long": (truth | np.roll(truth, 6, axis=0), [1, 1]),
    "the whole volume": (np.ones_like(truth), [1, 1]),
}
print("lesion-metrics", version("lesion-metrics"))
for name, (mask, seen) in models.items():
    # the part of the mask that belongs to a lesion: the half of the volume that holds it
    halves = np.arange(60)[:, None, None] < 30, np.arange(60)[:, None, None] >= 30
    by_hand = [float((lesion & mask & half).sum() / (lesion | mask & half).sum()) for lesion, half in zip((first, second), halves)]
    overlaps = [float(overlap) for overlap in iou_per_lesion(truth, mask)]
    print(f"{name}: IoU expected {np.round(by_hand, 3).tolist()}, seen {overlaps}; found above 0.5: {ltpr(mask, truth, iou_threshold=0.5)}; "
          f"Dice {dice(mask, truth):.3f}")
    assert np.allclose(overlaps, seen)
    assert name == "the lesions" or max(by_hand) <= 0.5
PYTHON
