#!/usr/bin/env bash
# Findings of English reports by negspacy (NegEx for spaCy) with its default rules, en_clinical. Expected by a user: "cannot exclude pneumonia" is a
# doubt, and not an absence; a scan "without contrast" has its mass; "fracture is absent" and "effusion: none" are absences. Seen: pneumonia and the
# mass are negated, the absent fracture and effusion are not. "cannot" and "rule out" alone negate, though "not rule out" is among the exceptions.
# "No fracture; a nodule is seen" negates the nodule, too, as neither a comma nor a semicolon ends a negation. Labels made so from reports turn
# findings that a radiologist asks to follow into normal studies. What to do: termset.add_patterns() with one's own exceptions and ends.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile negspacy==1.1.0 spacy==3.8.18
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import spacy
from negspacy.negation import Negex  # noqa: F401, registers "negex"

nlp = spacy.blank("en")
nlp.add_pipe("sentencizer")
words = "pneumonia", "mass", "fracture", "effusion", "nodule"
nlp.add_pipe("entity_ruler").add_patterns([{"label": "FINDING", "pattern": [{"LOWER": word}]} for word in words])
nlp.add_pipe("negex", config={"ent_types": ["FINDING"]})
cases = {"Cannot exclude pneumonia.": (False, True), "Without contrast, the mass enhances.": (False, True), "Fracture is absent.": (True, False),
         "Effusion: none.": (True, False), "There is no fracture; a nodule is seen.": (False, True),
         "He denies pain, effusion is seen.": (False, True),
         "No effusion.": (True, True), "Stable nodule.": (False, False)}
print("negspacy", version("negspacy"))
seen = {}
for text, (wanted, _) in cases.items():
    finding = nlp(text).ents[-1]
    seen[text] = bool(finding._.negex)
    print(f"{text!r}: {finding} expected {'negated' if wanted else 'not negated'}, seen {'negated' if seen[text] else 'not negated'}")
raise SystemExit(0 if seen == {text: value for text, (_, value) in cases.items()} else 1)
PYTHON
