#!/usr/bin/env bash
# ROUGE-L by rouge-score, which evaluate and most report benchmarks use, on measurements and on a Chinese report.
# Expected by a user: opposite measurements score below equal ones, and equal reports score 1. Seen: -40 HU equals 40 HU and <5 mm equals >5 mm
# (1.0), 1.5 cm equals 1 5 cm, and a Chinese report equals itself with 0.0: everything but Latin letters and digits is taken out before words
# are compared, so a model of Chinese reports seems to be at zero and a wrong sign is free.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rouge-score==0.1.2
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from rouge_score import rouge_scorer

scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
PAIRS = {
    "sign": ("mean density -40 HU", "mean density 40 HU", 1.0),
    "comparison": ("smaller than: <5 mm", "smaller than: >5 mm", 1.0),
    "decimal point": ("a nodule of 1.5 cm", "a nodule of 1 5 cm", 1.0),
    "Chinese": ("右肺上叶见结节", "右肺上叶见结节", 0.0),
    "Chinese with a number": ("右肺上叶见结节 5 mm", "左侧大量胸腔积液 5 mm", 1.0),
}
seen = {name: round(scorer.score(one, other)["rougeL"].fmeasure, 3) for name, (one, other, _) in PAIRS.items()}
print(f"rouge-score {version('rouge-score')}; ROUGE-L: {seen}")
raise SystemExit(0 if seen == {name: expected for name, (_, _, expected) in PAIRS.items()} else 1)
PYTHON
