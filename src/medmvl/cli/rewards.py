"""`medmvl rewards list | audit`: what the rewards are, and what an answer earns that nobody could call right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from medmvl.data.sources import DataSource
    from medmvl.rewards import Audit, CombinedReward, Reward
    from medmvl.schema import Sample
    from medmvl.tasks.metrics.record import Record

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List rewards, and audit them against adversarial answers.",
)


@app.command("list")
def list_rewards() -> None:
    """Every reward: content or form, its options, and what it can be fooled by."""
    from medmvl.plugins import installed
    from medmvl.rewards import REWARDS, find_reward

    for name in (*REWARDS, *installed("medmvl.rewards")):
        reward = find_reward(name)
        options = ", ".join(f"{key}={field.default!r}" for key, field in reward.model_fields.items())
        typer.echo(f"{name} ({reward.role}{'; ' + options if options else ''})")
        typer.echo("    " + " ".join((reward.__doc__ or "").split()))


@app.command()
def audit(
    recipe: Annotated[str | None, typer.Argument(help="Recipe on whose data rewards are audited.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Data files in place of the recipe's; may be repeated.")
    ] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="Only these built-in rewards, by name; may be repeated.")
    ] = None,
    labeler: Annotated[
        str,
        typer.Option(help="Labeler of findings_f1 where no recipe names one: phantoms, ct-rate, chexpert."),
    ] = "chexpert",
    answers: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE of a model's answers as a further row; NAME=FILE:KEY takes KEY as the text, such as no_image."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N samples of each source.")] = None,
    patients: Annotated[
        int,
        typer.Option(min=10, help="Number of synthetic patients drawn for a recipe's phantoms."),
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What each attack earns next to an honest answer and to the best answer without the image, by every reward.

    Each stage of a recipe that has rewards is audited on its own data, its rewards alone and together (`total`). Where none
    has, or with --data, every built-in reward that fits the data is, or those that are named.
    """
    from medmvl.errors import UserError

    if (recipe is None) == (not data):
        raise UserError("give either a recipe or --data FILE")
    further = _answers(answers or ())
    jobs = (
        _of_files(data or [], limit)
        if recipe is None
        else _of_recipe(recipe, overrides or (), patients, limit)
    )
    shown = [(job.name, _audit_job(job, reward or (), labeler, further), len(job.records)) for job in jobs]
    if as_json:
        plain = {name: _plain(found) for name, found, _ in shown}
        typer.echo(json.dumps(plain if recipe else next(iter(plain.values())), indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join(f"{name}\n\n{_text(found, count)}" for name, found, count in shown))


class _Job(NamedTuple):
    """Records to audit rewards on."""

    name: str
    records: list[Record]
    rewards: CombinedReward | None
    """Rewards of a stage; None where it names none."""


def _of_files(data: Sequence[Path], limit: int | None) -> list[_Job]:
    from medmvl.schema import iter_samples

    samples = [sample for path in data for sample in islice(iter_samples(path), limit)]
    return [_Job(", ".join(path.name for path in data), _records(samples), None)]


def _of_recipe(recipe: str, overrides: Sequence[str], patients: int, limit: int | None) -> list[_Job]:
    """A job per stage with rewards, or one on all training data where no stage has any."""
    from medmvl.data.entry_cache import default_cache_dir
    from medmvl.data.sources import open_sources
    from medmvl.rewards.combined import rewards_together
    from medmvl.training.recipe_files import load_recipe

    read = load_recipe(recipe, overrides)
    rewarded = [stage for stage in read.stages if stage.objective == "grpo"]
    jobs = []
    for stage in rewarded or read.stages:
        sources = [_few(source, patients) for source in read.data_of(stage).train]
        opened = open_sources(sources, default_cache_dir())
        records = _records(sample for source in opened for sample in source.samples[:limit])
        jobs.append(
            _Job(f"stage {stage.name}", _once(records), rewards_together(stage.rewards) if rewarded else None)
        )
    if rewarded:
        return jobs
    records = _once(record for job in jobs for record in job.records)
    return [_Job("no stage has rewards; the built-in ones on all training data", records, None)]


def _once(records: Iterable[Record]) -> list[Record]:
    return list({(record.id, record.question): record for record in records}.values())


def _few(source: DataSource, patients: int) -> DataSource:
    """A source of phantoms with at most this number of patients; no file changes."""
    phantoms = source.phantoms
    if phantoms is None or phantoms.patients <= patients:
        return source
    return source.model_copy(update={"phantoms": phantoms.model_copy(update={"patients": patients})})


def _records(samples: Iterable[Sample]) -> list[Record]:
    """The records of the samples that have a truth."""
    from medmvl.tasks.judge import target_of
    from medmvl.tasks.protocols.predictions import record_of

    return [record_of(sample, None) for sample in samples if target_of(sample) is not None]


def _fitting(records: Sequence[Record], names: Sequence[str], labeler: str) -> Mapping[str, Reward]:
    """The named rewards, or all that fit some record."""
    from medmvl.rewards import REWARDS, build_reward

    options = {"findings_f1": {"labeler": labeler}}
    rewards = {name: build_reward(name, **options.get(name, {})) for name in names or REWARDS}
    if names:
        return rewards
    return {
        name: one for name, one in rewards.items() if any(one.missing(record) is None for record in records)
    }


def _audit_job(
    job: _Job, names: Sequence[str], labeler: str, answers: Mapping[str, Mapping[str, str]]
) -> Audit:
    """Audit the named rewards; where none is named, those of the stage, or else all that fit."""
    from medmvl.rewards import audit_rewards

    own = None if names else job.rewards
    rewards = _fitting(job.records, names, labeler) if own is None else own.by_name
    return audit_rewards(job.records, rewards, own, answers)


def _answers(given: Sequence[str]) -> dict[str, dict[str, str]]:
    from medmvl.errors import UserError
    from medmvl.tasks.protocols.predictions import read_texts

    found = {}
    for item in given:
        name, _, path = item.partition("=")
        if not path:
            raise UserError(f"--answers {item!r}: expected NAME=FILE, or NAME=FILE:KEY")
        file, key = path, None
        if not Path(path).is_file() and ":" in path:
            file, key = path.rsplit(":", 1)
        found[name] = dict(read_texts(Path(file), key))
    return found


def _text(found: Audit, count: int) -> str:
    """The table, then what is paid, then where rewards disagree."""
    from medmvl.rewards.audit import markdown

    lines = [markdown(found), "", f"{count} questions. *form* rewards only multiply what the content earns."]
    lines += [f"paid by {name}: {', '.join(attacks)}" for name, attacks in found.paid.items()] or [
        "no attack is paid"
    ]
    return "\n".join(lines)


def _plain(found: Audit) -> JsonObject:
    return {
        "rewards": [
            {
                "name": column.name, "role": column.role,
                "answers": {
                    row: {"mean": round(cell.value, 4), "n": cell.n, "paid": cell.paid} for row, cell in column.cells.items()
                },
            }
            for column in found.columns
        ],
        "paid": found.paid,
        "rank_correlation": [
            {"rewards": list(pair), "value": round(value, 4)} for pair, value in found.agreement.items()
        ],
    }  # fmt: skip
