#!/usr/bin/env bash
# fhir.resources reads a measurement from JSON and writes it again: "7.00" mm, and a number of many digits.
# Expected by a user: the resource as it was. FHIR (datatypes, decimal) says that the precision of a decimal is significant and has to be kept.
# Seen: 7.00 becomes 7.0 and 12345678901234567.25 becomes 12345678901234568, as JSON numbers pass through floats. A signature or digest of the report no
# longer fits, and how exact a measurement was is lost.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fhir.resources==8.3.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import re
from importlib.metadata import version

from fhir.resources.quantity import Quantity

sent = ("7.00", "12345678901234567.25")
seen = []
for number in sent:
    written = Quantity.model_validate_json(f'{{"value": {number}, "unit": "mm"}}').model_dump_json()
    seen.append(re.search(r'"value":([^,}]+)', written)[1])
print(f"fhir.resources {version('fhir.resources')}; sent {sent}, seen {tuple(seen)}")
raise SystemExit(0 if seen == ["7.0", "12345678901234568"] else 1)
PYTHON
