#!/usr/bin/env bash
# Average precision by the package map-boxes of a detector that finds the one nodule, with a score of 0.90, and marks 20 normal radiographs with
# 0.99. Expected by a user: a low average precision, as by pycocotools (1/21), since exclude_not_in_annotations ("exclude image IDs which are not
# exist in annotations") is False. Seen: 1. An image without a lesion has no row in the table of lesions, and only images that have one are looked
# at, whatever that argument says, so false alarms in normal patients cost nothing. A row of the normal image with the label "nan" makes them count.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps map-boxes==1.0.6 pycocotools==2.0.11 pandas==3.1.1 numpy==2.4.6 \
    python-dateutil==2.9.0.post0 six==1.17.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import contextlib
import io
from importlib.metadata import version

from map_boxes import mean_average_precision_for_boxes
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

box, normals = [10, 40, 20, 60], [f"normal{i}" for i in range(20)]  # x, x, y, y
lesions = [["sick", "nodule", *box]]
found = [["sick", "nodule", 0.90, *box], *([name, "nodule", 0.99, *box] for name in normals)]
seen = {skip: float(mean_average_precision_for_boxes(lesions, found, exclude_not_in_annotations=skip, verbose=False)[0]) for skip in (False, True)}
with_rows = lesions + [[name, "nan", 0, 0, 0, 0] for name in normals]
counted = float(mean_average_precision_for_boxes(with_rows, found, verbose=False)[0])

truth, corner = COCO(), [10, 20, 30, 40]
truth.dataset = {"images": [{"id": i} for i in range(21)], "categories": [{"id": 1, "name": "nodule"}],
                 "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": corner, "area": 1200, "iscrowd": 0}]}
with contextlib.redirect_stdout(io.StringIO()):
    truth.createIndex()
    results = truth.loadRes([{"image_id": i, "category_id": 1, "bbox": corner, "score": 0.99 if i else 0.90} for i in range(21)])
    other = COCOeval(truth, results, "bbox")
    other.evaluate(), other.accumulate(), other.summarize()
print(f"map-boxes {version('map-boxes')}, pycocotools {version('pycocotools')}: one nodule found at 0.90, 20 false alarms at 0.99 in normal images")
print(f"expected {1 / 21:.3f} (pycocotools {other.stats[1]:.3f}); seen {seen[False]:.3f}, with exclude_not_in_annotations=True {seen[True]:.3f}")
print(f"with rows of the normal images under the label 'nan': {counted:.3f}")
raise SystemExit(0 if seen == {False: 1.0, True: 1.0} and other.stats[1] < 0.06 and counted < 0.06 else 1)
PYTHON
