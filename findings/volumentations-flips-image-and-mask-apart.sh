#!/usr/bin/env bash
# A volume and its mask, flipped for training by volumentations-3D (Flip without an axis, which means a random one), 400 times. Expected by a user:
# image and mask are flipped along the same axes each time, as all transforms of this kind promise and as RandomRotate90 does. Seen: the axes are
# drawn once for the image and once more for the mask, so in about six of seven samples the mask lies on the other side of the patient, upside down
# or back to front. Shapes and numbers of voxels are right, nothing is said, and a network learns from it that lesions may be anywhere. With a
# fixed axis (Flip(0), Flip(1)) both are flipped alike. What to do: one Flip per axis, each with p=0.5.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile volumentations-3D==1.0.4 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 opencv-python==5.0.0.93
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import random
from importlib.metadata import version

import numpy as np
from volumentations import Compose, Flip, RandomRotate90

image = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
mask = (image > 1).astype(np.float32)
print("volumentations-3D", version("volumentations-3D"))
shares = {}
for name, transform in {"Flip()": Flip(p=1), "Flip(0)": Flip(0, p=1), "RandomRotate90()": RandomRotate90(p=1)}.items():
    random.seed(0)
    samples = [Compose([transform])(image=image, mask=mask) for _ in range(400)]
    shares[name] = np.mean([np.array_equal(sample["mask"], sample["image"] > 1) for sample in samples])
    print(f"{name}: mask lies on its structure, expected in 1.00 of the samples, seen in {shares[name]:.2f}")
raise SystemExit(0 if shares["Flip(0)"] == shares["RandomRotate90()"] == 1 and 0.08 < shares["Flip()"] < 0.22 else 1)
PYTHON
