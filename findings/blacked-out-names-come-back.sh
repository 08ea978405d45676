#!/usr/bin/env bash
# An image with a patient's name burned in, opened by Pillow from a file, the name painted over (ImageDraw, in place), and put into a data set: by
# datasets (Image feature: from_dict, then saved as Arrow and as Parquet and read again), and by mosaicml-streaming (encoding "jpeg"). Expected by a
# user: the pixels as they are in memory, as with an array. Seen: both remember the name of the file the image came from and store that file (or its
# path), so the name is back, in what is uploaded as well. datasets does so for every format, mosaicml-streaming for JPEG. Nothing is said. A copy
# (image.copy(), convert() or resize()) has no file name and is stored as it is. What to do: image.copy() before, or np.asarray(image).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q datasets==5.2.0 numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/pip" install -q --no-deps mosaicml-streaming==0.13.0
cd "$folder" && HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HOME=home venv/bin/python -W ignore - <<'PYTHON'
import importlib.util
from importlib.metadata import distribution

import datasets, numpy as np
from PIL import Image, ImageDraw

datasets.disable_progress_bars()
package = distribution("mosaicml-streaming")
print("datasets", datasets.__version__, "mosaicml-streaming", package.version)
path = package.locate_file("streaming/base/format/mds/encodings.py")  # alone, as the package asks for torch and clients of many clouds
spec = importlib.util.spec_from_file_location("encodings_of_mds", path)
mds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mds)


def name_is_gone(image):
    return bool(np.asarray(image)[:10].max() < 20)


seen = {}
for kind in ("jpg", "png"):
    scan = Image.fromarray(np.full((40, 40, 3), 128, np.uint8))
    ImageDraw.Draw(scan).text((2, 0), "DOE^JANE", fill=(255, 255, 255))
    scan.save(f"scan.{kind}")
    for copied in (False, True):
        image = Image.open(f"scan.{kind}")
        image = image.copy() if copied else image
        ImageDraw.Draw(image).rectangle((0, 0, 39, 12), fill=(0, 0, 0))
        assert name_is_gone(image)
        table = datasets.Dataset.from_dict({"image": [image]}, features=datasets.Features({"image": datasets.Image()}))
        table.save_to_disk("arrow")
        table.to_parquet("table.parquet")
        outcome = {
            "datasets": name_is_gone(table[0]["image"]),
            "datasets, Arrow": name_is_gone(datasets.load_from_disk("arrow")[0]["image"]),
            "datasets, Parquet": name_is_gone(datasets.Dataset.from_parquet("table.parquet", cache_dir=f"{kind}{copied}")[0]["image"]),
            "mosaicml-streaming": name_is_gone(mds.mds_decode("jpeg", mds.mds_encode("jpeg", image))),
        }
        seen[kind, copied] = list(outcome.values())
        print(f"{kind}, {'a copy' if copied else 'as opened'}: expected the name gone everywhere, seen {outcome}")
assert seen["jpg", True] == seen["png", True] == [True] * 4
assert seen["jpg", False] == [False] * 4 and seen["png", False] == [False] * 3 + [True]
PYTHON
