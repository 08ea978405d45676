"""Audit of rewards: what each attack earns next to an honest answer and to the best answer without an image, in one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.rewards.attacks import ATTACKS, DataView, view_data
from medmvl.rewards.combined import CombinedReward
from medmvl.rewards.reward import Reward, Role, checked_score
from medmvl.tasks.labelers import Labeler, find_labeler
from medmvl.tasks.metrics.record import Record

MARGIN = 0.05
"""Margin above its bound from which an attack counts as paid."""
NEARLY = 0.8
"""Share of the honest answer's reward at which an attack is paid, whatever else earns."""
HONEST, CONTROL, TOTAL = "honest", "no_image", "total"


@dataclass(frozen=True)
class Cell:
    """What an answer earns by one reward, on the mean over the records it fits."""

    value: float
    n: int
    paid: bool = False
    """True where it is an attack that earns more than it may."""


@dataclass(frozen=True)
class Column:
    """One reward with what every answer earns by it."""

    name: str
    role: Role
    cells: Mapping[str, Cell]
    """Cells by `honest`, `no_image`, the names of `ATTACKS` and of further answers; only those that fit some record."""

    @property
    def paid(self) -> list[str]:
        """The attacks that it pays."""
        return [name for name, cell in self.cells.items() if cell.paid]


@dataclass(frozen=True)
class Audit:
    """The table, and how far rewards agree over all answers."""

    columns: Sequence[Column]
    rows: Sequence[str]
    agreement: Mapping[tuple[str, str], float]
    """Spearman's correlation of two rewards over all answers that both score; a pair that never varies is left out."""

    @property
    def paid(self) -> dict[str, list[str]]:
        """Attacks paid by a reward of content or by the total; those of form pay any content by their nature."""
        return {
            column.name: column.paid for column in self.columns if column.role == "content" and column.paid
        }


def audit_rewards(
    records: Sequence[Record],
    rewards: Mapping[str, Reward],
    combined: CombinedReward | None = None,
    answers: Mapping[str, Mapping[str, str]] | None = None,
) -> Audit:
    """Score honest answers, controls and attacks by every reward.

    Args:
        records: with their truth; their texts are not looked at.
        rewards: by name.
        combined: the rewards of a recipe together, as the column `total`; each is scored on the questions it is paid for.
        answers: further answers by the row's name and the record's id, such as those of a model without the image.

    Raises:
        UserError: no record, a reward that fits none of them, or together rewards that do not fit all.
    """
    if not records:
        raise UserError("there is no record to audit rewards with")
    view = view_data(records, _labeler_of(rewards.values()))
    written = _written(view, answers or {})
    if combined is not None:
        combined.check(records)
    entries = {entry.name: entry for entry in combined.entries} if combined is not None else {}
    columns, scores = [], {}
    for name, reward in rewards.items():
        entry = entries.get(name)
        asked = [record for record in records if entry is None or entry.concerns(record)]
        fits = [record for record in asked if reward.missing(record) is None]
        if not asked:
            raise UserError(f"reward '{name}' is paid for types of question that no record of the data has")
        if not fits:
            raise UserError(
                f"reward '{name}' needs {reward.missing(asked[0])}, which no record of the data has"
            )
        scores[name] = {row: _score(fits, texts, reward) for row, texts in written.items()}
        scores[name][CONTROL] = _best_constants(view, fits, scores[name][CONTROL])
        columns.append(Column(name, reward.role, _cells(scores[name])))
    if combined is not None:
        scores[TOTAL] = {row: _total(records, texts, combined) for row, texts in written.items()}
        scores[TOTAL][CONTROL] = _best_constants(view, records, scores[TOTAL][CONTROL])
        columns.append(Column(TOTAL, "content", _cells(scores[TOTAL])))
    rows = [row for row in written if any(row in column.cells for column in columns)]
    return Audit(columns, rows, _agreement(scores))


Texts = Mapping[str, Sequence[str]]
"""By record id, the variants of an answer."""


def _written(view: DataView, answers: Mapping[str, Mapping[str, str]]) -> dict[str, Texts]:
    """Every answer to every record: honest, without the image, attacks, further ones."""
    written: dict[str, Texts] = {
        HONEST: {record.id: [record.references[0]] for record in view.records},
        CONTROL: {record.id: view.constants(record) for record in view.records},
    }
    for name, attack in ATTACKS.items():
        written[name] = {record.id: list(attack.make(record, view)) for record in view.records}
    for name, texts in answers.items():
        written[name] = {record.id: [texts[record.id]] for record in view.records if record.id in texts}
    return written


def _labeler_of(rewards: Iterable[Reward]) -> Labeler | None:
    """The labeler that a reward of findings has as an option: it finds the sentences of the data's reports that name one."""
    names = [getattr(one, "labeler", None) for one in rewards]
    return next((find_labeler(name) for name in names if isinstance(name, str)), None)


RecordScores = dict[str, list[float]]
"""By record id, the score of each variant."""


def _score(records: Sequence[Record], texts: Texts, reward: Reward) -> RecordScores:
    return _scored(records, texts, lambda record: checked_score(reward, record))


def _total(records: Sequence[Record], texts: Texts, combined: CombinedReward) -> RecordScores:
    return _scored(records, texts, lambda record: combined.score(record).total)


def _scored(records: Sequence[Record], texts: Texts, score: Callable[[Record], float]) -> RecordScores:
    return {
        record.id: [score(replace(record, text=text)) for text in texts[record.id]]
        for record in records
        if texts.get(record.id)
    }


def _best_constants(view: DataView, records: Sequence[Record], found: RecordScores) -> RecordScores:
    """The usual answer of each question or group that earns most there."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for record in records:
        if record.id in found:
            groups[tuple(one.id for one in view.peers(record))].append(record.id)
    best: RecordScores = {}
    for members in groups.values():
        number = max(len(found[name]) for name in members)
        columns = [
            [found[name][min(place, len(found[name]) - 1)] for name in members] for place in range(number)
        ]
        best |= {name: [value] for name, value in zip(members, max(columns, key=sum), strict=True)}
    return best


def _cells(scores: Mapping[str, RecordScores]) -> dict[str, Cell]:
    """Means over records; of an attack's variants that with the highest mean. Compared on the records that it fits."""
    cells: dict[str, Cell] = {}
    for row, found in scores.items():
        if not found:
            continue
        value = _best_mean(found)
        cells[row] = Cell(value, len(found), row in ATTACKS and _is_paid(scores, row, found))
    return cells


def _best_mean(found: RecordScores) -> float:
    return max(float(np.mean(values)) for values in _variants(found))


def _variants(found: RecordScores) -> list[list[float]]:
    """The scores of all records, a list for each variant; a record with fewer repeats its last."""
    number = max(map(len, found.values()))
    return [[values[min(place, len(values) - 1)] for values in found.values()] for place in range(number)]


def _is_paid(scores: Mapping[str, RecordScores], row: str, found: RecordScores) -> bool:
    """Whether an attack earns clearly more than its bound, or nearly what the honest answer does, on the same records."""
    best = max(_variants(found), key=sum)
    honest = np.array([scores[HONEST][name][0] for name in found])
    if ATTACKS[row].bound == "honest":
        return _clearly_more(np.array(best) - honest)
    control = np.array([scores[CONTROL].get(name, [0.0])[0] for name in found])
    nearly = 0 < NEARLY * honest.mean() <= np.mean(best)
    return bool(nearly) or _clearly_more(np.array(best) - control)


def _clearly_more(differences: NDArray[np.float64]) -> bool:
    """By more than the margin, and by more than chance: two standard errors of the paired differences."""
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else np.inf
    return bool(differences.mean() > max(MARGIN, 2 * error))


def _agreement(scores: Mapping[str, Mapping[str, RecordScores]]) -> dict[tuple[str, str], float]:
    from scipy.stats import spearmanr

    flat = {
        name: {
            (row, record, place): value
            for row, found in rows.items()
            for record, values in found.items()
            for place, value in enumerate(values)
        }
        for name, rows in scores.items()
        if name != TOTAL
    }
    found: dict[tuple[str, str], float] = {}
    for one, other in combinations(flat, 2):
        shared = flat[one].keys() & flat[other].keys()
        pairs = np.array([(flat[one][key], flat[other][key]) for key in sorted(shared)])
        if len(pairs) > 1 and (pairs.std(0) > 0).all():
            found[one, other] = float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    return found


def markdown(audit: Audit) -> str:
    """The table as Markdown: a row per answer, a column per reward, **bold** where an attack is paid; then how far they agree.

    Rewards of form are in italics: they pay shapes by their nature and only multiply.
    """
    titles = {HONEST: "the reference itself (honest)", CONTROL: "best answer without the image"}
    titles |= {name: attack.title for name, attack in ATTACKS.items()}
    heads = [f"*{column.name}*" if column.role == "form" else column.name for column in audit.columns]
    lines = ["| answer | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in audit.rows:
        cells = [_shown(column, row) for column in audit.columns]
        lines.append(f"| {titles.get(row, row)} | " + " | ".join(cells) + " |")
    for one in audit.columns if len(audit.columns) > 1 else ():
        values = [_agreement_of(audit, one.name, other.name) for other in audit.columns]
        if any(value is not None for value in values):
            shown = ["-" if value is None else f"{value:.2f}" for value in values]
            lines.append(f"| rank correlation with {one.name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _agreement_of(audit: Audit, one: str, other: str) -> float | None:
    return audit.agreement.get((one, other), audit.agreement.get((other, one)))


def _shown(column: Column, row: str) -> str:
    cell = column.cells.get(row)
    if cell is None:
        return "-"
    return f"**{cell.value:.2f}**" if cell.paid and column.role == "content" else f"{cell.value:.2f}"
