"""`medmvl data shards`: samples and scans into tar files, for data that do not fit a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medmvl.cli.options import ImageRoot, VolumeRoot
from medmvl.cli.progress import progress_bar


def shards(
    data: Annotated[Path, typer.Argument(help="Folder with train.jsonl ..., or a data file.")],
    out: Annotated[Path, typer.Argument(help="Folder of the shards.")],
    size: Annotated[float, typer.Option("--size", min=0.0, help="MiB per shard.")] = 1024.0,
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
) -> None:
    """Write samples and their scans into tar files that train as they are; the same command goes on after a kill."""
    from medmvl.data.sources import open_data
    from medmvl.datasets.splits import SPLIT_NAMES
    from medmvl.datasets.writing_shards import write_shards
    from medmvl.errors import UserError

    files = [data / f"{name}.jsonl" for name in SPLIT_NAMES] if data.is_dir() else [data]
    sources = {
        file.stem: open_data(file, image_root=image_root, volume_root=volume_root)
        for file in files
        if file.is_file() or file == data
    }
    if not sources:
        raise UserError(f"{data}: a folder without train.jsonl, validation.jsonl or test.jsonl")
    splits = {name: (source.samples, source.load) for name, source in sources.items()}
    with progress_bar() as progress:
        done = write_shards(
            splits, out, int(size * 2**20), lambda number, total: progress("shards", number, total)
        )
    for name, count in done.samples.items():
        typer.echo(f"{out / name}.jsonl: {count} samples")
    typer.echo(f"{done.shards} shards, {done.made} of them written now, {done.num_bytes / 2**20:.1f} MiB")
