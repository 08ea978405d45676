#!/usr/bin/env bash
# Three studies written by webdataset's own writer, each with a report and its labels, under their DICOM UIDs as keys. Expected by a user: three
# samples with these keys, or an error of the writer. Seen: one sample with key "1", which holds all reports and labels of the shard: its reader
# takes everything up to the first dot for the key, the rest for the kind. Nothing is said by either, and decoding still works, as the ends of the
# names are right. Accession numbers without dots come back as they were. What to do: replace the dots in keys.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q webdataset==1.0.2 numpy==2.4.6
cd "$folder" && venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import webdataset as wds

ways = {"UIDs": ["1.2.840.113619.2.55.1", "1.2.840.113619.2.55.2", "1.3.12.2.1107.5.1"], "accession numbers": ["A101", "A102", "A103"]}
print("webdataset", version("webdataset"))
seen = {}
for name, keys in ways.items():
    with wds.TarWriter("shard.tar") as writer:
        for number, key in enumerate(keys):
            writer.write({"__key__": key, "txt": f"report {number}", "json": {"side": "left" if number else "right"}})
    samples = list(wds.WebDataset("shard.tar", shardshuffle=False).decode())
    seen[name] = [sample["__key__"] for sample in samples]
    fields = [sum(not field.startswith("__") for field in sample) for sample in samples]
    print(f"{name}: expected keys {keys}, seen {seen[name]} with {fields} fields")
raise SystemExit(0 if seen == {"UIDs": ["1"], "accession numbers": ways["accession numbers"]} else 1)
PYTHON
