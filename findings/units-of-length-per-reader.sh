#!/usr/bin/env bash
# The unit of length in a header: who converts, who hands the number on, and who makes another unit of it.
# Expected by a user: one scan with spacing 0.7 x 0.8 x 5 mm, written in micrometres, has that spacing in every reader.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nibabel==5.4.2 pynrrd==1.1.3 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel as nib, nrrd, numpy as np, SimpleITK as sitk

voxels, wanted = np.arange(60, dtype="<i2").reshape(5, 4, 3), (0.7, 0.8, 5.0)
seen = {}

image = nib.Nifti1Image(voxels.T, np.diag([700.0, 800.0, 5000.0, 1.0]))
image.header.set_xyzt_units("micron")
nib.save(image, "a.nii")
seen["NIfTI, xyzt_units micron, nibabel"] = tuple(float(n) for n in nib.load("a.nii").header.get_zooms())
seen["NIfTI, xyzt_units micron, SimpleITK"] = sitk.ReadImage("a.nii").GetSpacing()

head = ("NRRD0005\ntype: int16\ndimension: 3\nsizes: 3 4 5\nencoding: raw\nendian: little\nspace: left-posterior-superior\n"
        'space directions: (700,0,0) (0,800,0) (0,0,5000)\nspace origin: (0,0,0)\nspace units: "{0}" "{0}" "{0}"\n\n')
for unit in ("um", "µm"):
    with open("a.nrrd", "wb") as file:
        file.write(head.format(unit).encode() + voxels.tobytes())
    seen[f"NRRD, space units {unit}, SimpleITK"] = sitk.ReadImage("a.nrrd").GetSpacing()
    seen[f"NRRD, space units {unit}, pynrrd"] = nrrd.read_header("a.nrrd")["space units"][0]

fields = ("ObjectType = Image\nNDims = 3\nBinaryData = True\nDistanceUnits = um\nElementSpacing = 700 800 5000\n"
          "DimSize = 3 4 5\nElementType = MET_SHORT\nElementDataFile = LOCAL\n")
with open("a.mha", "wb") as file:
    file.write(fields.encode() + voxels.tobytes())
seen["MetaImage, DistanceUnits um, SimpleITK"] = sitk.ReadImage("a.mha").GetSpacing()

described = {
    "NIfTI, xyzt_units micron, nibabel": (700.0, 800.0, 5000.0),     # zooms and affine are in the file's unit
    "NIfTI, xyzt_units micron, SimpleITK": wanted,                   # the only conversion of all
    "NRRD, space units um, SimpleITK": (700.0, 800.0, 5000.0),
    "NRRD, space units um, pynrrd": "um",
    "NRRD, space units µm, SimpleITK": (700.0, 800.0, 5000.0),
    "NRRD, space units µm, pynrrd": "m",                             # what is not ASCII is dropped: a factor of a million
    "MetaImage, DistanceUnits um, SimpleITK": (700.0, 800.0, 5000.0),
}
print(f"nibabel {nib.__version__}, pynrrd 1.1.3, SimpleITK {sitk.Version.VersionString()}; expected everywhere: {wanted} mm")
same = True
for name, value in seen.items():
    before = described[name]
    equal = value == before if isinstance(before, str) else np.allclose(value, before)
    same &= bool(equal)
    print(f"{name}: {value}{'' if equal else f'  CHANGED, was {before}'}")
raise SystemExit(0 if same else 1)
PYTHON
