#!/usr/bin/env bash
# Weighted kappa by scikit-learn of two readers who grade with numbers (BI-RADS 1 to 5), none of whom uses 3 or 4. Expected by a user: the weight
# of a disagreement is the distance of the two numbers, so 2 against 5 is three steps. Seen: it is the distance of the places in the list of grades
# that happen to be used, so 2 against 5 is one step, and quadratic kappa is 0.75 where it is 0.71 by hand. One more study with a 3 and a 4 changes
# the weights of all others. krippendorff takes the numbers. What to do: labels=[1, 2, 3, 4, 5].
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scikit-learn==1.9.1 krippendorff==0.9.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

first = np.array([1, 1, 1, 2, 2, 5, 5, 5, 1, 2, 5, 2])
second = np.array([1, 1, 2, 2, 1, 5, 5, 2, 1, 5, 5, 2])


def by_hand(a, b):
    return 1 - np.mean((a - b) ** 2) / np.mean((a[:, None] - b) ** 2)


print(f"scikit-learn {version('scikit-learn')}, krippendorff {version('krippendorff')}")
wanted = by_hand(first, second)
ranks = by_hand(*(np.searchsorted([1, 2, 5], grades) for grades in (first, second)))
seen = cohen_kappa_score(first, second, weights="quadratic")
all_grades = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
print(f"quadratic kappa: expected {wanted:.4f} by hand, seen {seen:.4f} (by hand of places: {ranks:.4f}), with labels of all grades {all_grades:.4f}")
renamed = {1: 1, 2: 2, 5: 3}
values = [krippendorff.alpha([[name.get(int(g), int(g)) for g in grades] for grades in (first, second)], level_of_measurement="interval")
          for name in ({}, renamed)]
print(f"alpha by krippendorff (interval): {values[0]:.4f}, of the places {values[1]:.4f}: it takes the numbers")
raise SystemExit(0 if np.allclose([seen, all_grades], [ranks, wanted]) and seen - wanted > 0.03 and values[1] - values[0] > 0.02 else 1)
PYTHON
