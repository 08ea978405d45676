"""`medmvl data`: bring your own table, check a data set, convert public ones, split by patient, look after the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmvl.cli.pairs import pairs
from medmvl.messages import first_of

if TYPE_CHECKING:
    from medmvl.data.check import DataCheck
    from medmvl.data.sources import LoadedSource
    from medmvl.datasets.from_csv import CsvResult

app = typer.Typer(no_args_is_help=True, help="Bring your own data: convert a table, check a data set.")

Split = Annotated[str, typer.Option("--split", help="Shares of train, validation and test.")]
Seed = Annotated[int, typer.Option(help="Seed for the split.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder that image paths start from.")]
VolumeRoot = Annotated[Path | None, typer.Option(help="Folder that volume paths start from.")]
DEFAULT_SPLIT = "0.8,0.1,0.1"


Table = Annotated[
    Path, typer.Argument(help="CSV or TSV, UTF-8 or GB 18030, or XLSX; one row per examination.")
]
Out = Annotated[Path, typer.Argument(help="New folder for the data set.")]
Images = Annotated[Path, typer.Option(help="Folder that paths in the table start from.")]
ImageColumn = Annotated[str | None, typer.Option(help="Column with paths of 2D images.")]
VolumeColumn = Annotated[str | None, typer.Option(help="Column with 3D files or DICOM folders.")]
QuestionColumn = Annotated[str | None, typer.Option()]
AnswerColumn = Annotated[str | None, typer.Option()]
ReportColumn = Annotated[str | None, typer.Option()]
PatientColumn = Annotated[str | None, typer.Option()]
StudyColumn = Annotated[str | None, typer.Option()]
DateColumn = Annotated[str | None, typer.Option()]
DateFormat = Annotated[
    str | None, typer.Option(help="How dates are written where not year first, such as %d/%m/%Y.")
]
UnitsColumn = Annotated[str | None, typer.Option()]
ModalityColumn = Annotated[str | None, typer.Option()]
PriorColumn = Annotated[str | None, typer.Option(help="Column with paths of earlier studies.")]
PriorDaysColumn = Annotated[str | None, typer.Option(help="Column with the days by which they are older.")]
IdColumn = Annotated[str | None, typer.Option(help="Column with an id of each row.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column with train, validation or test.")]
Question = Annotated[str | None, typer.Option(help="Asked about rows without a question.")]
Kind = Annotated[str | None, typer.Option(help="image or volume; looked up in the files by default.")]
Language = Annotated[str, typer.Option(help="en, zh or auto.")]
Units = Annotated[str | None, typer.Option(help="Declare units where files do not say, such as HU.")]
Modality = Annotated[str | None, typer.Option(help="Declare the modality, such as CT.")]
KeepIds = Annotated[bool, typer.Option(help="Patient and study columns are pseudonyms already.")]
SkipBad = Annotated[bool, typer.Option(help="Leave out, and list, rows that cannot be used.")]


@app.command("from-csv")
def from_csv(
    table: Table,
    out: Out,
    images: Images,
    image_column: ImageColumn = None,
    volume_column: VolumeColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    report_column: ReportColumn = None,
    patient_column: PatientColumn = None,
    study_column: StudyColumn = None,
    date_column: DateColumn = None,
    date_format: DateFormat = None,
    units_column: UnitsColumn = None,
    modality_column: ModalityColumn = None,
    prior_column: PriorColumn = None,
    prior_days_column: PriorDaysColumn = None,
    id_column: IdColumn = None,
    split_column: SplitColumn = None,
    question: Question = None,
    kind: Kind = None,
    language: Language = "auto",
    units: Units = None,
    modality: Modality = None,
    split: Split = DEFAULT_SPLIT,
    seed: Seed = 0,
    keep_ids: KeepIds = False,
    skip_bad: SkipBad = False,
) -> None:
    """Turn a table of your own into a data set that trains; DICOM and NIfTI stay as they are."""
    from medmvl.datasets.csv_files import CsvOptions
    from medmvl.datasets.from_csv import from_csv as convert_table
    from medmvl.datasets.splits import parse_fractions

    columns = {
        "image": image_column, "volume": volume_column, "question": question_column, "answer": answer_column,
        "report": report_column, "patient": patient_column, "study": study_column, "date": date_column,
        "units": units_column, "modality": modality_column, "prior": prior_column, "prior_days": prior_days_column,
        "id": id_column, "split": split_column,
    }  # fmt: skip
    options = CsvOptions(
        columns=columns,
        question=question,
        kind=_one_of("--kind", kind, ("image", "volume")),
        language=_one_of("--language", language, ("en", "zh", "auto")),
        units=units,
        modality=modality,
        fractions=parse_fractions(split),
        seed=seed,
        keep_ids=keep_ids,
        skip_bad=skip_bad,
        date_format=date_format,
    )
    with _bar() as progress:
        result = convert_table(table, images, out, options, lambda done, n: progress("rows", done, n))
    _print_table_result(out, result)
    if not keep_ids:
        typer.echo(
            f"The key of the pseudonyms is {out.with_name(out.name + '.key')}: keep it, and keep it secret."
        )


def _print_table_result(out: Path, result: CsvResult) -> None:
    typer.echo("Columns: " + ", ".join(f"{role} = '{column}'" for role, column in result.columns.items()))
    if result.unused:
        typer.echo("Unused: " + ", ".join(f"'{column}'" for column in result.unused))
    for row in result.bad_rows:
        typer.echo(f"Left out: {row}", err=True)
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    _print_splits(out, result.summary)


@app.command()
def check(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Data files, or folders with train.jsonl ...")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe: its processor, its limit, and its data.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Saved model whose processor counts the tokens.")] = None,
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    max_length: Annotated[int | None, typer.Option(help="Limit of tokens; the recipe's by default.")] = None,
    fast: Annotated[bool, typer.Option(help="Look whether files are there, but do not read them.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read files.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report samples, patients, tokens, broken files, lost answers, leaks; exit code 2 when something is wrong."""
    from medmvl.data.check import check as check_data

    processor, limit, splits = _what_to_check(recipe, model, data or [], image_root, volume_root)
    with _bar() as progress:
        found = check_data(
            splits, processor, max_length=max_length or limit, fast=fast, workers=workers, progress=progress
        )
    typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False) if as_json else _as_text(found))
    if not found.ok:
        raise typer.Exit(2)


@app.command()
def convert(
    name: Annotated[str | None, typer.Argument(help="Name of the public data set.")] = None,
    raw: Annotated[Path | None, typer.Argument(help="Folder it was downloaded to.")] = None,
    out: Annotated[Path | None, typer.Argument(help="New folder.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="A new split by picture and patient, as 0.8,0.1,0.1; or published, without training samples that share a "
            "picture with the test; or official, with them.",
        ),
    ] = None,
    seed: Seed = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy pictures and volumes into OUT.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only look whether files are there: no decoding, no hashes.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out, and list, what cannot be used.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the public data sets that are known.")] = False,
) -> None:
    """Convert a public data set from the layout it is published in; every picture is in one split only."""
    from medmvl.datasets.public import DATASETS, ConvertOptions, find_dataset
    from medmvl.datasets.splits import parse_fractions

    if name is None or listed:
        for known in DATASETS.values():
            typer.echo(
                f"{known.name:13} {known.title}\n{'':13} licence: {known.licence}\n{'':13} {known.size}"
            )
        return
    dataset = find_dataset(name)
    if raw is None or out is None:
        raise typer.BadParameter("expected medmvl data convert NAME RAW OUT")
    shares: Any = split if split in (None, "published", "official") else parse_fractions(split)
    options = ConvertOptions(shares, seed, copy, fast, skip_bad)
    with _counter(name) as progress:
        summary = dataset.convert(raw, out, options, progress)
    _print_conversion(out, summary)


@app.command()
def mixture(
    folder: Annotated[Path, typer.Argument(help="Holds converted data sets, each in a folder of its name.")],
) -> None:
    """Print Uni-Med's mixture as part of a recipe, with weights that draw by its sampling ratios."""
    import yaml

    from medmvl.datasets.public.unimed import unimed_sources

    sources, missing = unimed_sources(folder)
    typer.echo(yaml.safe_dump({"data": {"train": sources}}, sort_keys=False), nl=False)
    if missing:
        typer.echo(f"No training data for: {', '.join(missing)}", err=True)


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="Data file in either format.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    split: Split = DEFAULT_SPLIT,
    seed: Seed = 0,
) -> None:
    """Split a data set; what shares a patient, study, image group or file stays together."""
    from medmvl.data.sources import open_data
    from medmvl.datasets.splits import parse_fractions
    from medmvl.datasets.writing import rebase, write_splits
    from medmvl.outputs import whole_folder

    source = open_data(data, image_root=image_root, volume_root=volume_root)
    samples = [rebase(sample, source.load, out) for sample in source.samples]
    shares = parse_fractions(split)
    request = {"command": "split", "data": source.digest, "shares": shares, "seed": seed}
    whole_folder(
        out,
        request,
        lambda folder: write_splits(folder, samples, shares, seed, {"source": source.name}),
        private=True,
    )
    _print_splits(out, json.loads((out / "dataset.json").read_text(encoding="utf-8")))


app.command("pairs")(pairs)


@app.command()
def prepare(
    recipe: Annotated[str, typer.Argument(help="Recipe, by name or file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.train.0.limit=100.")
    ] = None,
    features: Annotated[
        bool,
        typer.Option("--features", help="Keep what frozen encoders make of the scans, instead of pixels."),
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 0,
) -> None:
    """Fill the caches for a recipe before it trains; under torchrun, the scans are shared out."""
    from medmvl.training.prepare import prepare as fill
    from medmvl.training.recipe_files import load_recipe

    with _bar() as progress:
        done = fill(
            load_recipe(recipe, overrides or ()), features=features, workers=workers,
            progress=lambda number, total: progress("scans", number, total),
        )  # fmt: skip
    kept = done.scans - len(done.unread)
    made = f", {done.made} of them now" if features else ""
    typer.echo(f"{kept} of {done.scans} scans are kept as {'features' if features else 'pixels'}{made}")
    for reason in done.left_out:
        typer.echo(f"Not made: {reason}")
    if done.unread:
        typer.echo("Not read: " + first_of(done.unread, 10, separator="\n          "), err=True)
        raise typer.Exit(2)


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove what is kept of scans, or of one part with --only.")
    ] = False,
    only: Annotated[str | None, typer.Option(help="pixels, features or phantoms; all by default.")] = None,
) -> None:
    """Show or clear what is kept of scans, which is patient data, and the phantoms."""
    from medmvl.data.kept import kept_parts

    _one_of("--only", only, ("pixels", "features", "phantoms"))
    for one in kept_parts():
        if only not in (None, one.part):
            continue
        if not clear:
            typer.echo(
                f"{one.part:9} {one.count} {one.what}, {one.num_bytes / 2**20:.1f} MiB in {one.folder}"
            )
        elif only is not None or one.is_patient_data:
            typer.echo(f"Removed {one.clear()} {one.what} from {one.folder}")


def _print_conversion(out: Path, summary: dict[str, Any]) -> None:
    for name, part in summary["splits"].items():
        counts = ", ".join(
            f"{part[what]} {what}" for what in ("samples", "files", "studies", "patients") if part[what]
        )
        typer.echo(f"{out / name}.jsonl: {counts}")
    typer.echo(f"Split: {summary['split']['by']}")
    if shared := summary["split"].get("shared"):
        typer.echo(
            f"Warning: {shared} training samples share a picture or patient with a later split", err=True
        )
    typer.echo(f"Licence: {summary['license']} ({summary['url']})")
    for what, count in summary["notes"].items():
        typer.echo(f"Note: {count} {what}")
    if summary["left_out"]["leaks"]:
        typer.echo(
            f"Left out: {summary['left_out']['leaks']} samples that share a picture or patient with a later split"
        )
    if summary["left_out"]["bad"]:
        typer.echo(f"Left out: {summary['left_out']['bad']} bad records, listed in {out / 'left_out.txt'}")


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> Any:
    if value is not None and value not in known:
        raise typer.BadParameter(f"{option} {value}: expected {', '.join(known)}")
    return value


def _what_to_check(
    recipe_name: str | None,
    model: Path | None,
    data: list[Path],
    image_root: Path | None,
    volume_root: Path | None,
) -> tuple[Any, int | None, dict[str, list[LoadedSource]]]:
    """The processor, its limit, and the sources of each split."""
    splits = _open_splits(data, image_root, volume_root)
    if recipe_name is not None and model is not None:
        raise typer.BadParameter("give --recipe or --model, not both")
    if recipe_name is not None:
        return _from_recipe(recipe_name, splits)
    if not splits:
        raise typer.BadParameter("name a data file, or a --recipe with data")
    if model is None:
        return None, None, splits
    from medmvl.models.processing import MedMVLProcessor

    processor = MedMVLProcessor.from_pretrained(model)
    return processor, getattr(processor, "max_length", None), splits


def _open_splits(
    data: list[Path], image_root: Path | None, volume_root: Path | None
) -> dict[str, list[LoadedSource]]:
    from medmvl.data.sources import open_data
    from medmvl.datasets.splits import SPLIT_NAMES
    from medmvl.errors import UserError

    files: list[Path] = []
    for path in data:
        found = [path / f"{name}.jsonl" for name in SPLIT_NAMES if (path / f"{name}.jsonl").is_file()]
        if path.is_dir() and not found:
            raise UserError(f"{path}: a folder without train.jsonl, validation.jsonl or test.jsonl")
        files.extend(found or [path])
    return {str(file): [open_data(file, image_root=image_root, volume_root=volume_root)] for file in files}


def _from_recipe(
    name: str, splits: dict[str, list[LoadedSource]]
) -> tuple[Any, int | None, dict[str, list[LoadedSource]]]:
    """The recipe's processor, built without the model, and its own data where no other was named."""
    from medmvl.data.prepared import default_cache_dir
    from medmvl.data.sources import load_source
    from medmvl.models.assemble import assemble_processor
    from medmvl.training.recipe_files import load_recipe
    from medmvl.training.run import load_sources, source_key, training_texts

    recipe = load_recipe(name)
    loaded = load_sources(recipe, default_cache_dir())
    if not splits:
        for stage in recipe.stages:
            data = recipe.data_of(stage)
            for part, sources in (("train", data.train), ("validation", data.validation)):
                found = [loaded[source_key(source)] for source in sources]
                known = splits.setdefault(part, [])
                known.extend(source for source in found if not any(source is other for other in known))
        splits["test"] = [load_source(source, Path.cwd(), default_cache_dir()) for source in recipe.data.test]
    processor = assemble_processor(recipe.model, texts=training_texts(recipe, loaded))
    return processor, processor.max_length, {part: sources for part, sources in splits.items() if sources}


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on stderr, one line for each thing that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield progress


@contextmanager
def _counter(what: str) -> Iterator[Any]:
    """A count on stderr of what has no known end."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=" records", mininterval=0.5, leave=False) as bar:
        yield lambda done: bar.update(done - bar.n)


def _print_splits(out: Path, summary: dict[str, Any]) -> None:
    for name, counts in summary["splits"].items():
        typer.echo(f"{out / name}.jsonl: {counts['samples']} samples, {counts['patients']} patients")


def _as_text(check: DataCheck) -> str:
    from medmvl.data.check import PROBLEMS

    indent = " " * 12
    lines = [
        "Samples:  " + ", ".join(f"{count} in {split}" for split, count in check.samples.items()),
        f"Patients: {check.patients} (samples without one: {check.without_patient}), studies: {check.studies}",
        f"Files:    {check.images} images, {check.volumes} volumes, {'all' if check.files_read else 'none'} read; "
        f"text-only samples: {check.text_only}",
    ]
    for what in ("question_types", "languages", "answers", "modalities", "units"):
        if counts := getattr(check, what):
            shown = [
                f"{count} {name!r}" if what == "answers" else f"{count} {name}"
                for name, count in sorted(counts.items(), key=lambda item: -item[1])
            ]
            title = {"answers": "Closed", "question_types": "Questions"}.get(what, what.capitalize())
            lines.append(f"{title + ':':11}" + first_of(shown, 10, separator=", "))
    for name, values in check.tokens.items():
        lines.append(f"Tokens:   {name:6} " + ", ".join(f"{key} {value}" for key, value in values.items()))
    if check.limit is not None:
        lines.append(f"Limit:    {check.limit} tokens")
    for name, found in check.problems.items():
        if found.count:
            lines.append(f"Wrong:    {found.count} {PROBLEMS[name]}")
            lines.append(indent + first_of(found.examples, total=found.count, separator="\n" + indent))
    for warning, found in check.warnings.items():
        lines.append(f"Look at:  {found.count} files: {warning}")
        lines.append(indent + first_of(found.examples, 5, total=found.count, separator="\n" + indent))
    return "\n".join([*lines, "Nothing is wrong." if check.ok else "Something is wrong."])
