#!/usr/bin/env bash
# Word error rates of dictated reports after the English text normaliser of Whisper (package whisper-normalizer), as speech benchmarks compute
# them. Expected by a user: punctuation and spelling are made equal, measurements stay. Seen: "mm" is taken for the filler sound of a hesitating
# speaker and taken out like "uh", so "5 mm" and "5" are equal, and so are <5 and >5, -40 and 40, and everything in brackets is gone ("(no
# pneumothorax)"): the error rate of each of these mistakes is 0. "cm" stays, and "1.5 x 2 cm" becomes "one.5 x 2 cm". Nothing is said.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q whisper-normalizer==0.1.15 jiwer==4.0.0
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

normalize = EnglishTextNormalizer()
pairs = (("a 5 mm nodule in the left lung", "a 5 nodule in the left lung"), ("a nodule < 5 mm", "a nodule > 5 mm"), ("-40 HU", "40 HU"),
         ("(no pneumothorax) effusion on the left", "effusion on the left"), ("a 5 cm mass", "a 5 mass"))
print(f"whisper-normalizer {version('whisper-normalizer')}, jiwer {version('jiwer')}")
before, after = [], []
for said, written in pairs:
    before.append(jiwer.wer(said.lower(), written.lower()))
    after.append(jiwer.wer(normalize(said), normalize(written)))
    print(f"{said!r} against {written!r}: {before[-1]:.2f} as they are; normalised {normalize(said)!r}, expected above 0, seen {after[-1]:.2f}")
odd = normalize("1.5 x 2.0 cm")
print("'1.5 x 2.0 cm' expected with 1.5, seen", repr(odd))
raise SystemExit(0 if min(before) > 0 and after[:4] == [0] * 4 and after[4] > 0 and odd == "one.5 x 2 cm" else 1)
PYTHON
