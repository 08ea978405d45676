#!/usr/bin/env bash
# Answers through the normaliser of the VQA challenge (EvalAIAnswerProcessor, here of lmms-eval; the same code is in most frameworks that score visual
# questions by exact match), which scores VQA-RAD, SLAKE and PathVQA in many papers. Expected by a user: case, articles and punctuation do not count.
# Seen: ER+ equals ER-, "HER2 +" equals "HER2 -", (+) and (-) are both empty; > and < and a minus go, so >5 mm is <5 mm and -40 HU is 40 HU; a
# decimal comma goes between digits, so 1,5 cm is 15 cm; "a" is an article, so hepatitis A is hepatitis, group A streptococcus any streptococcus, and
# the choice "A" equals an empty answer; "none" is 0, but "no" is not. Wrong answers count as right, without a word.
# What to do: exact_match here, which keeps signs, or compare choices before this step.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps lmms-eval==0.7.3
cd "$folder" && venv/bin/python -W error - <<'PYTHON'
import importlib.util
from importlib.metadata import distribution

package = distribution("lmms-eval")
print("lmms-eval", package.version)
path = package.locate_file("lmms_eval/tasks/_task_utils/vqa_eval_metric.py")  # alone, as the package asks for torch and a hundred others
spec = importlib.util.spec_from_file_location("vqa_eval_metric", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
normal = module.EvalAIAnswerProcessor()

DIFFERENT = [("ER+", "ER-"), ("HER2 +", "HER2 -"), ("(+)", "(-)"), (">5 mm", "<5 mm"), ("-40 HU", "40 HU"), ("1,5 cm", "15 cm"),
             ("hepatitis A", "hepatitis"), ("group A streptococcus", "group streptococcus"), ("A", ""), ("none", "0")]
KEPT = [("hepatitis B", "hepatitis"), ("B", ""), ("1.5 cm", "15 cm"), ("no", "0")]
for pair in DIFFERENT + KEPT:
    print(f"{pair[0]!r} and {pair[1]!r}: expected different, seen {normal(pair[0])!r} and {normal(pair[1])!r}")
assert all(normal(one) == normal(other) for one, other in DIFFERENT)
assert all(normal(one) != normal(other) for one, other in KEPT)
PYTHON
