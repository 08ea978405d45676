"""`medmvl data`: bring your own table, check a data set, convert public ones, split by patient, look after the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medmvl.cli.check import check
from medmvl.cli.convert import convert, mixture
from medmvl.cli.cues import cues
from medmvl.cli.from_csv import from_csv
from medmvl.cli.options import (
    DEFAULT_SPLIT,
    ImageRoot,
    SplitSeed,
    SplitShares,
    VolumeRoot,
    one_of,
)
from medmvl.cli.pairs import pairs
from medmvl.cli.progress import print_splits, progress_bar
from medmvl.cli.shards import shards
from medmvl.messages import first_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Bring your own data: convert a table, check a data set."
)

app.command("from-csv")(from_csv)
app.command()(check)
app.command()(convert)
app.command()(mixture)


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="Data file in either format.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    split: SplitShares = DEFAULT_SPLIT,
    seed: SplitSeed = 0,
) -> None:
    """Split a data set; what shares a patient, study, image group or file stays together."""
    from medmvl.data.sources import open_data
    from medmvl.datasets.pseudonyms import keys_go_on
    from medmvl.datasets.splits import parse_fractions
    from medmvl.datasets.writing import rebase, write_splits
    from medmvl.outputs import whole_folder

    source = open_data(data, image_root=image_root, volume_root=volume_root)
    samples = [rebase(sample, source.load, out) for sample in source.samples]
    shares = parse_fractions(split)
    about = {"source": source.name, **keys_go_on(source.load.folder)}
    request = {"command": "split", "data": source.digest, "shares": shares, "seed": seed}
    whole_folder(
        out,
        request,
        lambda folder: write_splits(folder, samples, shares, seed, about),
        private=True,
    )
    print_splits(out, json.loads((out / "dataset.json").read_text(encoding="utf-8")))


app.command("pairs")(pairs)
app.command()(cues)
app.command()(shards)


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
    on_ray: Annotated[
        bool,
        typer.Option(
            "--ray", help="Share the scans out on a Ray cluster: that of RAY_ADDRESS, or this machine."
        ),
    ] = False,
) -> None:
    """Fill the caches for a recipe before it trains; under torchrun, or with --ray, the scans are shared out."""
    if on_ray:
        from medmvl.training.prepare_ray import prepare_on_ray as fill
    else:
        from medmvl.training.prepare import prepare as fill
    from medmvl.training.recipe_files import load_recipe

    with progress_bar() as progress:
        done = fill(
            load_recipe(recipe, overrides or ()),
            features=features,
            workers=workers,
            progress=lambda number, total: progress("scans", number, total),
        )
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

    one_of("--only", only, ("pixels", "features", "phantoms"))
    for one in kept_parts():
        if only not in (None, one.part):
            continue
        if not clear:
            typer.echo(
                f"{one.part:9} {one.count} {one.what}, {one.num_bytes / 2**20:.1f} MiB in {one.folder}"
            )
        elif only is not None or one.is_patient_data:
            typer.echo(f"Removed {one.clear()} {one.what} from {one.folder}")
