#!/usr/bin/env bash
# Answers with measurements judged by math-verify, which benchmarks and rewards of reinforcement learning use. Expected by a user: 5 cm is no right
# answer to 5 mm, nor 50 g to 50 mg, plain or as LaTeX. Seen: right, as a unit is thrown away on both sides. "5 mm x 3 mm" is right for 3 mm, 1.5
# for a blood pressure of 120/80, -2 for a range of "5-7", 0.05 and 5 both for 5%, and the open interval (2,3) for the two levels {2,3}. 1e-3 is
# read as 1, so a p value of 1e-3 is right where 1 is. A number alone is judged well: -40 is not 40. A model that is rewarded so learns that units
# do not matter.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps math-verify==0.9.0 latex2sympy2_extended==1.11.0 antlr4-python3-runtime==4.13.2 \
    sympy==1.14.0 mpmath==1.3.0
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from math_verify import parse, verify

wrong = [("5 mm", "5 cm"), ("$50\\text{ mg}$", "$50\\text{ g}$"), ("$5 \\mathrm{~mm}$", "$5 \\mathrm{~cm}$"), ("5 mm x 3 mm", "3 mm"),
         ("120/80", "1.5"), ("5-7", "-2"), ("5%", "5"), ("5%", "0.05"), ("$\\{2,3\\}$", "$(2,3)$"), ("1e-3", "1")]
right = [("-40 HU", "40 HU"), ("5 mm", "50 mm"), ("1e-3", "0.001")]
print("math-verify", version("math-verify"))
seen = []
for truth, answer in wrong + right:
    values = [parse(text, parsing_timeout=60) for text in (truth, answer)]  # 5 seconds are too few on a busy machine
    seen.append(bool(verify(*values, timeout_seconds=60)))
    print(f"truth {truth!r} (read as {values[0][:1]}), answer {answer!r}: seen {'right' if seen[-1] else 'wrong'}")
print("expected: wrong, but for one of the two answers to 5% and the last line")
raise SystemExit(0 if seen == [True] * len(wrong) + [False] * len(right) else 1)
PYTHON
