#!/usr/bin/env bash
# ROUGE by the packages rouge and rouge-chinese of a report that repeats itself, as language models in a loop write. Expected by a user: precision
# falls with each repetition, as with rouge-score. Seen: each word is counted once, so a report written twenty times has ROUGE-1 1.0 in both, and
# ROUGE-L 1.0 in rouge, too. Repeated negations and findings are free. What to do: Rouge(exclusive=False), or rouge-score.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rouge==1.0.1 rouge-chinese==1.0.3 rouge-score==0.1.2
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import rouge
import rouge_chinese
from rouge_score import rouge_scorer

print(", ".join(f"{name} {version(name)}" for name in ("rouge", "rouge-chinese", "rouge-score")))
report = "small nodule in the left lung without effusion"
chinese = "左 肺 见 小 结节"
seen = {}
for name, package, text in (("rouge", rouge, report), ("rouge-chinese", rouge_chinese, chinese)):
    for exclusive in (True, False):
        score = package.Rouge(exclusive=exclusive).get_scores(" ".join([text] * 20), text)[0]
        seen[name, exclusive] = tuple(round(score[kind]["f"], 3) for kind in ("rouge-1", "rouge-l"))
control = rouge_scorer.RougeScorer(["rouge1", "rougeL"]).score(report, " ".join([report] * 20))
by_hand = 2 * 1 * (1 / 20) / (1 + 1 / 20)
print(f"F1 of ROUGE-1 and ROUGE-L of a report written twenty times; expected {by_hand:.3f} by hand;",
      f"rouge-score {control['rouge1'].fmeasure:.3f} {control['rougeL'].fmeasure:.3f}")
for (name, exclusive), values in seen.items():
    print(f"{name}{'' if exclusive else ' with exclusive=False'}: seen {values}")
right = abs(control["rouge1"].fmeasure - by_hand) < 1e-3 and abs(seen["rouge", False][0] - by_hand) < 1e-3
raise SystemExit(0 if right and seen["rouge", True] == (1, 1) and seen["rouge-chinese", True][0] == 1 else 1)
PYTHON
