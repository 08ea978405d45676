#!/usr/bin/env bash
# Measurements through a tokenizer made by sentencepiece with its default normalisation (nmt_nfkc), and back. Expected by a user: the text, or an
# unknown token where a sign was never seen. Seen: 250 x 10 to the 9th per litre, with the exponent as a raised digit, comes back as "250 x 109/L",
# 10 to the minus 3rd as "10-3", cm3 with a raised 3 as "cm3", and one and a half cm, with the half as one sign, as "11/2 cm", a wrong number. The
# signs were in the text that it learned from, and there is no unknown token. The model cannot see the difference, and a report that it copies is
# changed. Nothing is said. What to do: normalization_rule_name="identity" (or nfc) when a tokenizer is made, or write out the exponent (10^9) and
# the half before.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile sentencepiece==0.2.3
cd "$folder" && venv/bin/python - <<'PYTHON'
import io
from importlib.metadata import version

import sentencepiece

texts = {"250 x 10\u2079/L": "250 x 109/L", "10\u207b\u00b3": "10\u22123", "5 cm\u00b3": "5 cm3", "1\u00bd cm": "11\u20442 cm"}
lines = [*texts, "the lung is clear", "10^9/L 1.5 cm", *(f"a nodule of {i} mm" for i in range(100))] * 5
print("sentencepiece", version("sentencepiece"))
seen = {}
for rule in ("nmt_nfkc", "identity"):
    model = io.BytesIO()
    options = {} if rule == "nmt_nfkc" else {"normalization_rule_name": rule}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
                                             character_coverage=1.0, **options)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    seen[rule] = {text: tokenizer.decode(tokenizer.encode(text)) for text in texts}
    unknown = sum(tokenizer.encode(text).count(tokenizer.unk_id()) for text in texts)
    print(f"{rule}{'' if options else ' (default)'}: expected the same texts, seen {seen[rule]}; unknown tokens {unknown}")
    assert not unknown
raise SystemExit(0 if seen == {"nmt_nfkc": texts, "identity": {text: text for text in texts}} else 1)
PYTHON
