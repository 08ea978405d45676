"""The README.md of an exported model: its parts, its training data and results, and its limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from medmvl import __version__
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.part_names import PARTS

_LIMITS = """\
## Limits

Research software. It is no medical device, it was not assessed for any clinical use, and its answers are no diagnosis. A model
answers fluently whether or not it sees what it is asked about: look at the controls (the majority answer, no image, another
patient's image) before you believe a score.
"""
_LICENCE = """\
## Licence

TO BE FILLED IN by whoever publishes this folder: the licences of the LLM, of the encoders and of the training data apply to it.
"""


def model_card(
    model: MedMVLForConditionalGeneration,
    source: Path,
    export_format: str,
    results: Path | None,
    loading: str,
) -> str:
    """The text of the card. It holds no paths of this machine and nothing of any patient.

    Args:
        model: what is exported.
        source: its folder; of a training run, the recipe and data digests of the run are taken along.
        export_format: `llava`, `merged`, ...
        results: `results.json` of an evaluation, if there is one.
        loading: code that loads the folder.
    """
    head = ["---", "library_name: transformers", "tags: [medical, vision-language, medmvl]", "---", ""]
    parts = [
        f"# A medical vision-language model ({export_format})",
        "",
        f"Exported by MedM-VL {__version__}.",
        "",
    ]
    sections = [
        _parts(model),
        _recipe(source),
        _results(results),
        "## Use\n\n```python\n" + loading + "\n```\n",
    ]
    return "\n".join([*head, *parts, *(s for s in sections if s), _LIMITS, _LICENCE])


def _parts(model: MedMVLForConditionalGeneration) -> str:
    rows = ["## Parts", "", "| part | type | parameters |", "|---|---|---|"]
    for name in PARTS:
        part = getattr(model, name)
        if part is not None:
            count = sum(p.numel() for p in part.parameters())
            rows.append(f"| {name} | {_type(model, name)} | {count:,} |")
    return "\n".join(rows) + "\n"


def _type(model: MedMVLForConditionalGeneration, name: str) -> str:
    settings: Any = getattr(model.config, name)
    if name == "llm":
        return str(settings.model_type)
    inner = settings.get("config") or {}
    return f"{settings['type']} {inner.get('model_type', '')}".strip()


def _recipe(source: Path) -> str:
    run = run_folder(source)
    if run is None:
        return ""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))
    stages = [
        f"| {s['name']} | {_tuned(s.get('parts', {}))} | {s.get('learning_rate', '')} |"
        for s in recipe.get("stages", [])
    ]
    table = [
        "## Training",
        "",
        f"Seed {recipe.get('seed', 0)}.",
        "",
        "| stage | trained | learning rate |",
        "|---|---|---|",
        *stages,
    ]
    data = run / "data.json"
    if data.is_file():
        digests = sorted(set(_digests(json.loads(data.read_text("utf-8")))))
        table += ["", f"Digests of the training data: {', '.join(d[:16] for d in digests)}"]
    return "\n".join(table) + "\n"


def _tuned(parts: JsonMapping) -> str:
    named = {name: how if isinstance(how, str) else how.get("mode") for name, how in parts.items()}
    return ", ".join(f"{name} ({how})" for name, how in named.items() if how != "frozen")


def _digests(value: object) -> list[str]:
    """Every value under a key `digest`, wherever it is: names and paths of data are left out."""
    if isinstance(value, list):
        return [digest for item in value for digest in _digests(item)]
    if not isinstance(value, dict):
        return []
    own = [value["digest"]] if isinstance(value.get("digest"), str) else []
    return own + [digest for item in value.values() for digest in _digests(item)]


def run_folder(source: Path) -> Path | None:
    """The training run that a model folder belongs to, if it does."""
    folders = [source.resolve(), *source.resolve().parents][:4]
    return next((folder for folder in folders if (folder / "recipe.yaml").is_file()), None)


def _results(path: Path | None) -> str:
    if path is None:
        return ""
    results = json.loads(path.read_text("utf-8"))
    rows = ["## Results", "", "| modality | question type | language | metric | n | score | majority | no image |",
            "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    if any("question_type" not in row for row in results.get("rows", [])):
        raise UserError(f"{path}: rows without 'question_type', as of a version before 0.2; evaluate again")
    for row in results.get("rows", []):
        cells = [row["modality"], row["question_type"], row["language"], row["metric"], row["score"]["n"]]
        cells += [_number(row[name]) for name in ("score", "majority", "no_image")]
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _number(score: JsonMapping | None) -> str:
    """A score with its interval."""
    return "" if score is None else f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
