#!/usr/bin/env bash
# Average precision by the package mean-average-precision of boxes in relative coordinates (0 to 1), as models for grounding give them. Expected by
# a user: as for the same boxes in pixels. Seen: a box on one lung counts as found for the other lung, and the average precision is 1: to each
# width, height and overlap 1 is added, as for whole pixels, also where the image is 1 wide. In pixels of a 1000 wide image it is 0, as it has to
# be. A box of 3 x 3 pixels on a lesion of 3 x 1.4 counts as found at 0.5, too (by hand 0.47). What to do: scale boxes to large images before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mean-average-precision==2024.1.5.0 pandas==2.3.3 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from mean_average_precision import MetricBuilder


def average_precision(found, truth):
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=1)
    metric.add(np.array([[*found, 0, 0.9]]), np.array([[*truth, 0, 0, 0]]))
    return float(metric.value(iou_thresholds=0.5)["mAP"])


def overlap(a, b):
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


right, left = np.array([0.12, 0.2, 0.47, 0.8]), np.array([0.53, 0.2, 0.88, 0.8])
cases = {"relative": (right, left), "pixels of 1000": (right * 1000, left * 1000), "small lesion": ((0, 0, 3, 3), (0, 0, 3, 1.4))}
print("mean-average-precision", version("mean-average-precision"))
seen = {}
for name, (found, truth) in cases.items():
    seen[name] = average_precision(found, truth)
    print(f"{name}: intersection over union {overlap(found, truth):.2f} by hand; average precision at 0.5 expected 0, seen {seen[name]}")
raise SystemExit(0 if list(seen.values()) == [1, 0, 1] and all(overlap(*case) < 0.5 for case in cases.values()) else 1)
PYTHON
