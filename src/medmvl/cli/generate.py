"""`medmvl generate`: answer one question, or the last turn of every sample of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import (
    AnswerLimit,
    Device,
    Dtype,
    ImageRoot,
    Images,
    Modality,
    ModelFolder,
    NumBeams,
    SamplingSeed,
    Spacing,
    Temperature,
    Thinking,
    TopP,
    Units,
    VolumeRoot,
    Volumes,
)
from medmvl.errors import UserError

if TYPE_CHECKING:
    from medmvl.engine import GenerationOptions
    from medmvl.schema import Declarations, ImageBlock, VolumeBlock


Prompt = Annotated[str | None, typer.Option(help="The question.")]
Prior = Annotated[
    list[str] | None,
    typer.Option(help="DAYS:PATH of an earlier study; a volume where volumes are given; may be repeated."),
]
Choices = Annotated[str, typer.Option(help="The answer is one of these, such as yes,no.")]
Schema = Annotated[
    str | None, typer.Option(help="The answer is JSON of this JSON schema: a file, or the text.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON: text, reasoning, tokens, probability, seconds, seen.")
]
Data = Annotated[Path | None, typer.Option(help="Answer every sample of this .jsonl or .json.")]
Out = Annotated[Path | None, typer.Option(help="Answers to the data, .jsonl; continued if it is there.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples answered together.")]


def generate(
    model: ModelFolder,
    prompt: Prompt = None,
    image: Images = None,
    volume: Volumes = None,
    prior: Prior = None,
    choices: Choices = "",
    schema: Schema = None,
    as_json: AsJson = False,
    data: Data = None,
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    out: Out = None,
    batch_size: BatchSize = 16,
    max_new_tokens: AnswerLimit = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    num_beams: NumBeams = 1,
    seed: SamplingSeed = 0,
    thinking: Thinking = None,
    units: Units = None,
    modality: Modality = None,
    spacing: Spacing = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Ask a model about images and volumes."""
    _check_way(prompt, data, out, bool(image or volume or prior), as_json)
    if choices and "," not in choices:
        raise UserError(
            f"--choices {choices}: one answer is no choice; separate several by commas, such as yes,no"
        )
    from medmvl.cli.asking import check_paths, declared, listed, named_as_options, token_limit, visual_blocks

    declarations = declared(units, modality, spacing)
    blocks = visual_blocks(image or [], volume or [], declarations, prior or [])
    check_paths(model, blocks, data)
    from medmvl.engine import GenerationOptions

    with named_as_options():
        options = GenerationOptions.from_arguments(
            **token_limit(max_new_tokens, 256),
            temperature=temperature,
            top_p=top_p,
            num_beams=num_beams,
            seed=seed,
            thinking=thinking,
            choices=tuple(listed(choices)),
            json_schema=_schema(schema),
        )
        if prompt is not None:
            _answer_one(model, prompt, blocks, options, (device, dtype), as_json)
        elif data is not None and out is not None:
            roots = {"image_root": image_root, "volume_root": volume_root}
            _answer_all(model, data, roots, out, declarations, options, (device, dtype), batch_size)


def _check_way(prompt: str | None, data: Path | None, out: Path | None, visuals: bool, as_json: bool) -> None:
    if (prompt is None) == (data is None):
        raise UserError("give either --prompt (one question) or --data (a data set)")
    if data is not None and out is None:
        raise UserError("--data needs --out, the .jsonl file for the answers")
    if data is not None and (visuals or as_json):
        raise UserError(
            "--image, --volume, --prior and --json belong to --prompt; --data names its own files"
        )
    if data is None and out is not None:
        raise UserError("--out belongs to --data; the answer to --prompt is printed")


def _schema(given: str | None) -> str | None:
    """The text of a JSON schema that is named as a file, or given itself."""
    if given is None or given.lstrip().startswith("{"):
        return given
    if not Path(given).is_file():
        raise UserError(f"--schema {given}: there is no such file, and it is no JSON object either")
    return Path(given).read_text(encoding="utf-8")


def _answer_one(
    model: Path,
    prompt: str,
    visuals: Sequence[ImageBlock | VolumeBlock],
    options: GenerationOptions,
    where: tuple[str, str],
    as_json: bool,
) -> None:
    from medmvl.cli.asking import print_warnings
    from medmvl.datasets.loader import BlockLoader
    from medmvl.engine import Engine, Request
    from medmvl.schema import Message, TextBlock

    blocks = (*visuals, TextBlock(text=prompt))
    engine = Engine.load(model, where[0], where[1])
    if as_json and options.num_beams == 1:
        options = options.model_copy(update={"logprobs": 0})
    if not visuals:
        typer.echo("Notice: no image and no volume was given; the answer is about the words alone", err=True)
    read = BlockLoader(Path.cwd())
    seen = {block: engine.processor.process_visual(read(block)) for block in dict.fromkeys(visuals)}
    print_warnings((block.path, visual.warnings) for block, visual in seen.items())
    request = Request((Message(role="user", content=blocks),), seen.__getitem__)
    answer = engine.answer([request], options)[0]
    if as_json:
        typer.echo(json.dumps(answer.to_json(), ensure_ascii=False))
        return
    if answer.reasoning:
        typer.secho(f"{answer.reasoning}\n", dim=True, err=True)
    typer.echo(answer.text)
    if answer.unanswered:
        typer.echo(f"Notice: {answer.unanswered}; raise --max-new-tokens, or give --no-thinking", err=True)


def _answer_all(
    model: Path,
    data: Path,
    roots: dict[str, Path | None],
    out: Path,
    declarations: Declarations,
    options: GenerationOptions,
    where: tuple[str, str],
    batch_size: int,
) -> None:
    from medmvl.cli.asking import print_warnings, progress_bars, raise_failures
    from medmvl.data.sources import open_data
    from medmvl.engine import Engine, answer_samples, joined_process_group, read_answers

    source = open_data(data, **roots, declared=declarations)
    with joined_process_group() as processes, progress_bars(quiet=not processes.first) as advance:
        engine = Engine.load(model, processes.device(where[0]), where[1])
        samples = list(source.samples)
        failures = answer_samples(
            engine,
            samples,
            source.load,
            out,
            {**engine.identity, "data": source.digest, **source.load.roots},
            options,
            batch_size=batch_size,
            processes=processes,
            progress=lambda count: advance("answers", count, len(samples)),
        )
    if processes.first:
        scans = {sample.id: "; ".join(block.path for block in sample.visuals) for sample in samples}
        print_warnings((scans[one.id], one.warnings) for one in read_answers(out) if one.id in scans)
        _warn_of_unanswered(out)
        raise_failures(failures, len(samples))
        typer.echo(f"{len(samples)} answers in {out}")


def _warn_of_unanswered(out: Path) -> None:
    """Say on stderr how many answers are empty because their reasoning took all tokens."""
    from medmvl.engine import read_answers

    empty = sum(one.unfinished for one in read_answers(out))
    if empty:
        typer.echo(
            f"Notice: {empty} answers are empty: the reasoning took all tokens; raise --max-new-tokens, or give "
            "--no-thinking",
            err=True,
        )
