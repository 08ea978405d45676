"""From studies to a folder of reports, on the engine's road for many questions: resumed after a kill, spread over processes.

out/reports.jsonl, reports.csv   the reports, by id; no identity, no paths
out/fhir/ID.json, sr/ID.dcm      for other systems; name the patient where the source does
out/sources.csv, bad.csv         which file is which id, and what could not be done; name the user's own paths
out/answers.jsonl                what a killed run continues from
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medmvl import __version__
from medmvl.atomic_files import write_json, write_text
from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine, GenerationOptions, ProcessGroup, StoredAnswer, answer_samples, read_answers
from medmvl.engine.batch import Progress
from medmvl.engine.process_group import SINGLE_PROCESS
from medmvl.errors import ReadError, UserError
from medmvl.imaging import MedicalImage
from medmvl.json_types import JsonMapping
from medmvl.outputs import continued_folder
from medmvl.reporting.fhir import diagnostic_report
from medmvl.reporting.identity import source_instances
from medmvl.reporting.notice import STATUS, plain
from medmvl.reporting.search import Bad, Found, Study
from medmvl.reporting.structured import write_structured_report
from medmvl.schema import VisualBlock
from medmvl.schema.reasoning import without_reasoning

FOLDERS = ("fhir", "sr")
EMPTY = "the model's report is empty"
CHANGED = "a file was replaced, added or removed after the study was found: run the command again when none arrives any more"


@dataclass(frozen=True)
class ReportSettings:
    """What is asked, and what is written."""

    prompt: str
    language: str = "en"
    fhir: bool = True
    sr: bool = True


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    num_reports: int
    bad: tuple[Bad, ...]
    warnings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Path of each study reported on, and what is doubtful about its report."""


def write_reports(
    engine: Engine,
    found: Found,
    out: Path,
    settings: ReportSettings,
    run: JsonMapping,
    options: GenerationOptions,
    *,
    batch_size: int = 16,
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Progress | None = None,
) -> Outcome:
    """Report on every study found, and write everything; see the top of this file.

    Args:
        engine: answers.
        found: from `find_studies`; the same on every rank.
        out: the folder; continued if a run of the same settings was broken off.
        settings: settings of the reports.
        run: what else decides the answers, such as the model's digest; must be equal when continued.
        options: of decoding.
        batch_size: studies asked together.
        processes: the processes that share the work; the first one writes.
        progress: called with how many studies have just been dealt with.

    Raises:
        UserError: `out` belongs to another run, or another process writes it.
    """
    with continued_folder(out, *FOLDERS, first=processes.first, holds="reports", marks=("answers.jsonl",)):
        return _write_missing(
            engine,
            found,
            out,
            settings,
            run,
            options,
            batch_size=batch_size,
            processes=processes,
            progress=progress,
        )


def _write_missing(
    engine: Engine,
    found: Found,
    out: Path,
    settings: ReportSettings,
    run: JsonMapping,
    options: GenerationOptions,
    *,
    batch_size: int,
    processes: ProcessGroup,
    progress: Progress | None,
) -> Outcome:
    answers = out / "answers.jsonl"
    samples = [study.sample(settings.prompt) for study in found.studies]
    record = {**run, "prompt": settings.prompt, "language": settings.language}
    failures = answer_samples(
        engine,
        samples,
        _AsFound(
            Path(), states={block: state for study in found.studies for block, state in study.states.items()}
        ),
        answers,
        record,
        options,
        batch_size=batch_size,
        processes=processes,
        progress=progress,
    )
    names = {study.id: study.name for study in found.studies}
    bad = [*found.bad, *(Bad(names[one.name], "ask", one.error) for one in failures)]
    texts = {
        answer.id: _Text(plain(without_reasoning(answer.text)), _doubts(answer))
        for answer in read_answers(answers)
    }
    answered = [study for study in found.studies if study.id in texts]
    done = [study for study in answered if texts[study.id].text]
    bad += [Bad(study.name, "report", EMPTY) for study in answered if not texts[study.id].text]
    if processes.first:
        for study in done:
            bad += _export(out, study, texts[study.id], settings)
        _write_tables(out, done, texts, bad, settings, run)
    processes.wait()
    return Outcome(len(done), tuple(bad), tuple((study.name, texts[study.id].warnings) for study in done))


@dataclass(frozen=True)
class _AsFound(BlockLoader):
    """Reads studies as they were found: the report must be about the patient whom FHIR and SR name."""

    states: Mapping[VisualBlock, str] = field(default_factory=dict)
    """State of each block's files when it was found."""

    def state(self, block: VisualBlock) -> str:
        """As any loader's; it is asked for before what is kept of a scan is used.

        Raises:
            ReadError: it is not as it was found.
        """
        state = super().state(block)
        if state != self.states[block]:
            raise ReadError(CHANGED)
        return state

    def __call__(self, block: VisualBlock) -> MedicalImage:
        """Read the block's file.

        Raises:
            ReadError: it cannot be read, or has changed since it was found.
        """
        image = super().__call__(block)
        self.state(block)
        return image


class _Text(NamedTuple):
    """A report, and what is doubtful about it."""

    text: str
    warnings: tuple[str, ...]


def _doubts(answer: StoredAnswer) -> tuple[str, ...]:
    """What the reader could not settle about the scan, and whether the report is whole."""
    cut = (f"the report was cut off after {len(answer.tokens)} tokens",) if answer.cut else ()
    return (*answer.warnings, *cut)


def _export(out: Path, study: Study, report: _Text, settings: ReportSettings) -> list[Bad]:
    """Write FHIR and SR of one study, where they are not there yet; what could not be made of its files.

    Raises:
        OSError: `out` cannot be written to: the run stops, as the next study would fare alike.
    """
    text, warnings = report
    fhir, sr = out / "fhir" / f"{study.id}.json", out / "sr" / f"{study.id}.dcm"
    writes_fhir = settings.fhir and not fhir.exists()
    writes_sr = settings.sr and bool(study.dicom) and not sr.exists()
    if not (writes_fhir or writes_sr):
        return []
    try:
        sources = source_instances(study.dicom)
        if study.has_changed():
            raise ReadError(CHANGED)
    except (ValueError, OSError) as error:
        return [Bad(study.name, "fhir" if writes_fhir else "sr", _said(error))]
    try:
        if writes_fhir:
            write_json(fhir, diagnostic_report(study.id, text, settings.language, sources, warnings))
        if writes_sr:
            write_structured_report(sr, study.id, text, settings.language, sources, __version__, warnings)
    except ValueError as error:
        return [Bad(study.name, "fhir" if writes_fhir and not fhir.exists() else "sr", _said(error))]
    return []


def _said(error: Exception) -> str:
    """The first line of an error: a validation's further lines quote values, which may name the patient."""
    if isinstance(error, UserError | OSError):
        return str(error)
    return f"not accepted by the library that checks it ({type(error).__name__})"


def _write_tables(
    out: Path,
    done: Sequence[Study],
    texts: Mapping[str, _Text],
    bad: Sequence[Bad],
    settings: ReportSettings,
    run: JsonMapping,
) -> None:
    rows = [
        {
            "id": study.id,
            **texts[study.id]._asdict(),
            "status": STATUS,
            "language": settings.language,
            "kinds": [block.type for block in study.blocks],
            "modality": study.modality,
            "fhir": _if_there(out, f"fhir/{study.id}.json"),
            "sr": _if_there(out, f"sr/{study.id}.dcm"),
            "model": run.get("model"),
        }
        for study in done
    ]
    write_text(out / "reports.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    columns = ("id", "text", "status", "warnings", "language", "modality", "fhir", "sr")
    _write_csv(out / "reports.csv", columns, ([_cell(row[name]) for name in columns] for row in rows))
    _write_csv(out / "sources.csv", ("id", "path"), ((study.id, study.name) for study in done))
    _write_csv(out / "bad.csv", Bad._fields, bad)


def _cell(value: object) -> str:
    return "; ".join(value) if isinstance(value, tuple) else str(value or "")


def _if_there(out: Path, name: str) -> str | None:
    return name if (out / name).exists() else None


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
