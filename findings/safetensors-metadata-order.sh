#!/usr/bin/env bash
# safetensors 0.8.0 writes the metadata of a file in an order of chance, so equal tensors and equal metadata give files of other bytes.
#
# Expected: the same tensors with the same metadata are the same file, as tensors are sorted; digests of files then compare weights,
# which is what checksums in a model registry or a release record are taken for.
# Seen: with one metadata key (as transformers writes) the bytes are equal in every process; with three keys, twelve processes
# write several different files (up to six, the orders of three keys). Sizes are equal, and so are names, values and metadata after loading.
# What to do: compare tensors, or digests of tensors; digests of such files only tell whether this file was changed.
# Exit code 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.3.5
cat >"$folder/write.py" <<'PYTHON'
import hashlib
import sys

import numpy as np
from safetensors.numpy import save

tensors = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}
metadata = {name: name for name in sys.argv[1:]}
print(hashlib.sha256(save(tensors, metadata=metadata)).hexdigest())
PYTHON
count() { for _ in $(seq 12); do "$folder/venv/bin/python" "$folder/write.py" "$@"; done | sort -u | wc -l; }
one=$(count format)
three=$(count format source licence)
echo "safetensors 0.8.0, twelve processes: $one file(s) with one metadata key, $three with three"
[ "$one" -eq 1 ] && [ "$three" -gt 1 ]
