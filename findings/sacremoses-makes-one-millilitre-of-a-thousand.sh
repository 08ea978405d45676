#!/usr/bin/env bash
# Numbers in reports through the punctuation normaliser of Moses (sacremoses, MosesPunctNormalizer), the usual first step of machine translation, with
# a no-break space between thousands, as Czech, Canadian French and many other languages write them (babel does so, by Unicode's tables). Expected by
# a user: the number as it was, or with a plain space. Seen: the space becomes a decimal sign, a comma in Czech, French, German and Spanish, else a
# point: 1000 ml of ascites become "1,000 ml", one millilitre to every reader of that language (and to babel), or "1.000 ml" in English, and
# 12 500 becomes 12.5. Two numbers that a no-break space keeps together become one, too: "segments 5 8" are "segments 5,8". Nothing is said. What to
# do: norm_numbers=False, or plain spaces before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile sacremoses==0.2.0 babel==2.18.0
cd "$folder" && venv/bin/python - <<'PYTHON'
from decimal import Decimal
from importlib.metadata import version

from babel.numbers import format_decimal, parse_decimal
from sacremoses import MosesPunctNormalizer

NO_BREAK = "\u00a0"
print(f"sacremoses {version('sacremoses')}, babel {version('babel')}")
for lang, locale, unit in (("cs", "cs", "ml ascitu"), ("fr", "fr_CA", "ml d'ascite"), ("en", None, "ml of ascites")):
    for value in (1000, 12500):
        number = format_decimal(value, locale=locale or "cs")
        assert number == f"{value // 1000}{NO_BREAK}{value % 1000:03}"
        seen = MosesPunctNormalizer(lang).normalize(f"{number} {unit}").split()[0]
        kept = MosesPunctNormalizer(lang, norm_numbers=False).normalize(f"{number} {unit}")
        value_seen = parse_decimal(seen, locale=locale) if locale else Decimal(seen)
        print(f"{lang}: {number!r} {unit}: expected {value}, seen {seen}, which is {value_seen:f}; norm_numbers=False {kept!r}")
        assert value_seen * 1000 == value and seen == f"{value // 1000}{',' if locale else '.'}{value % 1000:03}"
        assert kept.replace(NO_BREAK, "").split()[0] == str(value)
pair = MosesPunctNormalizer("fr").normalize(f"segments 5{NO_BREAK}8")
print(f"fr: segments 5 8: expected two numbers, seen {pair!r}")
assert pair == "segments 5,8"
PYTHON
