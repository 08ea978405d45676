#!/usr/bin/env bash
# Measurements turned into words by num2words, as for speech synthesis and for made-up dictations that train a recogniser. Expected by a user: -0.5
# is "minus zero point five", as -1.5 is "minus one point five". Seen: a T-score of -0.5 is "zero point five" in English, German, French, Spanish,
# Portuguese, Dutch and Japanese, as the sign is taken from the whole part of the number, which is 0 (Italian has it right). A base excess or a
# refraction (-0.75 dioptres) changes its meaning, and a recogniser trained on such pairs learns to write a minus that was not said. The exact
# decimal 1.50, in which the last 0 says how exact it is, becomes "one point five", and in Italian "one". Nothing is said.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile num2words==0.5.14
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from num2words import num2words

print("num2words", version("num2words"))
lost = []
for language in ("en", "de", "fr", "es", "pt", "nl", "ja", "it"):
    below, without, whole, positive = (num2words(number, lang=language) for number in (-0.5, 0.5, -1.5, 1.5))
    print(f"{language}: -0.5 expected other words than 0.5 ({without!r}), seen {below!r}; -1.5 {whole!r}")
    lost.append(below == without and whole != positive)
exact = num2words("1.50", lang="en"), num2words("1.50", lang="it")
print("'1.50' expected with its 0, seen", exact)
raise SystemExit(0 if lost == [True] * 7 + [False] and exact == ("one point five", "uno") else 1)
PYTHON
