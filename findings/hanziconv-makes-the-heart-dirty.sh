#!/usr/bin/env bash
# Simplified Chinese reports turned into traditional characters by hanziconv, to train or evaluate one model on both. Expected by a user: the words
# of hospitals in Taiwan and Hong Kong, as by OpenCC. Seen: characters go one by one to one fixed partner, often the wrong one: "heart" becomes the
# "dirty" of the same sound, "brain stem" and "stem cell" become a dry brain and a dry cell, the face a noodle, the bleeding an act of a play, and
# symptom, system, merge and syndrome turn into words that no report has. Turning it back gives the first text again in all cases, so a test by
# round trip passes. A tokenizer and exact match see other words. Nothing is said. What to do: OpenCC.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile hanziconv==0.3.2 opencc==1.4.2
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from hanziconv import HanziConv
from opencc import OpenCC

words = {"心脏": ("心臟", "心髒"), "脑干": ("腦幹", "腦乾"), "干细胞": ("幹細胞", "乾細胞"), "面部": ("面部", "麵部"), "出血": ("出血", "齣血"),
         "症状": ("症狀", "癥狀"), "系统": ("系統", "係統"), "合并": ("合併", "閤並"), "综合征": ("綜合徵", "綜閤徵"), "松质骨": ("松質骨", "鬆質骨"),
         "抑制": ("抑制", "抑製"), "纤维": ("纖維", "縴維")}
print(f"hanziconv {version('hanziconv')}, OpenCC {version('opencc')}")
other = OpenCC("s2t")
seen, back = {}, []
for word, (wanted, _) in words.items():
    seen[word] = other.convert(word), HanziConv.toTraditional(word)
    back.append(HanziConv.toSimplified(seen[word][1]) == word)
    print(f"{word}: expected {wanted} (OpenCC {seen[word][0]}), seen {seen[word][1]}; turned back as it was: {back[-1]}")
raise SystemExit(0 if seen == words and all(back) else 1)
PYTHON
