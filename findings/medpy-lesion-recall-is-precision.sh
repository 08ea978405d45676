#!/usr/bin/env bash
# Lesions found, counted by MedPy (metric.binary.obj_tpr and obj_fpr): four lesions in the reference, of which a model finds one, and says no more.
# Expected by a user, as the documentation says: obj_tpr 0.25 ("a perfect score of 1 tells that all distinct binary objects in the reference array
# also exist in the result array") and obj_fpr 0, as nothing was found that is not there. Seen: obj_tpr 1 and obj_fpr 0.75: each is computed of the
# other array, so that the recall is a precision and the false positives are the lesions missed. A model that draws one sure lesion has a perfect
# recall, and one that finds all four and four more has 0.5. obj_tpr(arr1, arr2) gives 1 where the package's own example says 0.67. What to do:
# exchange the two arguments.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile medpy==0.5.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from medpy.metric import binary


def lesions(*starts):
    mask = np.zeros((80, 10), bool)
    for start in starts:
        mask[start : start + 4, 2:6] = True
    return mask


reference = lesions(0, 10, 20, 30)
cases = {"one of four found": (lesions(0), 0.25, 0.0), "all found, four more": (lesions(0, 10, 20, 30, 40, 50, 60, 70), 1.0, 0.5)}
print("MedPy", version("medpy"))
seen = []
for name, (result, recall, false) in cases.items():
    values = binary.obj_tpr(result, reference), binary.obj_fpr(result, reference)
    exchanged = binary.obj_tpr(reference, result), binary.obj_fpr(reference, result)
    print(f"{name}: obj_tpr expected {recall}, seen {values[0]}; obj_fpr expected {false}, seen {values[1]}; arguments exchanged {exchanged}")
    seen += [values, exchanged == (recall, false)]
example = binary.obj_tpr(np.array([1, 0, 1, 0, 0]), np.array([1, 0, 1, 0, 1]))
print(f"obj_tpr of the example in its documentation: expected 0.67, seen {example}")
raise SystemExit(0 if seen == [(1.0, 0.75), True, (0.5, 0.0), True] and example == 1.0 else 1)
PYTHON
