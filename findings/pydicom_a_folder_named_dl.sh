#!/usr/bin/env bash
# A folder named dl (short for deep learning, or downloads) in the working directory, where python-gdcm is installed.
# Expected: `import pydicom` does not depend on the names of the user's own folders. Seen: pydicom imports gdcm, and gdcm does `import dl`, a module
# of Python 2, to load its library; a folder dl, even an empty one, is imported in its place, and the error it then has is caught nowhere.
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pydicom==3.0.2 python-gdcm==3.2.6 numpy==2.4.6
mkdir -p "$folder/without" "$folder/with/dl"
(cd "$folder/without" && ../venv/bin/python -c 'import pydicom; print("without a folder dl: pydicom", pydicom.__version__)')
echo "expected with it: the same"
seen=$(cd "$folder/with" && ../venv/bin/python -c 'import pydicom; print("pydicom", pydicom.__version__)' 2>&1) || true
echo "seen: ${seen##*$'\n'}"
grep -q "module 'dl' has no attribute 'RTLD_NOW'" <<< "$seen"
