#!/usr/bin/env bash
# Answers of a model held to a JSON schema by outlines-core and by lm-format-enforcer: an age from 0 to 120, a dose above 0, a probability up to 1.
# Expected by a user: what guided decoding lets through is valid by the schema, or a keyword that is not supported is refused. Seen: both take
# "minimum", "maximum" and "exclusiveMinimum" without a word and let an age of -40 or 4000, a dose of 0 and a probability of 7 through, and
# outlines-core two equal findings where uniqueItems is asked for. Types, lengths and the number of items are held. jsonschema refuses all of them.
# What to do: validate each answer after decoding, or a list of allowed numbers ("enum").
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile outlines-core==0.2.14 lm-format-enforcer==0.11.3 jsonschema==4.26.0
cd "$folder" && venv/bin/python -W ignore - <<'PYTHON'
import json
import re
from importlib.metadata import version

from jsonschema import Draft202012Validator
from lmformatenforcer import JsonSchemaParser
from outlines_core.json_schema import build_regex_from_schema


def enforcer(schema, text):
    parser = JsonSchemaParser(schema)
    for character in text:
        if character not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(character)
    return parser.can_end()


age = {"type": "integer", "minimum": 0, "maximum": 120}
limits = [(age, "-40"), (age, "4000"), ({"type": "number", "exclusiveMinimum": 0}, "0"), ({"type": "number", "maximum": 1}, "7")]
held = [(age, '"old"'), ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}, "[1]"),
        ({"type": "integer", "enum": [1, 2]}, "3")]
print(", ".join(f"{name} {version(name)}" for name in ("outlines-core", "lm-format-enforcer", "jsonschema")))
seen = []
for schema, text in limits + held:
    seen.append((bool(re.fullmatch(build_regex_from_schema(json.dumps(schema)), text)), enforcer(schema, text),
                 Draft202012Validator(schema).is_valid(json.loads(text))))
    print(f"{json.dumps(schema)} and {text}: expected refused, seen " + ", ".join("let through" if passed else "refused" for passed in seen[-1]))
unique = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
twice = bool(re.fullmatch(build_regex_from_schema(json.dumps(unique)), '["effusion", "effusion"]'))
print(f"uniqueItems and two equal findings: outlines-core expected refused, seen {'let through' if twice else 'refused'}")
raise SystemExit(0 if seen == [(True, True, False)] * len(limits) + [(False, False, False)] * len(held) and twice else 1)
PYTHON
