#!/usr/bin/env bash
# DeLong's test by MLstatkit of two models that rank all patients alike: a model, and the same model after temperature scaling (or a model and
# itself). Expected by a user: p = 1, or an error, as both areas under the curve are equal by construction. Seen: z = 0 and p = 0, the strongest
# evidence there is, next to two equal areas and intervals. Where the variance is 0 it goes to a bootstrap, and its p counts differences above 0 on
# one side and up to 0 on the other, so that differences of exactly 0 make one side empty. Nothing is said unless verbose is set. A table of p
# values that is made by a loop has its star at the comparison where nothing differs. What to do: compare the rankings before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps MLstatkit==0.1.91 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 joblib==1.6.0 \
    threadpoolctl==3.8.0 narwhals==2.29.0 cloudpickle==3.1.3 tqdm==4.70.1
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from MLstatkit import Delong_test

rng = np.random.default_rng(0)
truth = np.repeat([1, 0], [30, 70])
logits = rng.normal(size=100) + truth
other = rng.normal(size=100) + truth
cases = {"the same after temperature scaling": (logits / 2.0, 1.0), "itself": (logits, 1.0), "another model": (other, None)}
print("MLstatkit", version("MLstatkit"))
seen = {}
for name, (scores, wanted) in cases.items():
    z, p, *_, first, second, info = Delong_test(truth, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-scores)), random_state=0, n_boot=1000)
    seen[name] = z, p, abs(first - second) < 1e-12, info["method"]
    print(f"a model and {name}: areas {first:.4f} and {second:.4f}, z {z:.3f}, p expected {'below 1' if wanted is None else wanted}, seen {p:.3g}")
*equal, different = seen.values()
raise SystemExit(0 if equal == [(0.0, 0.0, True, "bootstrap")] * 2 and different[3] == "delong" and 0 < different[1] < 1 else 1)
PYTHON
