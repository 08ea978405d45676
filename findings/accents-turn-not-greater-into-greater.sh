#!/usr/bin/env bash
# Limits in reports with the signs for "not greater" and "not less" (as Chinese texts write them), after the removal of accents: the normaliser of
# BERT's uncased tokenisers (tokenizers), strip_accents of scikit-learn's text vectorisers, and Unidecode. Expected by a user: accents of letters
# go, meanings stay. Seen: the stroke through a sign is taken for an accent, so "not greater" becomes "greater", "not less" becomes "less" and "not
# equal" becomes "equal". Unidecode drops such signs, and makes an arrow up (raised) and one down (lowered) the same. What to do:
# BertNormalizer(strip_accents=False), or words in place of signs before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tokenizers==0.23.3 scikit-learn==1.9.1 Unidecode==1.4.0 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from sklearn.feature_extraction.text import CountVectorizer
from tokenizers.normalizers import BertNormalizer
from unidecode import unidecode

ways = {"BertNormalizer()": BertNormalizer().normalize_str, "BertNormalizer(strip_accents=False)": BertNormalizer(strip_accents=False).normalize_str,
        "CountVectorizer(strip_accents='unicode')": CountVectorizer(strip_accents="unicode").build_preprocessor(), "unidecode": unidecode}
texts = "\u226f 5 mm", "\u226e 5 mm", "left \u2260 right", "crp \u2191", "crp \u2193"
print(", ".join(f"{name} {version(name)}" for name in ("tokenizers", "scikit-learn", "Unidecode")), "on", texts)
seen = {name: tuple(way(text) for text in texts) for name, way in ways.items()}
for name, result in seen.items():
    print(f"{name}: expected the same meanings, seen {result}")
turned = ("> 5 mm", "< 5 mm", "left = right", *texts[3:])
wanted = dict(zip(ways, (turned, texts, turned, (" 5 mm", " 5 mm", "left  right", "crp |", "crp |"))))
raise SystemExit(0 if seen == wanted else 1)
PYTHON
