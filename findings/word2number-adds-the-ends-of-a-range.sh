#!/usr/bin/env bash
# Counts and sizes in answers read by word2number, as scripts that compare a model's count with a table do. Expected by a user: one number, or an
# error where a text holds two or a sign. Seen: "one to two" is 3, "five or six" 11, "twenty to thirty" 50, "one hundred and twenty over eighty"
# 200: all number words are added up. "minus forty" is 40, "two and a half" is 2, and "nineteen ninety five" is 1715. Words that are no numbers are
# left out without a word, so "level two with three nodules" is 5. "two point five" is right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile word2number==1.1
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from word2number import w2n

right = {"two point five": 2.5, "one hundred and twenty": 120}
wrong = {"one to two": 3, "five or six": 11, "twenty to thirty": 50, "one hundred and twenty over eighty": 200, "minus forty": 40,
         "two and a half": 2, "nineteen ninety five": 1715, "level two with three nodules": 5}
print("word2number", version("word2number"))
seen = {text: w2n.word_to_num(text) for text in right | wrong}
for text, value in seen.items():
    print(f"{text!r}: {'expected and' if text in right else 'expected another number or an error,'} seen {value}")
raise SystemExit(0 if seen == right | wrong else 1)
PYTHON
