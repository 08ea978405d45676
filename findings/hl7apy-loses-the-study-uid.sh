#!/usr/bin/env bash
# hl7apy reads orders and reports whose last segment is a ZDS, in which IHE's radiology profile sends the Study Instance UID (the link from the
# text to the images), and reports with the line break of HL7's formatted text.
# Expected: a message that is parsed and written again is the message, as it is with the package hl7.
# Seen: parse_message() with its defaults drops every Z segment without a word. With find_groups=False they stay.
# In both, the escape \.br\ of a report comes back as \E\.br\E\, so the next reader prints "\.br\" in place of a new line.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q hl7apy==1.3.5 hl7==0.4.5
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import hl7
from hl7apy.parser import parse_message

ORDER = [r"MSH|^~\&|RIS|A|PACS|B|20240101||ORM^O01|1|P|2.3.1", "PID|1||4711", "ORC|NW", "OBR|1|||CT", "ZDS|1.2.3^RIS^Application^DICOM"]
REPORT = [r"MSH|^~\&|RIS|A|PACS|B|20240101||ORU^R01|1|P|2.5", "PID|1||4711", "OBR|1|||CT",
          r"OBX|1|FT|GDT||Nodule of 5 mm.\.br\No effusion.||||||F", "ZDS|1.2.3^RIS^Application^DICOM"]
BREAK, TWICE = r"mm.\.br\No", r"mm.\E\.br\E\No"

kept, lines = {}, {}
for name, segments in (("order", ORDER), ("report", REPORT)):
    message = "\r".join(segments) + "\r"
    again = {
        "hl7apy": parse_message(message).to_er7(),
        "hl7apy, find_groups=False": parse_message(message, find_groups=False).to_er7(),
        "hl7": str(hl7.parse(message)),
    }
    for library, text in again.items():
        kept[f"{name}, {library}"] = "ZDS|1.2.3" in text
        if name == "report":
            lines[library] = "as sent" if BREAK in text else "escaped twice" if TWICE in text else "other"
print(f"hl7apy {version('hl7apy')}, hl7 {version('hl7')}")
for name, value in kept.items():
    print(f"{name}: the Study Instance UID is {'kept' if value else 'LOST'}")
for name, value in lines.items():
    print(f"line break, {name}: {value}")
as_described = all(value == (not name.endswith("hl7apy")) for name, value in kept.items())
as_described &= lines == {"hl7apy": "escaped twice", "hl7apy, find_groups=False": "escaped twice", "hl7": "as sent"}
raise SystemExit(0 if as_described else 1)
PYTHON
