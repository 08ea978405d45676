#!/usr/bin/env bash
# Doses and sizes turned to plain ASCII by Unidecode, anyascii, text-unidecode and clean-text, as is done before older tokenizers, file names and
# matching. Expected by a user: a microgram stays one, as "ug" or "mcg", or there is an error. Seen: with the Greek letter mu, as Greek keyboards,
# PDF files and every text after Unicode's NFKC have it, 5 micrograms become "5 mg" and a micrometre "mm": a thousand times too much. With the micro
# sign, which looks the same, it is "ug". python-slugify normalises first, so that it makes "mg" of both. Nothing is said. What to do: replace both
# signs by "u" before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile Unidecode==1.4.0 anyascii==0.3.3 text-unidecode==1.3 python-slugify==9.2.0 clean-text==0.7.1
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import unicodedata
from importlib.metadata import version

import cleantext
import text_unidecode
from anyascii import anyascii
from slugify import slugify
from unidecode import unidecode

ways = {"Unidecode": unidecode, "anyascii": anyascii, "text-unidecode": text_unidecode.unidecode, "clean-text": cleantext.clean,
        "python-slugify": slugify}
micro, mu = "5 \u00b5g", "5 \u03bcg"
print("NFKC of the micro sign is the letter mu:", unicodedata.normalize("NFKC", micro) == mu)
seen = {}
for name, way in ways.items():
    seen[name] = way(micro), way(mu), way("7 \u03bcm")
    print(f"{name} {version(name)}: micrograms expected as ug or mcg, seen {seen[name][0]!r} (micro sign) and {seen[name][1]!r} (mu); "
          f"micrometres {seen[name][2]!r}")
wanted = dict.fromkeys(ways, ("5 ug", "5 mg", "7 mm")) | {"python-slugify": ("5-mg", "5-mg", "7-mm")}
raise SystemExit(0 if seen == wanted and unicodedata.normalize("NFKC", micro) == mu else 1)
PYTHON
