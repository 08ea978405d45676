#!/usr/bin/env bash
# Precision, recall and F1 with confidence intervals by the package confidenceinterval, whose introduction promises "the standard scikit-learn
# naming convention and interface", of a test that finds 8 of 10 patients with a pneumothorax and gives 9 false alarms among 90 without. Expected
# by a user: precision 8/17, recall 8/10, as scikit-learn's functions of these names give. Seen: 0.89 for all three, the accuracy, as these
# functions average over both classes ("micro") where scikit-learn looks at class 1; the rarer the disease, the better it looks. Nothing is said.
# What to do: ppv_score and tpr_score, which are right (average="binary" for F1).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q confidenceinterval==1.0.5 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import confidenceinterval as ci
import sklearn.metrics

truth = [1] * 10 + [0] * 90
found = [1] * 8 + [0] * 2 + [1] * 9 + [0] * 81
print(f"confidenceinterval {version('confidenceinterval')}, scikit-learn {version('scikit-learn')}")
right = []
for name, wanted in (("precision_score", 8 / 17), ("recall_score", 8 / 10), ("f1_score", 16 / 27)):
    value, interval = getattr(ci, name)(truth, found)
    other = getattr(sklearn.metrics, name)(truth, found)
    print(f"{name}: expected {wanted:.3f} (scikit-learn {other:.3f}), seen {value:.3f}, interval {interval[0]:.3f} to {interval[1]:.3f}")
    right.append(abs(other - wanted) < 1e-6 and abs(value - 0.89) < 1e-6)
ppv, tpr, f1 = ci.ppv_score(truth, found)[0], ci.tpr_score(truth, found)[0], ci.f1_score(truth, found, average="binary")[0]
print(f"by other ways of the same package: ppv_score {ppv:.3f}, tpr_score {tpr:.3f}, f1_score(average='binary') {f1:.3f}")
right.append(abs(ppv - 8 / 17) < 1e-6 and abs(tpr - 0.8) < 1e-6 and abs(f1 - 16 / 27) < 1e-6)
raise SystemExit(0 if all(right) else 1)
PYTHON
