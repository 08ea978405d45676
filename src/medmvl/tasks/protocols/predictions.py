"""Anyone's predictions as records: JSON Lines (or one JSON list) under the names that common code writes."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medmvl.errors import SampleError, UserError
from medmvl.json_types import JsonMapping, JsonValue
from medmvl.schema import Sample
from medmvl.schema.reasoning import join_reasoning
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.judge import target_of
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.text import has_chinese

ID_KEYS = ("id", "sample_id", "question_id", "qid")
PREDICTION_KEYS = (
    "prediction",
    "predict",
    "pred",
    "predicted",
    "answer_pred",
    "response",
    "model_answer",
    "output",
    "generated",
    "text",
)
REFERENCE_KEYS = (
    "references",
    "reference",
    "ground_truth",
    "gt",
    "gt_answer",
    "answer_gt",
    "truth",
    "label",
    "answer",
)
"""`answer` is the reference where a prediction is under another name, and else the prediction."""
QUESTION_KEYS = ("question", "prompt")
QUESTION_TYPE_KEYS = ("kind", "answer_type", "question_type", "type")
CHOICES_KEYS = ("choices", "options")
LANGUAGE_KEYS = ("language", "lang", "q_lang")
_AFTER_LETTERS = re.compile(r"\(?[A-Z][.:)]\s*(.+?)(?=\s*[,;]?\s+\(?[A-Z][.:)]\s|\s*$)", re.DOTALL)
PATIENT_KEYS = ("patient", "patient_id")
STUDY_KEYS = ("study", "study_id", "case", "case_id")
CATEGORY_KEYS = ("categories", "category")
IMAGE_KEYS = ("image_group", "image", "img_name", "image_name")


def read_predictions(path: Path) -> list[Record]:
    """Read predictions that bring their references.

    Raises:
        UserError: the file is neither JSON Lines nor a JSON list, or a question comes twice under one id.
        SampleError: a line has no prediction or no reference; the message names the line.
    """
    records: list[Record] = []
    seen: dict[tuple[object, ...], int] = {}
    for number, line in enumerate(_entries(path), 1):
        record = _record(line, f"{path}, entry {number}", str(number))
        first = seen.setdefault((record.id, record.question, record.image_group), number)
        if first != number:
            raise UserError(
                f"{path}: entries {first} and {number} are one question under the id {record.id!r}, which would count twice; "
                "remove one, or give each an id of its own"
            )
        records.append(record)
    return records


def join_predictions(path: Path, samples: Iterable[Sample], others: Iterable[str] = ()) -> list[Record]:
    """Read predictions of samples that are at hand, joined by `id`. A sample without a prediction is a missing answer.

    Args:
        path: the predictions.
        samples: with their truths.
        others: ids that may be in the file and are not scored.

    Raises:
        UserError: ids are of no sample, or come twice.
        SampleError: a line has no id or no prediction, or a sample has no truth.
    """
    given: dict[str, JsonMapping] = {}
    for number, line in enumerate(_entries(path), 1):
        name = _first(line, ID_KEYS)
        if name is None:
            raise SampleError(f"{path}, entry {number}: no id; expected one of {', '.join(ID_KEYS)}")
        if str(name) in given:
            raise UserError(f"{path}: two predictions have the id {name!r}")
        _, key = _texts(line, f"{path}, entry {number}", needs_reference=False)
        given[str(name)] = {**line, "prediction": line[key]}
    records = [record_of(sample, given.get(sample.id)) for sample in samples]
    strangers = sorted(given.keys() - {record.id for record in records} - set(others))
    if strangers:
        raise UserError(
            f"{path}: {len(strangers)} predictions are of no sample, such as {', '.join(map(repr, strangers[:3]))}; "
            "expected the ids of the reference data"
        )
    return records


def read_texts(path: Path, key: str | None = None, *, with_reasoning: bool = False) -> list[tuple[str, str]]:
    """Id and text of every answer in a file; an id may have several answers.

    Args:
        path: JSON Lines, a JSON list or CSV.
        key: name of the text, such as `no_image` in an evaluation's `answers.jsonl`; None: the usual ones.
        with_reasoning: an entry's `reasoning` comes as a block before its text.

    Raises:
        UserError: the file has none of these forms.
        SampleError: an entry has no id or no such text; the message names it.
    """
    found = []
    for number, entry in enumerate(_entries(path), 1):
        where, name = f"{path}, entry {number}", _first(entry, ID_KEYS)
        if name is None:
            raise SampleError(f"{where}: no id; expected one of {', '.join(ID_KEYS)}")
        if key is not None and key not in entry:
            raise SampleError(f"{where}: no '{key}'; it has {', '.join(entry)}")
        text = entry[key if key is not None else _texts(entry, where, needs_reference=False)[1]]
        if isinstance(text, Mapping):  # a control in an evaluation's answers: text and score
            text = text.get("text")
        text = "" if text is None else str(text)
        reasoning = entry.get("reasoning") if with_reasoning else None
        found.append((str(name), join_reasoning(str(reasoning or ""), text)))
    return found


def record_of(sample: Sample, prediction: JsonMapping | None) -> Record:
    """A sample's record; `prediction` holds the text and, if known, `confidence`.

    Raises:
        SampleError: the sample has no truth.
    """
    target = target_of(sample)
    if target is None:
        raise SampleError(f"sample {sample.id!r} has neither a target nor a last assistant turn to judge by")
    given = prediction or {}
    text = given.get("prediction")
    return Record(
        id=sample.id,
        text=str(text) if _is_given(text) else None,
        references=target.answers,
        question=sample.prompt().messages[-1].text.strip(),
        question_type=target.question_type,
        choices=target.choices,
        language=sample.language,
        patient=sample.patient,
        study=sample.study,
        image_group=sample.image_group,
        categories=target.categories or (),
        labels=sample.labels,
        confidence=given.get("confidence"),
    )


def _entries(path: Path) -> list[JsonMapping]:
    try:
        content = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            entries = list(csv.DictReader(io.StringIO(content, newline=""), strict=True))
        elif content.lstrip().startswith("["):
            entries = json.loads(content)
        else:
            entries = [
                _line(text, number) for number, text in enumerate(content.splitlines(), 1) if text.strip()
            ]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: neither JSON Lines nor a JSON list: {error}") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: nested too deep, or with a number of thousands of digits") from None
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: expected one JSON object per prediction, found none or something else")
    return list(entries)


def _line(text: str, number: int) -> JsonValue:
    """One line of JSON Lines; an error names its place in the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(f"line {number}: {error.msg}", text, error.pos) from None


def _first(entry: JsonMapping, keys: Sequence[str]) -> JsonValue:
    return next((entry[key] for key in keys if _is_given(entry.get(key)) and entry[key] != ""), None)


def _is_given(value: object) -> bool:
    """Whether there is a value: neither null nor the NaN that pandas writes for a missing one."""
    return value is not None and value == value


def _texts(entry: JsonMapping, where: str, *, needs_reference: bool) -> tuple[list[str], str]:
    """The references, and the key of the prediction."""
    key = next((key for key in PREDICTION_KEYS if key in entry), None)
    found = _first(entry, REFERENCE_KEYS if key else REFERENCE_KEYS[:-1])
    key = key or ("answer" if "answer" in entry else None)
    if key is None:
        raise SampleError(f"{where}: no prediction; expected one of {', '.join(PREDICTION_KEYS)}")
    if found is None and needs_reference:
        raise SampleError(
            f"{where}: no reference; expected one of {', '.join(REFERENCE_KEYS)}, or name the data with --reference"
        )
    return [str(text) for text in (found if isinstance(found, list) else [found]) if _is_given(text)], key


def _record(entry: JsonMapping, where: str, name: str) -> Record:
    references, key = _texts(entry, where, needs_reference=True)
    if not references:
        raise SampleError(f"{where}: the list of references is empty")
    choices = _choices(entry)
    question = str(_first(entry, QUESTION_KEYS) or "")
    question_type = str(_first(entry, QUESTION_TYPE_KEYS) or ("choice" if choices else "")).strip().lower()
    if not choices and question_type in ("", "closed", "close"):
        choices = yes_no_choices(references[0], question)
    spoken = _first(entry, LANGUAGE_KEYS)
    return Record(
        id=_text_of(entry, ID_KEYS) or name,
        text=str(entry[key]) if _is_given(entry[key]) else None,
        references=tuple(references),
        question=question,
        choices=choices,
        question_type=question_type or ("closed" if choices else "open"),
        language=str(spoken) if spoken else "zh" if has_chinese(question + references[0]) else None,
        patient=_text_of(entry, PATIENT_KEYS),
        study=_text_of(entry, STUDY_KEYS),
        image_group=_text_of(entry, IMAGE_KEYS),
        categories=_categories(entry),
        labels=entry.get("labels") or {},
        box=_box(entry, where),
        image_size=_size(entry),
        confidence=entry.get("confidence"),
    )


def _text_of(entry: JsonMapping, keys: Sequence[str]) -> str | None:
    value = _first(entry, keys)
    return None if value is None else str(value)


def _categories(entry: JsonMapping) -> tuple[str, ...]:
    found = _first(entry, CATEGORY_KEYS)
    if isinstance(found, list):
        return tuple(map(str, found))
    return () if found is None else (str(found),)


def _choices(entry: JsonMapping) -> tuple[str, ...]:
    """A list of options, a mapping from letters to options, or either as text."""
    found = _first(entry, CHOICES_KEYS) or ()
    if isinstance(found, str):
        found = _listed(found)
    if isinstance(found, dict):
        keys = sorted(found) if all(len(str(key)) == 1 for key in found) else list(found)
        return tuple(str(found[key]) for key in keys if found[key] is not None)
    return tuple(str(option) for option in found if option is not None)


def _listed(text: str) -> JsonValue:
    """Options written as one text: a JSON or Python list, one per line, or after letters."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(found, (list, dict)):
            return found
    after_letters = _AFTER_LETTERS.findall(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return after_letters or (
        lines if len(lines) > 1 else [part.strip() for part in re.split(r"[,;|/]", text)]
    )


def _box(entry: JsonMapping, where: str) -> tuple[float, ...] | None:
    """`box` is `[x, y, width, height]` in pixels, as COCO and SLAKE write it."""
    box = entry.get("box")
    if box is None:
        return None
    if len(box) != 4:
        raise SampleError(f"{where}: box {box} is not [x, y, width, height]")
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


def _size(entry: JsonMapping) -> tuple[float, float] | None:
    """`image_size` is `[width, height]`."""
    size = entry.get("image_size")
    return None if size is None else (float(size[0]), float(size[1]))
