#!/usr/bin/env bash
# Diffusion tensors by DIPY of one fibre that runs to the patient's right and front, from NIfTI files stored in LAS (as dcm2niix writes axial scans)
# and in RAS (as after a reorientation to the "canonical" axes), each with bvals and bvecs by FSL's rule, which BIDS asks for: components along the
# image's axes, the first one with its sign changed where the determinant of the affine is positive. Expected by a user: the same direction in the
# patient from both. Seen: the rule's change of sign is never taken back, as read_bvals_bvecs and gradient_table see no affine, so in RAS the fibre
# runs to the patient's left and front: mirrored. Fractional anisotropy is right, so maps show nothing odd; directions, which tractography follows,
# are wrong. The sign changed by hand gives the right one. Nothing is said. What to do: change the sign of the first component where the determinant
# is positive, before gradient_table.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile dipy==1.12.1 nibabel==5.4.2 numpy==2.4.6 scipy==1.17.1
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import nibabel as nib, numpy as np
from dipy.core.gradients import gradient_table
from dipy.io.gradients import read_bvals_bvecs
from dipy.io.image import load_nifti
from dipy.reconst.dti import TensorModel

fibre = np.array([1, 1, 0]) / np.sqrt(2)  # in the patient: right, front, up
directions = np.random.default_rng(0).normal(size=(30, 3))
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
tensor = 0.2e-3 * np.eye(3) + 1.5e-3 * np.outer(fibre, fibre)
signal = np.r_[1000, 1000 * np.exp(-1000 * np.einsum("ij,jk,ik->i", directions, tensor, directions))]
np.savetxt("dwi.bval", [[0] + [1000] * 30])
print(*(f"{name} {version(name)}" for name in ("dipy", "nibabel")))


def main_direction(bvecs, data, affine):
    table = gradient_table(read_bvals_bvecs("dwi.bval", None)[0], bvecs=bvecs)
    fit = TensorModel(table).fit(data)
    direction = affine[:3, :3] @ fit.evecs[1, 1, 1, :, 0]
    direction /= np.linalg.norm(direction)
    return np.round(direction * np.sign(direction[1]), 2).tolist(), float(fit.fa[1, 1, 1])


seen = {}
for axes, affine in {"LAS": np.diag([-2, 2, 2, 1.0]), "RAS": np.diag([2, 2, 2, 1.0])}.items():
    nib.save(nib.Nifti1Image(np.tile(signal.astype(np.float32), (3, 3, 3, 1)), affine), "dwi.nii")
    assert "".join(nib.aff2axcodes(affine)) == axes
    along_axes = directions @ np.linalg.inv(affine[:3, :3]).T * 2
    positive = np.linalg.det(affine) > 0
    np.savetxt("dwi.bvec", np.vstack([np.zeros(3), along_axes * ([-1, 1, 1] if positive else 1)]).T)
    data, affine = load_nifti("dwi.nii")
    bvecs = read_bvals_bvecs("dwi.bval", "dwi.bvec")[1]
    seen[axes], anisotropy = main_direction(bvecs, data, affine)
    by_hand, _ = main_direction(bvecs * ([-1, 1, 1] if positive else 1), data, affine)
    print(f"{axes}: expected {np.round(fibre, 2).tolist()}, seen {seen[axes]}, by FSL's rule {by_hand}; anisotropy {anisotropy:.3f}")
    assert by_hand == [0.71, 0.71, 0]
raise SystemExit(0 if seen == {"LAS": [0.71, 0.71, 0], "RAS": [-0.71, 0.71, 0]} else 1)
PYTHON
