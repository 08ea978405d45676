#!/usr/bin/env bash
# Average precision by pycocotools of perfect boxes, for annotations numbered from 0 (as enumerate() does) and from 1. Expected by a user: 1 for
# both, as a number is only a name. Seen: the annotation numbered 0 can never be found: its match is stored by that number and then read as "no
# match", so its perfect box counts as a false positive and the lesion as missed. With one lesion the average precision is 0, with two 0.25, with
# twenty 0.89. Nothing is said. Images and categories may be numbered from 0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pycocotools==2.0.11 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import contextlib
import io
from importlib.metadata import version

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(first, lesions):
    truth, box = COCO(), [10, 20, 40, 50]
    truth.dataset = {"images": [{"id": i} for i in range(lesions)], "categories": [{"id": 0, "name": "nodule"}], "annotations": [
        {"id": first + i, "image_id": i, "category_id": 0, "bbox": box, "area": 2000, "iscrowd": 0} for i in range(lesions)]}
    truth.createIndex()
    found = truth.loadRes([{"image_id": i, "category_id": 0, "bbox": box, "score": 0.9} for i in range(lesions)])
    result = COCOeval(truth, found, "bbox")
    result.evaluate(), result.accumulate(), result.summarize()
    return round(float(result.stats[0]), 2)


with contextlib.redirect_stdout(io.StringIO()):
    seen = {(first, lesions): average_precision(first, lesions) for first in (0, 1) for lesions in (1, 2, 4, 20)}
print(f"pycocotools {version('pycocotools')}; average precision of perfect boxes, expected 1.0:")
for (first, lesions), value in seen.items():
    print(f"{lesions} lesions numbered from {first}: seen {value}")
raise SystemExit(0 if all(v == 1 for (first, _), v in seen.items() if first) and seen[0, 1] == 0 and seen[0, 2] < seen[0, 4] < 0.6 else 1)
PYTHON
