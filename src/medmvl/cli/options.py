"""Options that several verbs take: one meaning and one line of help each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

ModelFolder = Annotated[Path, typer.Argument(help="Folder of a saved model.")]
Images = Annotated[list[str] | None, typer.Option("--image", help="A 2D file; may be repeated.")]
Volumes = Annotated[
    list[str] | None, typer.Option("--volume", help="A 3D file or DICOM folder; may be repeated.")
]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder that the data's image paths start from.")]
VolumeRoot = Annotated[Path | None, typer.Option(help="Folder that the data's volume paths start from.")]
Units = Annotated[str | None, typer.Option(help="Units, where the files do not say them, such as HU.")]
Modality = Annotated[str | None, typer.Option(help="Modality, where the files do not say it, such as CT.")]
Spacing = Annotated[str | None, typer.Option(help="Millimetres in array order: 5,0.7,0.7.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Token limit for an answer.")]
AnswerLimit = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens", min=1, help="Token limit for an answer; by default what the LLM has room for."
    ),
]
Temperature = Annotated[float, typer.Option(help="Temperature; 0 is greedy, above 0 samples.")]
TopP = Annotated[float, typer.Option(help="Sample from the likeliest tokens of this total probability.")]
Thinking = Annotated[
    bool | None,
    typer.Option(
        "--thinking/--no-thinking",
        help="Reason before the answer, or do not; by default as the model was made.",
    ),
]
NumBeams = Annotated[int, typer.Option(help="Number of beams; above 1 is beam search.")]
SamplingSeed = Annotated[int, typer.Option("--seed", help="Seed for sampling.")]
SplitShares = Annotated[str, typer.Option("--split", help="Shares of train, validation and test.")]
SplitSeed = Annotated[int, typer.Option(help="Seed for the split.")]
DEFAULT_SPLIT = "0.8,0.1,0.1"


def one_of(option: str, value: str | None, known: tuple[str, ...]) -> Any:
    """The value of an option that knows a few words, or an error that lists them."""
    if value is not None and value not in known:
        raise typer.BadParameter(f"{option} {value}: expected {', '.join(known)}")
    return value
