#!/usr/bin/env bash
# The FROC curve of nodule detectors by coco-froc-analysis: two images with one nodule each, one normal image, and detectors that mark each nodule,
# a far corner of the same image, or both. Expected by a user, as its documentation says: "a lesion is localized by default if its center is inside
# any ground truth box", so the corner has sensitivity 0 and one false alarm per image with a mark. Seen: sensitivity 1 and no false alarm, as for
# the perfect detector: boxes and nodules of an image are paired by a cost, pairs that do not fit get a high cost, and all pairs are counted, the
# unfit ones, too. Any mark on an image with a nodule finds it; two marks next to two nodules are two finds. Only more marks than nodules are false
# alarms. Nothing is said. The numbers of the perfect detector, and of marks on normal images, are right. What to do: count by another package, or
# take out boxes that fit no nodule before and count them as false alarms by hand.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps coco-froc-analysis==0.2.15 numpy==2.4.6 scipy==1.17.1 matplotlib==3.11.2 tqdm==4.70.1 \
  contourpy==1.3.3 cycler==0.12.1 fonttools==4.68.0 kiwisolver==1.5.1 packaging==26.4 pillow==13.0.0 pyparsing==3.3.3 python-dateutil==2.9.0.post0 \
  six==1.17.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON' 2>errors.txt || { cat "$folder/errors.txt" >&2; exit 1; }
import json
from importlib.metadata import version

from coco_froc_analysis.froc import froc_point

NODULES = {1: [100, 100, 40, 40], 2: [300, 200, 40, 40]}  # image: x, y, width, height; image 3 is normal
CORNER = [600, 600, 40, 40]
truth = {"images": [{"id": i} for i in (1, 2, 3)], "categories": [{"id": 1, "name": "nodule"}],
         "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": box} for i, box in NODULES.items()]}
detectors = {  # marks as (image, box): found and false alarms by the centers, and as seen
    "marks each nodule": (list(NODULES.items()), (2, 0), (2, 0)),
    "marks a corner of the two images": ([(1, CORNER), (2, CORNER)], (0, 2), (2, 0)),
    "marks nodule and corner": ([*NODULES.items(), (1, CORNER), (2, CORNER)], (2, 2), (2, 2)),
    "marks a corner of the normal image": ([(3, CORNER)], (0, 1), (0, 1)),
}
print("coco-froc-analysis", version("coco-froc-analysis"))


def inside(image, box):
    x, y, width, height = NODULES.get(image, [0, 0, -1, -1])
    return x <= box[0] + box[2] / 2 <= x + width and y <= box[1] + box[3] / 2 <= y + height


for name, (marks, expected, seen) in detectors.items():
    answers = [{"image_id": image, "category_id": 1, "bbox": box, "score": 0.9} for image, box in marks]
    by_hand = sum(inside(*mark) for mark in marks)
    assert (by_hand, len(marks) - by_hand) == expected
    json.dump(truth, open("truth.json", "w"))
    json.dump(answers, open("answers.json", "w"))
    stats = froc_point("truth.json", "answers.json", 0.5, False, 0.5)[1]
    found, alarms = stats["LL"], stats["NL"]
    print(f"{name}: found and false alarms expected {expected}, seen {(found, alarms)}; sensitivity {found / stats['n_lesions']:g}")
    assert (found, alarms) == seen
PYTHON
