#!/usr/bin/env bash
# A functional series of ten volumes, 2.5 s apart, through the common tools of nibabel and nilearn that return another 4D image.
# Expected by a user: 2.5 s afterwards, and 5 s where every second volume was taken. Seen: every second volume by nibabel's slicer or nilearn's
# index_img still says 2.5 s, while the spacing in space is doubled by the same slicer, and SimpleITK doubles that of time as well. four_to_three
# with concat_images (nibabel) says 1 s, and keeps the unit of seconds. math_img and unmask (nilearn) say 1 of unknown units. Nothing is said;
# filters in Hz and slice timing by that header are off by the factor. smooth_img, resample_img and concat_imgs keep it. What to do: set_zooms()
# anew after each step.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 nilearn==0.14.1 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import nibabel as nib, numpy as np, SimpleITK as sitk
from nilearn import image, masking

print(*(f"{name} {version(name)}" for name in ("nibabel", "nilearn", "SimpleITK")))
affine = np.diag([2.0, 2.0, 2.0, 1.0])
series = nib.Nifti1Image(np.random.default_rng(0).random((6, 6, 6, 10), np.float32), affine)
series.header.set_zooms((2, 2, 2, 2.5))
series.header.set_xyzt_units("mm", "sec")
nib.save(series, "series.nii")
mask = nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), affine)

rows = [  # what was done, the image, the time step and unit expected, those seen
    ("nibabel slicer[..., ::2]", series.slicer[..., ::2], (5.0, "sec"), (2.5, "sec")),
    ("nilearn index_img, every second", image.index_img(series, slice(0, 10, 2)), (5.0, "sec"), (2.5, "sec")),
    ("nibabel four_to_three, concat_images", nib.concat_images(nib.four_to_three(series)), (2.5, "sec"), (1.0, "sec")),
    ("nilearn math_img", image.math_img("2 * a", a=series), (2.5, "sec"), (1.0, "unknown")),
    ("nilearn apply_mask, unmask", masking.unmask(masking.apply_mask(series, mask), mask), (2.5, "sec"), (1.0, "unknown")),
    ("control: nilearn smooth_img", image.smooth_img(series, 4), (2.5, "sec"), (2.5, "sec")),
    ("control: nilearn concat_imgs", image.concat_imgs([series, series]), (2.5, "sec"), (2.5, "sec")),
    ("control: nilearn resample_img", image.resample_img(series, np.diag([3.0, 3, 3])), (2.5, "sec"), (2.5, "sec")),
]
for name, result, expected, seen in rows:
    found = (float(result.header.get_zooms()[3]), result.header.get_xyzt_units()[1])
    print(f"{name}: expected {expected}, seen {found}")
    assert found == seen
spatial = float(series.slicer[::2].header.get_zooms()[0])
time = sitk.ReadImage("series.nii")[:, :, :, ::2].GetSpacing()[3]
print(f"control: nibabel slicer[::2] in space {spatial} (expected 4.0), SimpleITK every second volume {time} (expected 5.0)")
assert (spatial, time) == (4.0, 5.0)
PYTHON
