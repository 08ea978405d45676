#!/usr/bin/env bash
# A sagittal image written by SimpleITK as GIPL and as legacy VTK, and read again by SimpleITK.
# Expected by a user: the image in its place, or a warning that the format cannot say so. Seen: spacing and origin come back, the direction does
# not: it is the identity, so a sagittal volume is an axial one, and the voxel at (10, 23, 28) mm lies at (13, 22, 30). Nothing is said on writing
# or reading. MetaImage, NRRD and NIfTI keep it. A label map that went through GIPL no longer fits the scan it was drawn on. What to do: use one of
# those three.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - 2>errors.txt <<'PYTHON' || { tail -3 errors.txt; exit 1; }
import numpy as np, SimpleITK as sitk

image = sitk.GetImageFromArray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
image.SetSpacing((1, 2, 3))
image.SetOrigin((10, 20, 30))
image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
place = matrix @ (3, 1, 0) + image.GetOrigin()
print("SimpleITK", sitk.Version_VersionString(), "expected", place)
for kind in ("mha", "nrrd", "nii.gz", "gipl", "gipl.gz", "vtk"):
    sitk.WriteImage(image, "image." + kind)
    back = sitk.ReadImage("image." + kind)
    seen = back.TransformIndexToPhysicalPoint((3, 1, 0))
    print(f"{kind}: {seen}, direction {[int(part) for part in back.GetDirection()]}")
    assert np.allclose(back.GetSpacing(), (1, 2, 3)) and np.allclose(back.GetOrigin(), (10, 20, 30))
    if kind in ("gipl", "gipl.gz", "vtk"):
        assert back.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1) and np.allclose(seen, (13, 22, 30))
    else:
        assert np.allclose(seen, place)
PYTHON
test ! -s errors.txt && echo "no warnings"
