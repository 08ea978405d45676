#!/usr/bin/env bash
# Weighted kappa by nltk (AnnotationTask.weighted_kappa) of two readers who grade 40 studies from 1 to 5 and differ by one grade at most. max_distance
# is an argument, as Cohen weighs by distances divided by the largest one: 4 for linear, 16 for quadratic weights. Expected by a user: the kappa of
# scikit-learn, and the same for every max_distance, as it is in both parts of the fraction. Seen: only the expected disagreement is divided by it.
# Linear kappa with max_distance=4 is -0.1055 where it is 0.7236, quadratic kappa with 16 is -0.6300 where it is 0.8981: readers who agree well seem
# to agree less than by chance. Nothing is said. What to do: leave max_distance at 1, which is right for all distances.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile nltk==3.10.4 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from nltk.metrics.agreement import AnnotationTask
from sklearn.metrics import cohen_kappa_score

random = np.random.default_rng(0)
first = random.integers(1, 6, 40)
second = np.clip(first + random.integers(-1, 2, 40), 1, 5)
grades = [(reader, study, int(grade)) for reader, given in (("A", first), ("B", second)) for study, grade in enumerate(given)]
print(f"nltk {version('nltk')}, scikit-learn {version('scikit-learn')}; largest difference of two grades: {abs(first - second).max()}")
for name, power in (("linear", 1), ("quadratic", 2)):
    largest = 4**power
    task = AnnotationTask(grades, distance=lambda a, b, power=power: abs(a - b) ** power)
    by_hand = 1 - np.mean(abs(first - second) ** power / largest) / np.mean(abs(first[:, None] - second) ** power / largest)
    wanted = cohen_kappa_score(first, second, weights=name, labels=[1, 2, 3, 4, 5])
    plain, seen = task.weighted_kappa(), task.weighted_kappa(max_distance=largest)
    print(f"{name}: expected {wanted:.4f} (by hand {by_hand:.4f}), seen {seen:.4f} with max_distance={largest}, {plain:.4f} without")
    assert np.isclose(wanted, by_hand) and np.isclose(plain, wanted)
    assert np.isclose(seen, 1 - largest * (1 - wanted)) and seen < 0 < 0.7 < wanted
PYTHON
