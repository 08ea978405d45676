#!/usr/bin/env bash
# A script named rle.py, or with one next to it, cannot import pydicom where pylibjpeg-rle is installed.
# Expected: `import pydicom` does not depend on the names of the user's own files.
# Seen: pydicom 3.0 asks pylibjpeg for its plugins while it is imported; those are top-level modules named rle, libjpeg and
# openjpeg, so a file of that name in the script's folder is imported in their place, and run.
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pydicom==3.0.2 numpy==2.3.5 pylibjpeg==2.1.0 pylibjpeg-rle==2.2.0
"$folder/venv/bin/python" -c 'import importlib.metadata as m; print(*(f"{n} {m.version(n)}" for n in ("pydicom", "pylibjpeg", "pylibjpeg-rle")))'
mkdir "$folder/work"
echo 'print("the user'"'"'s own rle.py was run by import pydicom")' > "$folder/work/rle.py"
echo 'import pydicom; print("pydicom", pydicom.__version__)' > "$folder/work/analysis.py"
echo "expected: the version of pydicom, nothing else"
seen=$(cd "$folder/work" && "$folder/venv/bin/python" analysis.py 2>&1) || true
echo "seen: ${seen}" | tail -3
grep -q "own rle.py was run" <<< "$seen"
