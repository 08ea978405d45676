#!/usr/bin/env bash
# Findings of French radiology reports by the negation rules of EDS-NLP (eds.negation). Expected by a user: "non displaced" says something of a
# fracture that exists, "non calcified" of a nodule, "non injected" (without contrast) of the scan, and "one cannot exclude an embolism" is a doubt.
# Seen: all of these are negated, hypothesis False: "non" negates the finding before it as well. The labels made so from reports, for training an
# image model, call the fracture and the 5 mm nodule absent. "pas de fracture" is right, "n'est pas calcifie" is not negated. What to do: rules of
# one's own, or look at each "non" before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile edsnlp==0.23.0 spacy==3.8.18
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version

import edsnlp

nlp = edsnlp.blank("eds")
nlp.add_pipe("eds.sentences")
nlp.add_pipe("eds.normalizer")
nlp.add_pipe("eds.matcher", config={"terms": {"finding": ["fracture", "pneumothorax", "nodule", "embolie"]}})
nlp.add_pipe("eds.negation")
nlp.add_pipe("eds.hypothesis")
cases = {"La fracture est non déplacée.": True, "On note un nodule non calcifié de 5 mm.": True, "Un pneumothorax non compressif.": True,
         "Un scanner non injecté : nodule de 5 mm.": True, "On ne peut exclure une embolie.": True, "On note un nodule de 5 mm.": False,
         "Le nodule n'est pas calcifié.": False}
print("EDS-NLP", version("edsnlp"))
seen, doubts = {}, []
for text in cases:
    finding, = nlp(text).ents
    seen[text] = bool(finding._.negation)
    doubts.append(bool(finding._.hypothesis))
    print(f"{text!r}: {finding} expected not negated, seen {'negated' if seen[text] else 'not negated'}, hypothesis {doubts[-1]}")
absent, = nlp("Il existe un doute, pas de fracture.").ents
print(f"'pas de fracture': expected negated, seen {'negated' if absent._.negation else 'not negated'}")
raise SystemExit(0 if seen == cases and absent._.negation and not any(doubts) else 1)
PYTHON
