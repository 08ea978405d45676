#!/usr/bin/env bash
# Arrays whose memory is in Fortran order (dense, but transposed: what nibabel gives for every NIfTI volume, and scikit-learn for some components),
# saved by safetensors.numpy. Expected by a user: the values come back in their places, as from numpy.save and from safetensors 0.7.0. Seen:
# safetensors 0.8.0 writes the memory as it lies under the shape of the array: shape and histogram are right, places are not, nothing is said. The
# documentation asks for "contiguous and dense" tensors, which such arrays are. What to do: numpy.ascontiguousarray before saving.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 numpy==2.4.6
cat > "$folder/look.py" <<'PYTHON'
from importlib.metadata import version

import nibabel as nib
import numpy as np
from safetensors.numpy import load_file, save_file

voxels = np.zeros((4, 5, 6), np.int16)
voxels[3, 0, 0] = 1000  # a bright voxel at the first end of rows and slices
nib.save(nib.Nifti1Image(voxels, np.eye(4)), "scan.nii")
volume = np.asarray(nib.load("scan.nii").dataobj)
matrix = np.array([[1, 2, 3], [4, 5, 6]], np.float32).T
assert volume.flags.f_contiguous and matrix.flags.f_contiguous and np.array_equal(volume, voxels)
save_file({"volume": volume, "matrix": matrix, "copied": np.ascontiguousarray(volume)}, "saved.safetensors")
read = load_file("saved.safetensors")
print(f"safetensors {version('safetensors')}: bright voxel expected at [3, 0, 0], seen at {np.argwhere(read['volume'] == 1000)[0].tolist()};",
      f"matrix expected {matrix.tolist()}, seen {read['matrix'].tolist()}")
equal = [np.array_equal(read[name], wanted) for name, wanted in (("volume", volume), ("matrix", matrix), ("copied", volume))]
raise SystemExit(0 if equal == ([True] * 3 if version("safetensors") == "0.7.0" else [False, False, True]) else 1)
PYTHON
cd "$folder"
for release in 0.7.0 0.8.0; do
    venv/bin/pip install -q "safetensors==$release"
    venv/bin/python look.py
done
