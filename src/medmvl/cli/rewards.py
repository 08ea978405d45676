"""`medmvl rewards list | audit`: what the rewards are, and what an answer earns that nobody could call right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medmvl.rewards import Audit, Reward
    from medmvl.tasks.metrics.record import Record

app = typer.Typer(no_args_is_help=True, help="List rewards, and audit them against adversarial answers.")


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What each attack earns next to an honest answer and to the best answer without the image, by every reward.

    Every built-in reward that fits the data is audited, or those that are named.
    """
    from medmvl.errors import UserError
    from medmvl.rewards import audit_rewards

    if (recipe is None) == (not data):
        raise UserError("give either a recipe or --data FILE")
    records = _read(recipe, overrides or (), data or (), limit)
    found = audit_rewards(records, _fitting(records, reward or (), labeler), None, _answers(answers or ()))
    typer.echo(
        json.dumps(_plain(found), indent=2, ensure_ascii=False) if as_json else _text(found, len(records))
    )


def _read(
    recipe: str | None, overrides: Sequence[str], data: Sequence[Path], limit: int | None
) -> list[Record]:
    """The records of the data."""
    from medmvl.schema import iter_samples
    from medmvl.tasks.judge import target_of
    from medmvl.tasks.protocols.predictions import record_of

    if recipe is None:
        sources: list[Any] = [list(iter_samples(path)) for path in data]
    else:
        from medmvl.data.prepared import default_cache_dir
        from medmvl.training.recipe_files import load_recipe
        from medmvl.training.run import load_sources

        found = load_sources(load_recipe(recipe, overrides), default_cache_dir())
        sources = [source.samples for source in found.values()]
    samples = [sample for source in sources for sample in source[:limit]]
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
    pairs = [f"{one} and {other} {value:.2f}" for (one, other), value in found.agreement.items()]
    return "\n".join([*lines, *(["rank correlation over all answers: " + "; ".join(pairs)] if pairs else [])])


def _plain(found: Audit) -> dict[str, Any]:
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
