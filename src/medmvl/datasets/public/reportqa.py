"""ReportQA (arXiv 2606.15037): multiple choice made from radiology reports, by entity, English and Chinese; all is test.

Layout: a folder per source (`ct-rate/`, `amos-mm/`, `mimic-cxr/`, `ctrg-brain-zh/`), in it `full/qas_filtered_wrong.jsonl`, or
that file alone, and the source's own scans. A line has `report_id` (path of the scan), `clinical_entity_type`,
`clinical_entity`, `clinical_entity_idx`, `attribute`, `question_idx`, `question_type`, `question`, `options` and `answer`
(place of the right option, from 0). The folder gives the language. As published, "insufficient information" is one more
option, and a question is asked once per turn of its options, so that every letter is right once.
Checked in github.com/MSIIP/ReportQA (generation, filter, scoring and their scripts): names of folders and files, fields, turns,
the gate. Not checked: the files released on Hugging Face, and what their paths of scans look like; the longest end of a path
that is a file is taken, which is one image per study of MIMIC-CXR. CTRG-Brain's scans are read there as 0 to 255, so their
units are left unknown. RadEvalX, which those scripts score as well, is not read.

The gate, `gated_accuracy`: where an entity that is there is missed, all questions about it count as wrong. Evaluation
scores questions one
by one and has no place for it, so it is a function. Rows of `medmvl evaluate` are without the gate. The published script
gates only where the answer is the English "yes", so no Chinese question; here both languages are gated. On 140 made-up
English verdicts both gave the same three numbers, and its turns of options were the same. Its QAScore is left
out: it counts answers "yes" to questions about absent entities, while answers are letters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, Visual, choice_question
from medmvl.datasets.gathering.readers import below, iter_json, text_field
from medmvl.datasets.pseudonyms import Pseudonyms
from medmvl.datasets.public.ct_rate import identity_of, patient_of, root_of, study_of
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import ImageBlock, Sample, VolumeBlock
from medmvl.tasks.benchmark import Benchmark

SOURCES: dict[str, Literal["en", "zh"]] = {
    "ct-rate": "en", "amos-mm": "en", "mimic-cxr": "en", "ctrg-brain-zh": "zh",
}  # fmt: skip
"""Folder to the language of its questions."""
TABLE = "qas_filtered_wrong.jsonl"
INSUFFICIENT = {"en": "Insufficient information", "zh": "信息不足"}
ENTITY_TYPES = ("finding", "diagnosis")
QUESTION_TYPES = ("base", "hierarchical", "negative")
ENTITY = ("report_id", "clinical_entity_type", "clinical_entity", "clinical_entity_idx")
UNIT = (*ENTITY, "attribute", "question_idx", "question_type")
YES = ("yes", "是")
_MIMIC = re.compile(r"(?:^|/)p(\d{8})/s(\d{8})/")


def gather(found: Collection) -> None:
    """Take the questions of every source that is there."""
    places = [(name, place) for name in SOURCES for place in (f"{name}/full/{TABLE}", f"{name}/{TABLE}")]
    tables = [(name, found.raw / place) for name, place in places if (found.raw / place).is_file()]
    if not tables:
        raise UserError(f"{found.raw}: expected full/{TABLE} in one of the folders {', '.join(SOURCES)}")
    names = [name for name, _ in tables]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{found.raw / name}: {TABLE} is there twice; leave one of them out")
    for name, table in tables:
        source = _Source(found, name)
        for number, record in enumerate(iter_json(found.table(table)), start=1):
            with found.record(f"{name}/{TABLE}, question {number}"):
                source.take(record)


class _Shown(NamedTuple):
    """The scan of a report, and its patient."""

    number: int
    block: Visual
    identity: JsonObject


class _Source:
    """Questions about the scans of one source. Ids hold numbers alone: `SOURCE-REPORT-ENTITY-QUESTION-TURN`."""

    def __init__(self, found: Collection, name: str) -> None:
        self.found = found
        self.name = name
        self._shown: dict[str, _Shown] = {}
        self._reports: dict[Path, str] = {}
        self._entities: dict[tuple[str, ...], int] = {}
        self._units: dict[tuple[str, ...], int] = {}

    def take(self, record: JsonMapping) -> None:
        """Add a question, once per turn of its options."""
        unit = tuple(text_field(record, key) for key in UNIT)
        _one_of(record, "clinical_entity_type", ENTITY_TYPES)
        question_type = f"choice_{_one_of(record, 'question_type', QUESTION_TYPES)}"
        language = SOURCES[self.name]
        options, right = _options(record, INSUFFICIENT[language])
        asked = text_field(record, "question")
        if unit in self._units:
            raise UserError("an earlier question has the same report, entity, attribute, type and numbers")
        shown = self._show(unit[0])
        entity = self._entities.setdefault(unit[:4], len(self._entities))
        self._units[unit] = len(self._units)
        for turn in range(len(options)):
            turned = options[-turn:] + options[:-turn] if turn else options
            sample = choice_question(
                f"reportqa-{self.name}-{shown.number:05d}-{entity:06d}-{self._units[unit]:06d}-{turn}",
                [shown.block],
                asked,
                turned,
                LETTERS[(right + turn) % len(options)],
                question_type=question_type,
                language=language,
                categories=(unit[1], unit[4]),
                task="reportqa",
                **shown.identity,
            )
            self.found.add(sample, "test")

    def _show(self, report: str) -> _Shown:
        if report not in self._shown:
            path = self._scan(report)
            if self._reports.setdefault(path, report) != report:
                raise UserError(f"the scan {path.name} is that of another report_id, too; keep their folders")
            number = len(self._shown)
            self._shown[report] = _Shown(number, self._block(path), self._identity(report, number))
        return self._shown[report]

    def _scan(self, report: str) -> Path:
        """The file that the longest end of the path names, in CT-RATE's own folders as well."""
        root = self.found.raw / self.name
        parts = PurePosixPath(report.replace("\\", "/").lstrip("/")).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        places = [below(root, end) for end in ends if ".." not in PurePosixPath(end).parts]
        if self.name == "ct-rate" and parts:
            study = study_of(parts[-1])
            nested = f"{patient_of(study)}/{study}/{parts[-1]}"
            places += [below(root_of(root) / "valid_fixed", end) for end in (nested, parts[-1])]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise ReadError(f"the scan is missing: no end of its report_id is a file in {self.name}/")
        return path

    def _block(self, path: Path) -> Visual:
        if self.name == "mimic-cxr":
            return ImageBlock(image=self.found.image(path))
        known = self.name == "amos-mm" or (self.name == "ct-rate" and "valid_fixed" in path.parts)
        return VolumeBlock(volume=self.found.volume(path), units="HU" if known else None, modality="CT")

    def _identity(self, report: str, number: int) -> JsonObject:
        """Patient and study, as the source's own data set names them."""
        name = PurePosixPath(report.replace("\\", "/")).name
        if self.name == "ct-rate":
            return identity_of(name)
        if self.name == "mimic-cxr":
            match = _MIMIC.search(report.replace("\\", "/"))
            if match is None:
                raise UserError(
                    "its report_id has no folders of patient and study such as p10000032/s50414267/"
                )
            names = Pseudonyms.from_file(self.found.out.with_name(f"{self.found.out.name}.key"))
            subject, study = match.groups()
            return {"patient": names.of("patient", subject), "study": names.of("study", subject, study)}
        case = name.removesuffix(".gz").removesuffix(".nii")
        own = f"amos:{case}" if self.name == "amos-mm" else f"ctrg-brain:{number:05d}"
        return {"patient": own, "study": own}


def _one_of(record: JsonMapping, name: str, known: tuple[str, ...]) -> str:
    value = text_field(record, name)
    if value not in known:
        raise UserError(f"expected {', '.join(known)} as {name}, found {value!r}")
    return value


def _options(record: JsonMapping, insufficient: str) -> tuple[list[str], int]:
    """The options with the one that is added, and the place of the right one.

    Raises:
        UserError: they are no 2 to 7 different texts, or the answer is the place of none.
    """
    options, right = record.get("options"), record.get("answer")
    if not isinstance(options, list) or not all(isinstance(one, str) and one.strip() for one in options):
        raise UserError("expected a list of texts as options")
    if not 2 <= len(options) < len(LETTERS):
        raise UserError(f"expected 2 to {len(LETTERS) - 1} options, found {len(options)}")
    if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < len(options):
        raise UserError(
            f"expected 0 to {len(options) - 1} as answer, the place of an option; found {right!r}"
        )
    every = [one.strip() for one in (*options, insufficient)]
    if len(set(every)) < len(every):
        raise UserError(f"two of its options are equal: {', '.join(every)}")
    return every, right


def gated_accuracy(samples: Iterable[Sample], right: Mapping[str, bool]) -> dict[str, float]:
    """Accuracy of each type of question, where a missed entity makes all questions about it wrong.

    An entity is missed where it is there and any turn of its question after presence is answered wrong. A question counts
    the share of its turns that are right, a report the mean of its questions, a type the mean of its reports.

    Args:
        samples: of converted ReportQA, as asked.
        right: id of each sample to whether its answer was right.

    Raises:
        UserError: an id has no verdict, or a verdict no sample.
    """
    asked = {sample.id: sample for sample in samples}
    if strange := sorted(set(asked) ^ set(right)):
        raise UserError(
            f"{len(strange)} ids are only among the samples or the verdicts, such as {strange[0]}"
        )
    missed = {_entity(id) for id, sample in asked.items() if _is_there(sample) and not right[id]}
    turns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for id, sample in asked.items():
        assert sample.target is not None
        turns[sample.target.question_type, id.rsplit("-", 1)[0]].append(
            right[id] and _entity(id) not in missed
        )
    reports: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (question_type, question), verdicts in turns.items():
        reports[question_type, question.rsplit("-", 2)[0]].append(_mean(verdicts))
    question_types: dict[str, list[float]] = defaultdict(list)
    for (question_type, _), scores in reports.items():
        question_types[question_type].append(_mean(scores))
    return {question_type: _mean(scores) for question_type, scores in sorted(question_types.items())}


def _entity(id: str) -> str:
    return id.rsplit("-", 2)[0]


def _is_there(sample: Sample) -> bool:
    """Whether a sample asks for the presence of an entity that is there."""
    target = sample.target
    if target is None or "presence" not in (target.categories or ()):
        return False
    return any(answer.casefold() in YES for answer in target.answers)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


REPORTQA_EN = Benchmark(
    name="reportqa-en", title="ReportQA, English, by type of question", data="reportqa", question_types=("choice_*",),
    languages=("en",), prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip
REPORTQA_ZH = Benchmark(
    name="reportqa-zh", title="ReportQA, Chinese, by type of question", data="reportqa", question_types=("choice_*",),
    languages=("zh",), prompts={"zh": "{question}\n请用正确选项的字母回答。"},
)  # fmt: skip

DATASET = PublicDataset(
    name="reportqa",
    title="ReportQA",
    licence="Apache 2.0 by its repository (the released files were not checked); scans have their sources' licences",
    url="https://huggingface.co/datasets/shiym2000/ReportQA",
    layout=f"ct-rate/, amos-mm/, mimic-cxr/, ctrg-brain-zh/, each with full/{TABLE} and its own scans",
    size="not checked",
    split="all of it is test",
    gather=gather,
    tasks=(REPORTQA_EN, REPORTQA_ZH),
)
