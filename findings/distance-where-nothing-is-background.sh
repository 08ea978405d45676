#!/usr/bin/env bash
# scipy's Euclidean distance transform of a mask without any background, as of the complement of an empty segmentation.
# Surface distances (average, Hausdorff, 95th percentile) are commonly read from distance_transform_edt(~surface).
# Expected: infinity, NaN or an error, as there is no surface to be near to. Seen: finite, plausible millimetres that grow with the index,
# the distances to a voxel one before the first along the first axis: an empty prediction scores better the nearer the organ lies to the
# first slice, and another score when the volume is flipped. The package edt gives infinity, and SimpleITK the largest float.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scipy==1.17.1 edt==3.1.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import edt, numpy as np, scipy, SimpleITK as sitk
from scipy.ndimage import binary_erosion, distance_transform_edt

spacing = (5.0, 1.0, 1.0)
truth = np.zeros((20, 16, 16), bool)
truth[2:5, 4:9, 4:9] = True
empty = np.zeros_like(truth)


def farthest(truth, prediction):
    """From the truth's surface to the prediction's, as metric code has it."""
    surface = truth & ~binary_erosion(truth)
    to_prediction = distance_transform_edt(~(prediction & ~binary_erosion(prediction)), sampling=spacing)
    return float(to_prediction[surface].max())


near, far = farthest(truth, empty), farthest(truth[::-1], empty)
field = distance_transform_edt(~empty, sampling=spacing)
z, y, x = np.indices(truth.shape)
by_edt = edt.edt((~empty).astype(np.uint8), anisotropy=spacing)
image = sitk.GetImageFromArray(empty.astype(np.uint8))
image.SetSpacing(spacing[::-1])
by_itk = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True))
print(f"scipy {scipy.__version__}: an empty prediction is {near:.2f} mm off; the same volume flipped, {far:.2f} mm; expected: infinite, or an error")
print(f"edt {version('edt')}: smallest distance {by_edt.min()}; SimpleITK {sitk.Version.VersionString()}: {by_itk.min():.3g}")
as_described = np.isfinite(field).all() and np.allclose(field, np.sqrt(((z + 1) * 5.0) ** 2 + y**2 + x**2))
as_described &= near < 30 < 90 < far and bool(np.isinf(by_edt).all()) and bool((by_itk > 1e15).all())
raise SystemExit(0 if as_described else 1)
PYTHON
