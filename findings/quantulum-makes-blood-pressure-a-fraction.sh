#!/usr/bin/env bash
# Measurements found in reports by quantulum3, as it is installed. Expected by a user: what is written, or nothing. Seen: a blood pressure of 120/80
# mmHg is 1.5 mmHg, a pain of 5/10 is 0.5. A prefix that the package does not know of a unit is taken apart: 5 mSv are 5 millisecond volt, 5 mCi are
# metre curie, 7 mmol metre mole, 80 umol/L (micro sign) microsecond mole per litre. Platelets of 250 x 10^9/L are three quantities, one of them "9
# per litre", and 3x4 cm is none. A range of 5-7 mm is 6 mm, and <5 mm is 5 mm. Values come without a word, so units that were checked for in a list
# are missing and those that go by the number are wrong. What to do: take a result only where its surface is one number and its unit is one known.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile quantulum3==0.10.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

from quantulum3 import parser

right = {"a 5 mm nodule": [(5, "millimetre")], "2 mGy": [(2, "milligray")]}
wrong = {"120/80 mmHg": [(1.5, "millimeter of mercury")], "pain 5/10": [(0.5, "dimensionless")], "5 mSv": [(5, "millisecond volt")],
         "5 mCi": [(5, "metre curie")], "7 mmol": [(7, "metre mole")], "80 \u00b5mol/L": [(80, "microsecond mole per litre")], "3x4 cm": [],
         "250 x 10^9/L": [(250, "dimensionless"), (10, "dimensionless"), (9, "per litre")], "5-7 mm": [(6, "millimetre")],
         "<5 mm": [(5, "millimetre")]}
print("quantulum3", version("quantulum3"))
seen = {}
for text in right | wrong:
    seen[text] = [(found.value, found.unit.name) for found in parser.parse(text)]
    print(f"{text!r}: {'expected and seen' if text in right else 'expected as written or nothing, seen'} {seen[text]}")
raise SystemExit(0 if seen == right | wrong else 1)
PYTHON
