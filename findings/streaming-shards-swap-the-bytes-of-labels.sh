#!/usr/bin/env bash
# Arrays as nibabel gives them, written into a shard of mosaicml-streaming with the encoding "ndarray": FreeSurfer labels (MGH, always big-endian), a
# big-endian NIfTI, and the same values in the machine's own order; and a mask with a palette (Pillow, mode P) with the encoding "pil". Expected by a
# user: the values come back, or an error. Seen: the bytes are written as they lie, under the name of a type without an order, and read in the
# machine's own: label 17 (left hippocampus) is 285212672, floats are noise near 0, of the right shape and type. A mask loses its palette, so all
# its colours are black. Nothing is said; with a fixed type ("ndarray:int32") there is an error ("expected int32, got int32").
# What to do: array.astype(array.dtype.newbyteorder("=")) before; masks as arrays.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps mosaicml-streaming==0.13.0 nibabel==5.4.2 numpy==2.4.6 pillow==13.0.0 \
  packaging==26.4 typing_extensions==4.15.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import importlib.util
from importlib.metadata import distribution

import nibabel as nib, numpy as np
from PIL import Image

package = distribution("mosaicml-streaming")
print("mosaicml-streaming", package.version, "nibabel", nib.__version__)
path = package.locate_file("streaming/base/format/mds/encodings.py")  # alone, as the package asks for torch and clients of many clouds
spec = importlib.util.spec_from_file_location("encodings_of_mds", path)
mds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mds)

labels = np.array([[[0, 2, 17], [41, 53, 3]]], np.int32)
nib.save(nib.MGHImage(labels, np.eye(4)), "aseg.mgz")
scan = np.array([[[-1000, 0, 40], [300, 1500, 3000]]], ">f4")
nib.save(nib.Nifti1Image(scan, np.eye(4), nib.Nifti1Header(endianness=">")), "scan.nii")
arrays = {
    "labels of an MGH": np.asarray(nib.load("aseg.mgz").dataobj),
    "big-endian NIfTI": np.asarray(nib.load("scan.nii").dataobj),
    "the machine's own order": labels,
}
same = {}
for name, array in arrays.items():
    back = mds.mds_decode("ndarray", mds.mds_encode("ndarray", array))
    assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("=")
    same[name] = bool(np.array_equal(back, array))
    print(f"{name} ({array.dtype.str}): expected {array.ravel().tolist()}, seen {back.ravel().tolist()}")
mask = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
back = mds.mds_decode("pil", mds.mds_encode("pil", mask))
colours = [sorted({tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}) for image in (mask, back)]
print(f"mask: expected mode P with {colours[0]}, seen mode {back.mode} with {colours[1]}")
assert list(same.values()) == [False, False, True] and len(colours[0]) == 3 and colours[1] == [(0, 0, 0)]
PYTHON
