"""A bar that every type of closed question should reach, and in words which fell short of it."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.evaluation.results import Row
from medmvl.json_types import JsonObject


def compare_with_bar(rows: Sequence[Row], bar: float) -> JsonObject:
    """Return `bar`, the number of `closed` rows, the rows `below` it, and a `statement` that says so.

    A row counts by its score, not by its interval. Open questions and reports, whose score is a token F1, have no bar.
    """
    closed = [row for row in rows if row.metric == "accuracy"]
    below = [row for row in closed if row.score.value < bar]
    return {
        "bar": bar,
        "closed": len(closed),
        "below": [{**row.group.__dict__, "score": row.score.to_json()} for row in below],
        "statement": _statement(closed, below, bar),
    }


def _statement(closed: Sequence[Row], below: Sequence[Row], bar: float) -> str:
    if not closed:
        return f"no closed question was asked, so nothing can reach {bar:g}"
    if not below:
        lowest = min(closed, key=lambda row: row.score.value)
        return f"all {len(closed)} scores of closed questions reach {bar:g}; lowest: {lowest.group} {lowest.score}"
    listed = "; ".join(f"{row.group} {row.score}" for row in below)
    return f"{len(below)} of {len(closed)} scores of closed questions fall short of {bar:g}: {listed}"
