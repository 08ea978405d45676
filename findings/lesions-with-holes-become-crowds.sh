#!/usr/bin/env bash
# Masks written as COCO by supervision (DetectionDataset.as_coco): a solid lesion, one with a necrotic centre (a hole), one in two parts, and a line
# one pixel wide (a pneumothorax). Expected by a user: four lesions that an evaluation asks for. Seen: those with a hole or parts become iscrowd 1,
# which means "a group, do not evaluate" in COCO: pycocotools leaves them out, so a model that misses both has an average precision of 1. Their
# pixels are right, so a viewer shows nothing odd. The line gets a box of height 0 and no outline at all. Nothing is said. What to do: set iscrowd
# to 0 in the file, keep the run-length masks.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps supervision==0.31.2 opencv-python-headless==5.0.0.93 pycocotools==2.0.11 numpy==2.4.6 \
    scipy==1.17.1 matplotlib==3.11.2 contourpy==1.3.3 cycler==0.12.1 fonttools==4.68.0 kiwisolver==1.5.1 packaging==26.4 pillow==13.0.0 \
    pyparsing==3.3.3 PyYAML==6.0.4 defusedxml==0.7.1 requests==2.34.2 urllib3==2.8.0 idna==3.20 charset-normalizer==3.5.3 \
    certifi==2026.10.18 tqdm==4.70.1 pyDeprecate==0.13.0 python-dateutil==2.9.0.post0 six==1.17.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import contextlib
import io
import json
from importlib.metadata import version

import cv2
import numpy as np
import supervision as sv
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

names = "solid", "with a hole", "in two parts", "line"
masks = np.zeros((4, 60, 60), bool)
masks[0, 34:38, 5:50] = True
masks[1, 10:30, 10:30] = True
masks[1, 15:25, 15:25] = False
masks[2, 50:55, 5:10] = masks[2, 50:55, 30:35] = True
masks[3, 42, 5:50] = True
cv2.imwrite("ct.png", np.zeros((60, 60, 3), np.uint8))
lesions = sv.Detections(xyxy=sv.mask_to_xyxy(masks).astype(float), mask=masks, class_id=np.zeros(4, int))
sv.DetectionDataset(classes=["lesion"], images=["ct.png"], annotations={"ct.png": lesions}).as_coco(annotations_path="coco.json")
written = json.load(open("coco.json"))


def average_precision(annotations):
    truth = COCO()
    truth.dataset = written | {"annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        first = written["annotations"][0]
        found = truth.loadRes([{"image_id": first["image_id"], "category_id": first["category_id"], "bbox": first["bbox"], "score": 0.9}])
        result = COCOeval(truth, found, "bbox")
        result.evaluate(), result.accumulate(), result.summarize()
    return round(float(result.stats[1]), 2)


print(f"supervision {version('supervision')}, pycocotools {version('pycocotools')}")
for name, lesion in zip(names, written["annotations"]):
    print(f"{name}: iscrowd expected 0, seen {lesion['iscrowd']}; box {lesion['bbox']}; outline {'there' if lesion['segmentation'] else 'empty'}")
three = written["annotations"][:3]
seen = average_precision(three), average_precision([lesion | {"iscrowd": 0} for lesion in three])
print(f"one of the first three lesions found: average precision expected 0.34, seen {seen[0]}; with iscrowd 0 in the file {seen[1]}")
crowds = [lesion["iscrowd"] for lesion in written["annotations"]]
line = written["annotations"][3]
raise SystemExit(0 if crowds == [0, 1, 1, 0] and seen == (1.0, 0.34) and line["bbox"][3] == 0 and not line["segmentation"] else 1)
PYTHON
