#!/usr/bin/env bash
# A wheel (a ZIP) that holds a torch checkpoint (a ZIP, too), with its last 300 bytes lost in a copy.
# Expected by a user: zipfile says that the file is damaged. Seen: it opens without an error and lists the members of the checkpoint
# inside, as the last end-of-archive record left is that one's: a file cut short looks like another archive.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
import sys, zipfile
from pathlib import Path
import torch

torch.save({"weight": torch.ones(3)}, "model.pt")
with zipfile.ZipFile("whole.whl", "w") as wheel:
    wheel.write("model.pt", "package/model.pt")
    wheel.writestr("package-1.0.dist-info/METADATA", "Name: package\n" + "x" * 200)
Path("cut.whl").write_bytes(Path("whole.whl").read_bytes()[:-300])
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}; whole: {zipfile.ZipFile('whole.whl').namelist()}")
try:
    names = zipfile.ZipFile("cut.whl").namelist()
except zipfile.BadZipFile as error:
    print(f"cut: {error}")
    raise SystemExit(1)
print(f"cut: opened, no error, {names}")
raise SystemExit(0 if any(name.endswith("data.pkl") for name in names) else 1)
PYTHON
