"""What `generate`, `chat` and `evaluate` share: blocks and declarations from options, a progress bar, bad samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medmvl.errors import UserError
from medmvl.messages import first_of

if TYPE_CHECKING:
    from medmvl.engine import Failure
    from medmvl.schema import Declarations, ImageBlock, VolumeBlock


def declared(units: str | None, modality: str | None, spacing: str | None) -> Declarations:
    """What the user says about all files: keyword arguments of `medmvl.imaging.read`.

    Raises:
        ReadError: for units or a modality that are not in their lists.
    """
    values: Declarations = {}
    if units is not None:
        from medmvl.imaging.units import known_units  # only where something is declared: imaging is heavy

        values["units"] = known_units(units)
    if modality is not None:
        from medmvl.imaging.modalities import known_modality

        values["modality"] = known_modality(modality)
    if spacing is not None:
        values["spacing_mm"] = _numbers(spacing)
    return values


def listed(names: str) -> list[str]:
    """The names of an option that takes several, separated by commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def visual_blocks(
    images: Sequence[str], volumes: Sequence[str], declarations: Declarations, priors: Sequence[str] = ()
) -> list[ImageBlock | VolumeBlock]:
    """Blocks of the files named on the command line: images, volumes, earlier studies.

    Raises:
        UserError: a prior is not of the form DAYS:PATH.
    """
    from medmvl.schema import ImageBlock, VolumeBlock

    return [
        *(ImageBlock.model_validate({"image": path, **declarations}) for path in images),
        *(VolumeBlock.model_validate({"volume": path, **declarations}) for path in volumes),
        *(_prior(text, declarations, is_volume=bool(volumes)) for text in priors),
    ]


def _prior(text: str, declarations: Declarations, *, is_volume: bool) -> ImageBlock | VolumeBlock:
    from medmvl.schema import ImageBlock, VolumeBlock

    days, _, path = text.partition(":")
    if not days.isdigit() or int(days) == 0 or not path:
        raise UserError(
            f"--prior {text!r}: expected DAYS:PATH, such as 180:old.nii.gz for a scan half a year older"
        )
    facts = {**declarations, "days_before_current": int(days)}
    if is_volume:
        return VolumeBlock.model_validate({"volume": path, **facts})
    return ImageBlock.model_validate({"image": path, **facts})


def token_limit(given: int | None, default: int) -> dict[str, Any]:
    """Options of decoding: a limit that the user gave holds, the default shrinks to what the LLM's context leaves."""
    return {"max_new_tokens": given or default, "shrink_to_fit": given is None}


def as_options(text: str) -> str:
    """A message about decoding or a scan with the names that the command line has for its settings."""
    text = text.replace("declare spacing_mm", "declare spacing_mm (--spacing)")
    text = text.replace("declare units=HU", "declare units=HU (--units HU)")
    named = re.sub(
        r"(?<![\w-])(max_new_tokens|num_beams|top_p)\b", lambda name: f"--{name[0].replace('_', '-')}", text
    )
    for before, now, said in (
        ("true", "false", "not given, now given"),
        ("false", "true", "given, now not given"),
    ):
        follows = f"shrink_to_fit {before}, now {now}"  # of whether a limit was given; see `token_limit`
        named = named.replace(f"; {follows}", "").replace(follows, f"--max-new-tokens {said}")
    return re.sub(r"(?<![\w-])json_schema\b", "--schema", named)


def check_paths(
    model: Path | None, visuals: Sequence[ImageBlock | VolumeBlock] = (), data: Path | None = None
) -> None:
    """Find out in the first moment, before seconds of imports, that a model, a scan or a data file is not there.

    Raises:
        UserError: naming the path.
    """
    from medmvl.imaging.selector import split_selector
    from medmvl.models.saved_folder import check_is_model

    if model is not None:
        check_is_model(model)
    for path in [
        *(split_selector(block.path)[0] for block in visuals),
        *([data] if data is not None else []),
    ]:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")


@contextmanager
def named_as_options() -> Iterator[None]:
    """Raise the UserErrors of decoding with the command line's names in them."""
    try:
        yield
    except UserError as error:
        raise UserError(as_options(str(error))) from error


def print_warnings(found: Iterable[tuple[str, Sequence[str]]], hint: str = "") -> None:
    """Print what the reader could not settle about scans on stderr, each scan once.

    Args:
        found: name of each scan, and the warnings about it.
        hint: where the rest of a long list is.
    """
    lines = [f"  {name}: {warning}" for name, warnings in found for warning in warnings]
    if lines:
        listed = first_of(list(dict.fromkeys(lines)), hint=hint)
        typer.echo(f"Warning: what was read may not be what you think:\n{listed}", err=True)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for every named run, on stderr: call with the name, how many more are done, and how many there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def advance(name: str, count: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.advance(tasks[name], count)

        yield advance


def raise_failures(failures: Sequence[Failure], total: int) -> None:
    """Raise UserError listing the samples that could not be answered, if there are any."""
    if not failures:
        return
    lines = first_of([f"  {failure.name}: {failure.error}" for failure in failures])
    raise UserError(
        f"{len(failures)} of {total} samples could not be answered; the others are done. Fix these and run the same "
        "command again:\n" + lines
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--spacing {text!r}: expected millimetres in array order, such as 5,0.7,0.7"
        ) from None
