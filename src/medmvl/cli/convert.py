"""`medmvl data convert` and `medmvl data mixture`: public data sets, from the layout they are published in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medmvl.cli.options import SplitSeed
from medmvl.cli.progress import counter
from medmvl.json_types import JsonObject


def convert(
    name: Annotated[str | None, typer.Argument(help="Name of the public data set.")] = None,
    raw: Annotated[Path | None, typer.Argument(help="Folder it was downloaded to.")] = None,
    out: Annotated[Path | None, typer.Argument(help="New folder.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="A new split by image and patient, as 0.8,0.1,0.1; or published, without training samples that share an "
            "image with the test; or official, with them.",
        ),
    ] = None,
    seed: SplitSeed = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images and volumes into OUT.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only look whether files are there: no decoding, no hashes.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out, and list, what cannot be used.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the public data sets that are known.")] = False,
) -> None:
    """Convert a public data set from the layout it is published in; every image is in one split only."""
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
    with counter(name) as progress:
        summary = dataset.convert(raw, out, options, progress)
    _print_conversion(out, summary)


def mixture(
    folder: Annotated[
        Path, typer.Argument(help="Folder of converted data sets, each in a folder of its name.")
    ],
) -> None:
    """Print Uni-Med's mixture as part of a recipe, with weights that draw by its sampling ratios."""
    import yaml

    from medmvl.datasets.public.unimed import unimed_sources

    sources, missing = unimed_sources(folder)
    typer.echo(yaml.safe_dump({"data": {"train": sources}}, sort_keys=False), nl=False)
    if missing:
        typer.echo(f"No training data for: {', '.join(missing)}", err=True)


def _print_conversion(out: Path, summary: JsonObject) -> None:
    for name, part in summary["splits"].items():
        counts = ", ".join(
            f"{part[what]} {what}" for what in ("samples", "files", "studies", "patients") if part[what]
        )
        typer.echo(f"{out / name}.jsonl: {counts}")
    typer.echo(f"Split: {summary['split']['by']}")
    if shared := summary["split"].get("shared"):
        typer.echo(
            f"Warning: {shared} training samples share an image or patient with a later split", err=True
        )
    typer.echo(f"Licence: {summary['license']} ({summary['url']})")
    for what, count in summary["notes"].items():
        typer.echo(f"Note: {count} {what}")
    if summary["left_out"]["leaks"]:
        typer.echo(
            f"Left out: {summary['left_out']['leaks']} samples that share an image or patient with a later split"
        )
    if summary["left_out"]["bad"]:
        typer.echo(f"Left out: {summary['left_out']['bad']} bad records, listed in {out / 'left_out.txt'}")
