#!/usr/bin/env bash
# Units of laboratory and imaging values in UCUM codes, read by ucumvert into pint. Expected by a user: what UCUM's own table, which ucumvert ships,
# says of each code. Seen: "g%" (gram per decilitre, of haemoglobin) is a gram times a percent, a mass of 10 mg; "'" and "''" (minutes and seconds
# of an angle) are times; "[Cal]" (of nutrition) is a calorie, not a kilocalorie; "[LPF]" is as large as "[HPF]", where the table says 100; and the
# cubic foot "[cft_i]" is a hundredth of a foot. Nothing is said. 14 g% and 14 g/dl cannot be compared, and energies are a thousandth. g/dl, mm[Hg]
# and 10*9/L are right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile ucumvert==0.3.2 pint==0.25.3
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

from ucumvert import PintUcumRegistry

units = PintUcumRegistry()
table = {"g%": (1, "g/dl"), "'": (1 / 60, "deg"), "''": (1 / 3600, "deg"), "[cft_i]": (1, "[ft_i]3"), "[Cal]": (1, "kcal_th"),
         "[LPF]": (100, "[HPF]"), "g/dl": (10, "g/L"), "[in_i]": (25.4, "mm")}
print(f"ucumvert {version('ucumvert')}, pint {version('pint')}")
seen = {}
for code, (factor, other) in table.items():
    value, wanted = units.from_ucum(code), units.from_ucum(other)
    same = value.dimensionality == wanted.dimensionality
    seen[code] = round(float((value.to_base_units() / wanted.to_base_units()).magnitude) / factor, 6) if same else str(value.dimensionality)
    print(f"1 {code}: expected {factor:.4g} {other}, seen {value} ({'ratio to the expected' if same else 'another dimension,'} {seen[code]})")
wanted = {"g%": "[mass]", "'": "[time]", "''": "[time]", "[cft_i]": "[length]", "[Cal]": 0.001, "[LPF]": 0.01, "g/dl": 1, "[in_i]": 1}
raise SystemExit(0 if seen == wanted else 1)
PYTHON
