#!/usr/bin/env bash
# The Philips PAR/REC phantom that nibabel carries as test data (three volumes of nine slices), by parrec-reader-py: all images with read(), single
# ones with read_image(number). Expected by a user: read_image(k) is image k of read(). Seen: the offset in the file is counted in pixels where bytes
# are needed, two for each, so read_image(2) is image 1 and read_image(4) image 2, and odd numbers are the second half of one image with the first
# half of the next below it. Shapes and grey values look right, nothing is said, and parameters by that number belong to another slice. read() is
# right and agrees with nibabel (stored numbers, before slopes). What to do: read(), then take the image.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q parrec-reader-py==0.2.0 nibabel==5.4.2 numpy==2.4.6
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import shutil
from importlib.metadata import version
from pathlib import Path

import nibabel as nib, numpy as np
from parrec.recread import Recread

for end in (".PAR", ".REC"):
    shutil.copy(Path(nib.__file__).parent / "tests" / "data" / f"phantom_EPI_asc_CLEAR_2_1{end}", f"phantom{end}")
everything = Recread("phantom.REC").read()
by_nibabel = np.asarray(nib.load("phantom.PAR", scaling="dv").dataobj.get_unscaled())
print("parrec-reader-py", version("parrec-reader-py"), "nibabel", nib.__version__, everything.shape, by_nibabel.shape)
known = {k for k in range(27) if any(np.array_equal(everything[..., k].T, np.rot90(by_nibabel[..., s, v])) or
                                     np.array_equal(everything[..., k], by_nibabel[:, ::-1, s, v]) or
                                     np.array_equal(everything[..., k], by_nibabel[:, :, s, v]) for s in range(9) for v in range(3))}
print("images of read() that nibabel has as well:", len(known))
same = len(known) == 27
for number in (0, 1, 2, 3, 4, 10):
    one = Recread("phantom.REC").read_image(number)
    half = number // 2
    upper, lower = everything[:, 32:, half], everything[:, :32, half + 1]
    expected = everything[..., half] if number % 2 == 0 else np.concatenate([upper, lower], axis=1)
    name = f"image {half}" if number % 2 == 0 else f"the second half of image {half} and the first half of image {half + 1}"
    print(f"read_image({number}): expected image {number}, seen {name if np.array_equal(one, expected) else 'something else'}")
    same &= np.array_equal(one, expected) and np.array_equal(one, everything[..., number]) == (number == 0)
raise SystemExit(0 if same else 1)
PYTHON
