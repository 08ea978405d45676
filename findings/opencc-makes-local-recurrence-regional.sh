#!/usr/bin/env bash
# Simplified Chinese reports turned into those of Taiwan by OpenCC with "Taiwanese idiom" (s2twp), and back (tw2sp), to train or evaluate one model on
# both. Expected by a user: the same statement in the characters of Taiwan, as with s2tw and zhconv. Seen: the phrases are those of computing, and any
# word that holds one gets it. "Local" becomes "regional" (a variable's scope): a local recurrence is a regional one, another stage. Extracorporeal
# circulation is a program's loop, a cohort study a queue study, community-acquired pneumonia that of an online community, a study's subjects are
# objects, examinations projects. Back, regional lymph nodes become local ones, a tumour marker a pointer, an infarct's core a kernel. Local and back
# is local again, so a test by round trip passes. Nothing is said. What to do: s2tw and tw2s, which change characters only.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile opencc==1.4.2 zhconv==1.4.3
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from opencc import OpenCC
from zhconv import convert

TO_TAIWAN = {"肿瘤局部复发": ("腫瘤局部復發", "腫瘤區域性復發"), "局部强化": ("局部強化", "區域性強化"), "体外循环": ("體外循環", "體外迴圈"),
             "队列研究": ("隊列研究", "佇列研究"), "社区获得性肺炎": ("社區獲得性肺炎", "社群獲得性肺炎"), "研究对象": ("研究對象", "研究物件"),
             "检查项目": ("檢查項目", "檢查專案"), "疾病进程": ("疾病進程", "疾病程序")}
BACK = {"區域性淋巴結轉移": ("区域性淋巴结转移", "局部淋巴结转移"), "腫瘤指標": ("肿瘤指标", "肿瘤指针"), "梗塞核心": ("梗塞核心", "梗塞内核"),
        "手術程序": ("手术程序", "手术进程")}
print(f"OpenCC {version('opencc')}, zhconv {version('zhconv')}")
for words, phrases, characters, locale in ((TO_TAIWAN, "s2twp", "s2tw", "zh-tw"), (BACK, "tw2sp", "tw2s", "zh-cn")):
    for word, (wanted, changed) in words.items():
        seen, plain = OpenCC(phrases).convert(word), OpenCC(characters).convert(word)
        print(f"{word}: expected {wanted} ({characters} {plain}, zhconv {convert(word, locale)}), seen {seen} by {phrases}")
        assert plain == wanted and seen == changed
        assert locale == "zh-cn" or convert(word, locale) == wanted
local = "肿瘤局部复发"
assert OpenCC("tw2sp").convert(OpenCC("s2twp").convert(local)) == local
PYTHON
