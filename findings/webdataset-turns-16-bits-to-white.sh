#!/usr/bin/env bash
# A radiograph of 16 bits in PNG, read from a shard by webdataset with the usual decode("pil"), and with "rgb8" and "l8". Expected by a user: the
# numbers, or the range brought down to 8 bits, or an error. Seen: everything above 255 is 255, so of a radiograph whose values lie between 500 and
# 60000 a plain white image is left. Nothing is said. Pillow itself opens the same bytes with all 16 bits. What to do: leave the bytes as they are
# and decode them by oneself.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q webdataset==1.0.2 pillow==13.0.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import io
from importlib.metadata import version

import numpy as np
import webdataset as wds
from PIL import Image

pixels = np.linspace(500, 60000, 64).astype(np.uint16).reshape(8, 8)
with wds.TarWriter("shard.tar") as writer:
    writer.write({"__key__": "radiograph", "png": pixels})  # the writer keeps 16 bits
stored = next(iter(wds.WebDataset("shard.tar", shardshuffle=False)))["png"]
kept = np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), pixels)
print(f"webdataset {version('webdataset')}, pillow {version('pillow')}; written {pixels.min()} to {pixels.max()}; the file holds them: {kept}")
seen = {}
for way in ("pil", "rgb8", "l8"):
    image = np.asarray(next(iter(wds.WebDataset("shard.tar", shardshuffle=False).decode(way)))["png"])
    seen[way] = int(image.min()), int(image.max())
    print(f"decode({way!r}): expected 64 different values, or fewer in 8 bits that rise from dark to bright; seen {seen[way][0]} to {seen[way][1]}")
raise SystemExit(0 if kept and set(seen.values()) == {(255, 255)} else 1)
PYTHON
