"""`medmvl data check`: samples, patients, tokens, broken files, lost answers and leaks of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import ImageRoot, VolumeRoot
from medmvl.cli.progress import progress_bar
from medmvl.messages import first_of

if TYPE_CHECKING:
    from medmvl.data.check import DataCheck
    from medmvl.data.sources import LoadedSource
    from medmvl.models.processing import MedMVLProcessor


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
    """Count samples, patients and tokens; list broken files, lost answers and leaks. Exit code 2 when something is wrong."""
    from medmvl.data.check import check as check_data

    processor, limit, splits = _what_to_check(recipe, model, data or [], image_root, volume_root)
    with progress_bar() as progress:
        found = check_data(
            splits, processor, max_length=max_length or limit, fast=fast, workers=workers, progress=progress
        )
    typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False) if as_json else _as_text(found))
    if not found.ok:
        raise typer.Exit(2)


def _what_to_check(
    recipe_name: str | None,
    model: Path | None,
    data: list[Path],
    image_root: Path | None,
    volume_root: Path | None,
) -> tuple[MedMVLProcessor | None, int | None, dict[str, list[LoadedSource]]]:
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
) -> tuple[MedMVLProcessor | None, int | None, dict[str, list[LoadedSource]]]:
    """The recipe's processor, built without the model, and its own data where no other was named.

    Next to named data, phantoms of the recipe only give texts for its tokenizer: those of few patients, without drawing.
    """
    from medmvl.data.prepared import default_cache_dir
    from medmvl.data.sources import OUTLINE_PATIENTS, load_source, source_key
    from medmvl.models.assemble import assemble_processor
    from medmvl.training.recipe_files import load_recipe
    from medmvl.training.run import load_sources, outline_sources, training_texts

    recipe = load_recipe(name)
    if splits:
        loaded = outline_sources(recipe)
        learned = recipe.model.llm is not None and recipe.model.llm.tokenizer_vocab_size is not None
        if learned and any(source.stands_for > 1 for source in loaded.values()):
            typer.echo(
                f"Notice: the tokenizer of {name} is learned from all of its phantoms; here from {OUTLINE_PATIENTS} patients "
                "per split, so numbers of tokens are estimates",
                err=True,
            )
    else:
        loaded = load_sources(recipe, default_cache_dir())
        for stage in recipe.stages:
            data = recipe.data_of(stage)
            for part, sources in (("train", data.train), ("validation", data.validation)):
                found = [loaded[source_key(source)] for source in sources]
                known = splits.setdefault(part, [])
                known.extend(source for source in found if not any(source is other for other in known))
        splits["test"] = [load_source(source, Path.cwd(), default_cache_dir()) for source in recipe.data.test]
    processor = assemble_processor(recipe.model, texts=training_texts(recipe, loaded))
    return processor, processor.max_length, {part: sources for part, sources in splits.items() if sources}


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
    if reasoning := check.reasoning_words():
        lines.append(f"Reasoning: {reasoning}")
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
