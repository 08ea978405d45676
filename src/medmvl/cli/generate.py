"""`medmvl generate`: answer one question, or the last turn of every sample of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmvl.errors import UserError

if TYPE_CHECKING:
    from medmvl.engine import GenerationOptions


def generate(
    model: Annotated[Path, typer.Option(help="Folder of a saved model.")],
    prompt: Annotated[str | None, typer.Option(help="The question.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A 2D file; may be repeated.")] = None,
    volume: Annotated[
        list[str] | None, typer.Option(help="A 3D file or DICOM folder; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: text, tokens, probability, seconds, seen.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Answer every sample of this .jsonl or .json.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Where the data's image paths start.")] = None,
    volume_root: Annotated[Path | None, typer.Option(help="Where the data's volume paths start.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Answers to the data, .jsonl; continued if it is there.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples answered together.")] = 16,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy; above 0 samples.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Sample from the likeliest share of tokens.")] = 1.0,
    num_beams: Annotated[int, typer.Option(help="More than 1 searches beams.")] = 1,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    units: Annotated[str | None, typer.Option(help="Where the files do not say it, such as HU.")] = None,
    modality: Annotated[str | None, typer.Option(help="Where the files do not say it, such as CT.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Millimetres in array order: 5,0.7,0.7.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8.")] = "auto",
) -> None:
    """Ask a model about images and volumes."""
    _check_way(prompt, data, out, bool(image or volume), as_json)
    from medmvl.cli.asking import declared
    from medmvl.engine import GenerationOptions

    options = GenerationOptions(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, num_beams=num_beams, seed=seed
    )
    declarations = declared(units, modality, spacing)
    if prompt is not None:
        _answer_one(model, prompt, image or [], volume or [], declarations, options, (device, dtype), as_json)
    elif data is not None and out is not None:
        roots = {"image_root": image_root, "volume_root": volume_root}
        _answer_all(model, data, roots, out, declarations, options, (device, dtype), batch_size)


def _check_way(prompt: str | None, data: Path | None, out: Path | None, visuals: bool, as_json: bool) -> None:
    if (prompt is None) == (data is None):
        raise UserError("give either --prompt (one question) or --data (a data set)")
    if data is not None and out is None:
        raise UserError("--data needs --out, the .jsonl file for the answers")
    if data is not None and (visuals or as_json):
        raise UserError("--image, --volume and --json belong to --prompt; --data names its own files")
    if data is None and out is not None:
        raise UserError("--out belongs to --data; the answer to --prompt is printed")


def _answer_one(
    model: Path,
    prompt: str,
    images: list[str],
    volumes: list[str],
    declarations: dict[str, Any],
    options: GenerationOptions,
    where: tuple[str, str],
    as_json: bool,
) -> None:
    from medmvl.cli.asking import visual_blocks
    from medmvl.datasets.loader import BlockLoader
    from medmvl.engine import Engine, Request
    from medmvl.schema import Message, TextBlock

    blocks = (*visual_blocks(images, volumes, declarations), TextBlock(text=prompt))
    engine = Engine.load(model, where[0], where[1])
    if as_json and options.num_beams == 1:
        options = options.model_copy(update={"logprobs": 0})
    request = Request((Message(role="user", content=blocks),), BlockLoader(Path.cwd()))
    answer = engine.answer([request], options)[0]
    typer.echo(json.dumps(answer.to_json(), ensure_ascii=False) if as_json else answer.text)


def _answer_all(
    model: Path,
    data: Path,
    roots: dict[str, Path | None],
    out: Path,
    declarations: dict[str, Any],
    options: GenerationOptions,
    where: tuple[str, str],
    batch_size: int,
) -> None:
    from medmvl.cli.asking import progress_bars, raise_failures
    from medmvl.data.sources import open_data
    from medmvl.engine import Engine, answer_samples, joined_process_group, model_digest

    source = open_data(data, **roots, declared=declarations)
    with joined_process_group() as processes, progress_bars(quiet=not processes.first) as advance:
        engine = Engine.load(model, processes.device(where[0]), where[1])
        samples = list(source.samples)
        failures = answer_samples(
            engine,
            samples,
            source.load,
            out,
            {"model": model_digest(model), "data": source.digest},
            options,
            batch_size=batch_size,
            processes=processes,
            progress=lambda count: advance("answers", count, len(samples)),
        )
    if processes.first:
        raise_failures(failures, len(samples))
        typer.echo(f"{len(samples)} answers in {out}")
