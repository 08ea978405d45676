"""`medmvl data cues`: what label heads say of each scan, as a line before the question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import Device, ImageRoot, VolumeRoot
from medmvl.cli.progress import progress_bar

if TYPE_CHECKING:
    from medmvl.data.trained_on import TrainedOn
    from medmvl.schema import Sample


def cues(
    heads: Annotated[Path, typer.Argument(help="Model of a classification stage, RUN/stages/NN-NAME/model.")],
    data: Annotated[Path, typer.Argument(help="Data file in either format.")],
    out: Annotated[Path, typer.Argument(help="Data file to write.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="A label is named from this probability on.")
    ] = 0.5,
    dropout: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the samples without a line, for training.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Chooses the samples without a line.")] = 0,
    device: Device = "auto",
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
) -> None:
    """Write before each question which labels a classifier suggests, for training and for what is asked later."""
    from medmvl.data.sources import open_data
    from medmvl.datasets.writing import rebase
    from medmvl.engine.loading import choose_device
    from medmvl.outputs import continued_file
    from medmvl.schema import write_samples
    from medmvl.training.label_cues import Cues, LabelHeads
    from medmvl.training.stage_data import study_of

    source = open_data(data, image_root=image_root, volume_root=volume_root)
    classifier = LabelHeads(heads, choose_device(device))
    studies = classifier.studies(source)
    found = {}
    with progress_bar() as progress:
        for number, (study, probabilities) in enumerate(classifier.probabilities(source, studies), 1):
            found[study] = probabilities
            progress("scans", number, len(studies))
    made = Cues(threshold, dropout, seed)
    written, changed, unread = [], 0, 0
    for sample in source.samples:
        said = found.get(study_of(sample))
        unread += said is None
        one = sample if said is None else made.of(sample, said)
        changed += one != sample
        written.append(rebase(one, source.load, out.parent))
    with continued_file(out):
        write_samples(out, written)
    typer.echo(f"{out}: {len(written)} samples of {len(found)} scans, {changed} of them with a line")
    if unread:
        typer.echo(
            f"{unread} samples have no visuals, or some that these heads do not read: they stay without a line"
        )
    _warn_of_taught(classifier.trained_on, source.samples, data)


def _warn_of_taught(trained_on: TrainedOn, samples: Sequence[Sample], data: Path) -> None:
    taught, patients = trained_on.shared(samples)
    if taught:
        typer.echo(
            f"Warning: the heads were taught on {taught} of {patients} patients of {data}: their lines are better there than "
            "on new patients; leave some out with --dropout, or teach the heads on others",
            err=True,
        )
