#!/usr/bin/env bash
# Answers of a model that are almost JSON, read by json-repair, as structured reports are. Expected by a user: values as they were written, or as
# text where they are no numbers, as happens with 5-7, 120/80 and "no effusion". Seen: <5 and >5 both become the number 5, and so do ~5, 5 mm and 5
# cm. -40 with the minus sign of Unicode (as models and PDF files write it) becomes 40, "-40 to 60" becomes -40, and 10^9 becomes 10. All come back
# as valid numbers, so a schema that asks for a number is content. Nothing is said. What to do: look for signs and units in the raw answer before,
# or refuse what json itself cannot read.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile json-repair==0.64.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import json_repair

kept = {"5-7": "5-7", "120/80": "120/80", "no effusion": "no effusion", "1,5": "1,5", "-40": -40}
changed = {"<5": 5, ">5": 5, "~5": 5, "5 mm": 5, "5 cm": 5, "\u221240": 40, "-40 to 60": -40, "10^9": 10}
print("json-repair", version("json-repair"))
seen = {}
for value in kept | changed:
    seen[value] = json_repair.loads('{"value": ' + value + ', "side": "left"}').get("value")
    print(f"{value}: expected {kept.get(value, value)!r}, seen {seen[value]!r}")
raise SystemExit(0 if seen == kept | changed else 1)
PYTHON
