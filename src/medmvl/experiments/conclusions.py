"""From the evaluations of an experiment to what it shows: paired differences to the reference, and nothing beyond.

A difference is concluded where its interval over patients excludes zero and every seed has its sign. Interval, p and Holm's
p are about the models of these seeds; `Outcome.p_seeds` says what the seeds alone say about others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medmvl.errors import UserError
from medmvl.evaluation.compare import SHOWN, Run
from medmvl.evaluation.significance import detectable_difference, holm, sign_flip_p
from medmvl.evaluation.statistics import FEW_CLUSTERS, Interval, difference_interval, mean_interval, several
from medmvl.json_types import JsonMapping, JsonObject

MIN_SEEDS = 2
"""Minimum number of seeds: one cannot distinguish a variant from chance."""


@dataclass(frozen=True)
class Outcome:
    """One variant over all its seeds."""

    variant: str
    score: Interval
    control: float | None
    """The larger of the majority answer's score and that without image."""
    difference: Interval | None = None
    """Difference to the reference, paired by answer, scores averaged over seeds; None for the reference itself."""
    by_seed: tuple[float, ...] = ()
    p: float = 1.0
    p_holm: float = 1.0
    detectable: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the evidence supports that this variant differs from the reference."""
        d = self.difference
        if d is None or len(self.by_seed) < MIN_SEEDS:
            return False
        return (d.low > 0 and all(s > 0 for s in self.by_seed)) or (
            d.high < 0 and all(s < 0 for s in self.by_seed)
        )

    @property
    def p_seeds(self) -> float | None:
        """Student's p of the seeds' differences, each as one number; None of one seed, or where all are equal."""
        from scipy.stats import ttest_1samp

        if len(self.by_seed) < MIN_SEEDS or max(self.by_seed) - min(self.by_seed) < 1e-12:
            return None
        return float(ttest_1samp(self.by_seed, 0.0).pvalue)

    def to_json(self) -> JsonObject:
        """Plain values."""
        difference = None if self.difference is None else self.difference.to_json()
        own = {**self.__dict__, "by_seed": list(self.by_seed), "shown": self.shown, "p_seeds": self.p_seeds}
        return {**own, "score": self.score.to_json(), "difference": difference}


def outcomes(runs: Mapping[str, Mapping[int, Run]], reference: str) -> list[Outcome]:
    """Compare every variant with the reference over the seeds that both have.

    Args:
        runs: finished evaluations by variant and seed.
        reference: the variant to compare with.

    Raises:
        UserError: the reference has no finished run, or evaluations differ in their samples.
    """
    if not runs.get(reference):
        raise UserError(f"the reference '{reference}' has no finished run yet; nothing can be compared")
    found = [_outcome(name, own, runs[reference], name == reference) for name, own in runs.items() if own]
    others = [outcome for outcome in found if outcome.difference is not None]
    adjusted = dict(zip((o.variant for o in others), holm([o.p for o in others]), strict=True))
    return [replace(o, p_holm=adjusted.get(o.variant, 1.0)) for o in found]


def _outcome(name: str, own: Mapping[int, Run], base: Mapping[int, Run], is_reference: bool) -> Outcome:
    first = next(iter(own.values()))
    ids = list(first.answers)
    clusters = [first.answers[i]["cluster"] for i in ids]
    score = mean_interval(_means(list(own.values()), ids), clusters)
    outcome = Outcome(name, score, _control(list(own.values())))
    seeds = [seed for seed in own if seed in base]
    if is_reference or not seeds:
        return outcome
    for seed in seeds:
        if base[seed].answers.keys() != own[seed].answers.keys() or set(own[seed].answers) != set(ids):
            raise UserError(f"{own[seed].name} and {base[seed].name} were asked other samples")
    after, before = _means([own[s] for s in seeds], ids), _means([base[s] for s in seeds], ids)
    differences = [a - b for a, b in zip(after, before, strict=True)]
    by_seed = tuple(
        sum(own[s].answers[i]["score"] - base[s].answers[i]["score"] for i in ids) / len(ids) for s in seeds
    )
    return replace(
        outcome,
        difference=difference_interval(after, before, clusters),
        by_seed=by_seed,
        p=sign_flip_p(differences, clusters),
        detectable=detectable_difference(differences, clusters),
    )


def contrasts(
    runs: Mapping[str, Mapping[int, Run]], wanted: Mapping[str, Mapping[str, float]]
) -> list[Outcome]:
    """Weighted sums of variants, answer by answer, over the seeds that all of them have.

    Args:
        runs: finished evaluations by variant and seed.
        wanted: one weight per variant, by the contrast's name; weights sum to 0.
    """
    found = [_contrast(name, weights, runs) for name, weights in wanted.items()]
    complete = [one for one in found if one is not None]
    return [replace(o, p_holm=p) for o, p in zip(complete, holm([o.p for o in complete]), strict=True)]


def _contrast(
    name: str, weights: Mapping[str, float], runs: Mapping[str, Mapping[int, Run]]
) -> Outcome | None:
    seeds = [s for s in next(iter(runs.values()), {}) if all(s in runs[variant] for variant in weights)]
    if not seeds:
        return None
    first = runs[next(iter(weights))][seeds[0]]
    ids = list(first.answers)
    clusters = [first.answers[i]["cluster"] for i in ids]
    by_seed = [
        [sum(w * float(runs[v][seed].answers[i]["score"]) for v, w in weights.items()) for i in ids]
        for seed in seeds
    ]
    means = [sum(column) / len(seeds) for column in zip(*by_seed, strict=True)]
    largest = sum(weight for weight in weights.values() if weight > 0)
    difference = difference_interval(means, [0.0] * len(ids), clusters, bound=largest)
    return Outcome(
        name,
        difference,
        None,
        difference,
        tuple(sum(own) / len(ids) for own in by_seed),
        sign_flip_p(means, clusters),
        detectable=detectable_difference(means, clusters),
    )


def _means(runs: Sequence[Run], ids: Sequence[str]) -> list[float]:
    return [sum(float(run.answers[i]["score"]) for run in runs) / len(runs) for i in ids]


def _control(runs: Sequence[Run]) -> float | None:
    values = []
    for control in ("majority", "no_image"):
        scores = [a[control]["score"] for run in runs for a in run.answers.values() if a.get(control)]
        if scores:
            values.append(sum(scores) / len(scores))
    return max(values, default=None)


def table(found: Sequence[Outcome], costs: Mapping[str, JsonMapping] | None = None) -> str:
    """The outcomes as a markdown table.

    Args:
        found: from `outcomes`.
        costs: what a run cost, by `VARIANT-SEED`; means over the seeds are shown.
    """
    costs = costs or {}
    lines = [
        "| variant | score | without image or majority | difference | by seed | p | Holm | could show "
        "| parameters | visual tokens | training s | s per answer | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for o in found:
        control = "-" if o.control is None else f"{o.control:.2f}"
        own = [cost for name, cost in costs.items() if name.rpartition("-")[0] == o.variant]
        compared = "reference | - | - | - | -" if o.difference is None else _compared(o)
        lines.append(f"| {o.variant} | {o.score} | {control} | {compared} | {_cost(own)} |")
    return "\n".join(lines) + "\n"


def contrast_table(found: Sequence[Outcome]) -> str:
    """The contrasts as a markdown table."""
    lines = ["| contrast | difference | by seed | p | Holm | could show |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {o.variant} | {_compared(o)} |" for o in found)]) + "\n"


def _compared(o: Outcome) -> str:
    d = o.difference
    assert d is not None
    seeds = ", ".join(f"{s:+.3f}" for s in o.by_seed)
    least = "-" if o.detectable is None else f"{o.detectable:.3f}"
    return f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] | {seeds} | {o.p:.4f} | {o.p_holm:.4f} | {least}"


def _cost(own: Sequence[JsonMapping]) -> str:
    """Means over seeds; training counts only runs that trained all their stages themselves."""

    def mean(values: Sequence[float], form: str) -> str:
        return format(sum(values) / len(values), form) if values else "-"

    whole = [cost["training_seconds"] for cost in own if not cost.get("stages_taken_over")]
    answers = [cost["evaluation_seconds"] / cost["answers"] for cost in own]
    memory = [cost["peak_bytes"] / 2**30 for cost in own if "peak_bytes" in cost]
    tokens = [cost["visual_tokens"] for cost in own if "visual_tokens" in cost]
    return " | ".join(
        (
            mean([cost["parameters"] for cost in own], ",.0f"),
            mean(tokens, ".0f"),
            mean(whole, ".0f"),
            mean(answers, ".3f"),
            mean(memory, ".2f"),
        )
    )


def statements(
    found: Sequence[Outcome], reference: str, further: Sequence[Outcome] = (), cluster: str = "patient"
) -> str:
    """What is shown, and what is not, in markdown; `further` are contrasts, `cluster` is what intervals are over."""
    compared = [*(o for o in found if o.difference is not None), *further]
    names = {o.variant for o in further}
    shown = [_sentence(o, "" if o.variant in names else reference, cluster) for o in compared if o.shown]
    hidden = [_not_shown(o, "" if o.variant in names else reference) for o in compared if not o.shown]
    return f"## Shown\n\n{''.join(shown) or 'Nothing.'}\n\n## Not shown\n\n{''.join(hidden) or '-'}\n"


def _sentence(o: Outcome, reference: str, cluster: str) -> str:
    assert o.difference is not None
    d, word = o.difference, "better" if o.difference.value > 0 else "worse"
    subject = f"`{o.variant}` is {word} than `{reference}`" if reference else f"The contrast `{o.variant}`"
    return (
        f"- {subject}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] over "
        f"{d.clusters} {several(cluster)}{' (rough: few)' if d.clusters < FEW_CLUSTERS else ''}, the same sign in "
        f"{len(o.by_seed)} seeds; Holm's p {o.p_holm:.4f}{_over_seeds(o)}.\n"
    )


def _over_seeds(o: Outcome) -> str:
    """What weakens a difference: seeds that vary so much that those of equal variants would often agree in sign."""
    if o.p_seeds is None or o.p_seeds < SHOWN:
        return ""
    return f"; p over seeds {o.p_seeds:.2f}: seeds vary much, other seeds may say otherwise"


def _not_shown(o: Outcome, reference: str) -> str:
    assert o.difference is not None
    d = o.difference
    least = "not known" if o.detectable is None else f"{o.detectable:.3f}"
    why = "one seed only" if len(o.by_seed) < MIN_SEEDS else f"{len(o.by_seed)} seeds"
    subject = f"`{o.variant}` against `{reference}`" if reference else f"The contrast `{o.variant}`"
    return (
        f"- {subject}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}], {why}; "
        f"the smallest difference that could have been shown: {least}.\n"
    )
