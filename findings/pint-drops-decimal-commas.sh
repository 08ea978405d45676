#!/usr/bin/env bash
# Measurements with a decimal comma, as reports in most of Europe have them, read by pint. Expected by a user: 1,5 mm is 1.5 mm, or an error. Seen:
# 15 mm, as commas are taken out wherever they are, not only between thousands. A measurement is ten or a hundred times too large, and 0,5 ml is 0
# ml. "5 Fr" (a catheter of 5 French, 1.67 mm) is a charge of 5 franklin. Nothing is said. What to do: points in place of commas before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pint==0.25.3
cd "$folder" && venv/bin/python -W error - <<'PYTHON'
from importlib.metadata import version

import pint

units = pint.UnitRegistry()
print("pint", version("pint"))
cases = {"1,5 mm": (1.5, "15 millimeter"), "1,25 cm": (1.25, "125 centimeter"), "0,5 ml": (0.5, "0 milliliter"),
         "2,5 mm * 3,0 mm": (7.5, "750 millimeter ** 2"), "1,500 ml": (1500, "1500 milliliter"), "1.5 mm": (1.5, "1.5 millimeter")}
seen = {text: str(units.Quantity(text)) for text in cases}
for text, (wanted, _) in cases.items():
    print(f"{text!r}: expected {wanted}, seen {seen[text]}")
franklin = str(units.Quantity("5 Fr"))
print(f"'5 Fr': expected 1.67 mm or an error, seen {franklin}")
raise SystemExit(0 if seen == {text: value for text, (_, value) in cases.items()} and franklin == "5 franklin" else 1)
PYTHON
