#!/usr/bin/env bash
# Distances by seg-metrics of an organ that a model missed altogether, of one that it found where none is, and of one moved by 2 voxels. Expected by
# a user: infinity, NaN or an error for the first two, as one of the surfaces does not exist. Seen: 0 mm for the Hausdorff distance, its 95th
# percentile and the mean distance, as of a perfect segmentation: a model that draws nothing has the best distances of all, and the mean over
# patients falls with each organ missed. The warnings speak of Dice, precision and recall alone. Where there is neither organ, volume similarity
# "vs", 0 for equal volumes elsewhere, is 1. What to do: leave out distances of patients whose Dice is 0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile seg-metrics==1.2.8 numpy==2.4.6 pandas==3.1.1
cd "$folder" && venv/bin/python - <<'PYTHON'
import logging
from importlib.metadata import version

import numpy as np
from seg_metrics.seg_metrics import write_metrics

organ, nothing = np.zeros((24, 24, 24), np.uint8), np.zeros((24, 24, 24), np.uint8)
organ[5:15, 5:15, 5:15] = 1
cases = {"equal": (organ, organ), "moved by 2": (organ, np.roll(organ, 2, axis=2)), "missed": (organ, nothing), "invented": (nothing, organ),
         "neither": (nothing, nothing)}
print("seg-metrics", version("seg-metrics"))
logging.disable(logging.WARNING)
seen = {}
for name, (truth, found) in cases.items():
    values = write_metrics(labels=[1], gdth_img=truth, pred_img=found, verbose=False)[0]
    seen[name] = tuple(round(float(values[key][0]), 2) for key in ("dice", "hd", "hd95", "msd", "vs"))
    print(f"{name}: Dice, Hausdorff, 95th percentile, mean distance, volume similarity {seen[name]}")
print("expected of 'missed' and 'invented': distances of infinity or NaN")
wanted = {"equal": (1, 0, 0, 0, 0), "missed": (0, 0, 0, 0, -2), "invented": (0, 0, 0, 0, 2), "neither": (1, 0, 0, 0, 1)}
raise SystemExit(0 if seen.pop("moved by 2")[1:3] == (2, 2) and seen == wanted else 1)
PYTHON
