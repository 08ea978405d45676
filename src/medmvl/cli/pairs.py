"""`medmvl data pairs`: several answers of a model become pairs of a better and a worse one, for `objective: dpo`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer


def pairs(
    data: Annotated[Path, typer.Argument(help="Data the answers are to, with the truth.")],
    out: Annotated[Path, typer.Argument(help="File of pairs to write, JSON Lines.")],
    answers: Annotated[
        list[Path],
        typer.Option(
            "--from", help="Answers (id, text), such as `generate --out` writes; repeated for several seeds."
        ),
    ],
    judge: Annotated[str, typer.Option(help="Reward that judges them, see `medmvl rewards list`.")] = "judge",
    labeler: Annotated[str | None, typer.Option(help="Labeler, where the reward is findings_f1.")] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least difference of the best and the worst answer.")
    ] = 0.1,
) -> None:
    """Write the best and the worst of each sample's answers as a pair, with the margin; say why the others gave none."""
    from medmvl.data.sources import open_data
    from medmvl.errors import UserError
    from medmvl.outputs import continued_file
    from medmvl.rewards import build_reward
    from medmvl.rewards.pairs import PairCounts, make_pairs
    from medmvl.schema import write_samples
    from medmvl.tasks.protocols.predictions import read_texts

    reward = build_reward(judge, **({"labeler": labeler} if labeler is not None else {}))
    found: dict[str, list[str]] = defaultdict(list)
    for path in answers:
        for name, text in read_texts(path, with_reasoning=True):
            found[name].append(text)
    counts = PairCounts()
    made = list(make_pairs(open_data(data).samples, found, reward, margin, counts))
    lost = [
        f"{counts.alike} samples with answers alike",
        f"{counts.single} with fewer than two different answers",
    ]
    lost += [f"{number} without {what}" for what, number in counts.unjudged.items()]
    if not made:
        raise UserError(f"no pair came out of {len(found)} answered samples: {', '.join(lost)}")
    with continued_file(out):
        write_samples(out, made)
    typer.echo(f"{out}: {counts.pairs} pairs; no pair of {', '.join(lost)}")
