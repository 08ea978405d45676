#!/usr/bin/env bash
# Chinese numerals in reports by cn2an (transform), to compare or normalise dictated and written numbers. Expected by a user: numbers change, words
# stay, and "seven eight millimetres" (how Chinese says 7 or 8 mm) stays a range or is left alone. Seen: it becomes 78 mm, "three four nodules"
# become 34 nodules, and "below zero forty degrees" becomes "0 below 40 degrees". Words that hold a numeral change, too: the duodenum (literally
# "twelve finger gut") becomes "12 finger gut", the mitral valve "2 tip valve", the deltoid "3 angle muscle", so that no dictionary finds them. The
# other way, "1-2cm" becomes "one minus-sign two cm" and the disc L4/5 "L four fifths". Nothing is said. cn2an() of a single number is right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile cn2an==0.5.24
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import cn2an

ranges = {"七八毫米": "78毫米", "三四个结节": "34个结节", "零下四十度": "0下40度"}
words = {"十二指肠": "12指肠", "二尖瓣反流": "2尖瓣反流", "三角肌": "3角肌", "单一": "单1"}
digits = {"约1-2cm": "约一负二cm", "L4/5": "L五分之四"}
right = {"三点五厘米": "3.5厘米", "百分之五": "5%"}
print("cn2an", version("cn2an"))
seen = {}
for way, cases in (("cn2an", ranges | words | right), ("an2cn", digits)):
    for text, expected in cases.items():
        seen[text] = cn2an.transform(text, way)
        print(f"{way}: {text!r} expected {expected if text in right else 'a range or the same'!r}, seen {seen[text]!r}")
single = cn2an.cn2an("二点零五")
print("cn2an() of 2.05:", single)
raise SystemExit(0 if seen == ranges | words | digits | right and single == 2.05 else 1)
PYTHON
