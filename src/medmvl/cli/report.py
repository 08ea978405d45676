"""`medmvl report`: a report on every study of some folders, as tables, FHIR and DICOM SR."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medmvl.cli.options import AnswerLimit, Device, Dtype, Modality, ModelFolder, NumBeams, Spacing, Units
from medmvl.errors import MissingExtraError, UserError
from medmvl.messages import first_of

if TYPE_CHECKING:
    from medmvl.engine import GenerationOptions
    from medmvl.reporting.run import Outcome, ReportSettings
    from medmvl.reporting.search import Found
    from medmvl.schema import Declarations


def report(
    model: ModelFolder,
    studies: Annotated[list[Path], typer.Argument(help="Files and folders, searched with their subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder for the reports; continued if it is there.")],
    prompt: Annotated[str | None, typer.Option(help="What is asked of every study.")] = None,
    language: Annotated[
        Literal["en", "zh"], typer.Option(help="Language of the prompt and the notices.")
    ] = "en",
    fhir: Annotated[bool, typer.Option(help="Write a FHIR DiagnosticReport for each study.")] = True,
    sr: Annotated[bool, typer.Option(help="Write a DICOM SR for each study that came as DICOM.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Studies asked together.")] = 4,
    max_new_tokens: AnswerLimit = None,
    num_beams: NumBeams = 1,
    units: Units = None,
    modality: Modality = None,
    spacing: Spacing = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Report on every study below some folders; what cannot be read is listed and stops nothing.

    Unverified machine output. Exit code 2 where not one report could be written.
    """
    check_extras(fhir=fhir, sr=sr)
    from medmvl.cli.asking import check_paths, declared, named_as_options, token_limit

    check_paths(model)
    from medmvl.engine import GenerationOptions
    from medmvl.reporting.notice import PROMPTS
    from medmvl.reporting.run import ReportSettings
    from medmvl.reporting.search import find_studies

    declarations = declared(units, modality, spacing)
    found = find_studies(studies, declarations)
    settings = ReportSettings(prompt or PROMPTS[language], language, fhir, sr)
    options = GenerationOptions(**token_limit(max_new_tokens, 512), num_beams=num_beams)
    with named_as_options():
        _report(model, found, out, settings, options, declarations, (device, dtype), batch_size)


def check_extras(*, fhir: bool, sr: bool) -> None:
    """Raise MissingExtraError before anything is computed that could not be written."""
    for wanted, package, switch in ((fhir, "fhir", "--no-fhir"), (sr, "highdicom", "--no-sr")):
        if wanted and find_spec(package) is None:
            raise MissingExtraError(
                f"{package} is missing; install it with: pip install -e '.[report]' in the clone, or give {switch}"
            )


def _report(
    model: Path,
    found: Found,
    out: Path,
    settings: ReportSettings,
    options: GenerationOptions,
    declarations: Declarations,
    where: tuple[str, str],
    batch_size: int,
) -> None:
    from medmvl.cli.asking import progress_bars
    from medmvl.engine import Engine, joined_process_group
    from medmvl.reporting.run import write_reports

    with joined_process_group() as processes, progress_bars(quiet=not processes.first) as advance:
        engine = Engine.load(model, processes.device(where[0]), where[1])
        outcome = write_reports(
            engine,
            found,
            out,
            settings,
            {**engine.identity, "declared": declarations},
            options,
            batch_size=batch_size,
            processes=processes,
            progress=lambda count: advance("reports", count, len(found.studies)),
        )
    if processes.first:
        _print_outcome(outcome, found, out)


def _print_outcome(outcome: Outcome, found: Found, out: Path) -> None:
    from medmvl.cli.asking import print_warnings

    lines = [f"  {bad.path} ({bad.step}): {bad.error}" for bad in outcome.bad]
    listed = first_of(lines, hint=f", see {out / 'bad.csv'}")
    if not outcome.num_reports:
        raise UserError(f"no report could be written\n{listed}" if lines else "no study was found")
    typer.echo(f"{outcome.num_reports} reports in {out}; unverified machine output")
    if found.num_ignored:
        typer.echo(f"{found.num_ignored} files that are no images were passed over")
    print_warnings(outcome.warnings, hint=f", see {out / 'reports.csv'}")
    if lines:
        typer.echo(f"Notice: {len(outcome.bad)} could not be done:\n{listed}", err=True)
