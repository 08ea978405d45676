#!/usr/bin/env bash
# A functional NIfTI of four slices taken one after the other (0, 0.5, 1 and 1.5 s by NIfTI's slice_code, slice_duration, slice_start, slice_end),
# stored from the head down, through nibabel's as_closest_canonical (to RAS+) and its slicer. Expected by a user: header.get_slice_times() has the
# time of each slice afterwards, too, as dim_info (which axis the slices are on) follows such turns, and the affine does. Seen: the voxels are turned,
# the times are not: the slice at the feet, taken last, has 0 s, the one at the head 1.5 s, so a slice timing correction by them shifts each slice the
# wrong way. After cropping, four times are left for two slices, and the first two of them are those of the slices cut off. Nothing is said. What
# to do: read the times first, and turn and cut them with the voxels.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps nibabel==5.4.2 numpy==2.4.6 packaging==26.4 typing_extensions==4.15.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import nibabel as nib, numpy as np

voxels = np.zeros((3, 3, 4), np.float32) + np.float32([0, 0.5, 1, 1.5])  # each voxel holds the time at which its slice was taken
affine = np.diag([2.0, 2.0, -3.0, 1.0])  # slices from the head down


def scan(order):
    """The scan as a file whose axes are in that order."""
    image = nib.Nifti1Image(voxels.transpose(order), affine[:, [*order, 3]])
    head = image.header
    head.set_xyzt_units("mm", "sec")
    head.set_dim_info(slice=order.index(2))
    head["slice_code"], head["slice_duration"], head["slice_start"], head["slice_end"] = 1, 0.5, 0, 3
    nib.save(image, f"{order.index(2)}.nii")
    return nib.load(f"{order.index(2)}.nii")


def times(image):
    """Times by the voxels, by the header, and the slice axis by dim_info."""
    axis = image.header.get_dim_info()[2]
    return np.moveaxis(image.get_fdata(), axis, 0)[:, 0, 0].tolist(), [float(n) for n in image.header.get_slice_times()], axis


stored = scan([0, 1, 2])
rows = [
    ("as stored", stored, [0, 0.5, 1, 1.5], [0, 0.5, 1, 1.5], 2),
    ("as_closest_canonical", nib.as_closest_canonical(stored), [1.5, 1, 0.5, 0], [0, 0.5, 1, 1.5], 2),
    ("slicer[:, :, ::-1]", stored.slicer[:, :, ::-1], [1.5, 1, 0.5, 0], [0, 0.5, 1, 1.5], 2),
    ("slicer[:, :, 2:]", stored.slicer[:, :, 2:], [1, 1.5], [0, 0.5, 1, 1.5], 2),
    ("slices on the first axis, as_closest_canonical", nib.as_closest_canonical(scan([2, 0, 1])), [1.5, 1, 0.5, 0], [0, 0.5, 1, 1.5], 2),
]
print("nibabel", nib.__version__)
for name, image, wanted, listed, axis in rows:
    found = times(image)
    print(f"{name} {''.join(nib.aff2axcodes(image.affine))}: taken at {found[0]}, the header says {found[1]}, slices on axis {found[2]}")
    assert found == (wanted, listed, axis)
PYTHON
