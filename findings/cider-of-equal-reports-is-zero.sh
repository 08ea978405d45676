#!/usr/bin/env bash
# CIDEr by pycocoevalcap, as report generation papers compute it, on reports that equal their references.
# Expected by a user: the highest score (10) whatever the number of reports. Seen: 0 for one report, and 0 for any number of reports that are all the
# same, such as "no acute finding": words that are in every reference weigh log(1) = 0. What a model gets for normal studies depends on
# how many other studies are evaluated with them: one normal and one other study give 10 for both, two normal ones and no other 0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pycocoevalcap==1.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from pycocoevalcap.cider.cider import Cider

NORMAL, OTHER = "no acute finding in the chest", "large left pleural effusion with collapse"
CORPORA = {"one report": [NORMAL], "three equal reports": [NORMAL] * 3, "two different reports": [NORMAL, OTHER]}
seen = {}
for name, reports in CORPORA.items():
    texts = {number: [report] for number, report in enumerate(reports)}
    seen[name] = round(float(Cider().compute_score(texts, texts)[0]), 3)
print(f"pycocoevalcap {version('pycocoevalcap')}; CIDEr of reports that equal their references: {seen}")
raise SystemExit(0 if seen == {"one report": 0.0, "three equal reports": 0.0, "two different reports": 10.0} else 1)
PYTHON
