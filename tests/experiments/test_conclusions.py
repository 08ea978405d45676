"""Conclusions: claimed only where the interval excludes zero and every seed agrees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import UserError
from medmvl.evaluation.compare import Run
from medmvl.evaluation.significance import holm
from medmvl.experiments.conclusions import contrasts, outcomes, statements, table


def run(scores: list[float]) -> Run:
    answers = {f"q{i}": {"score": score, "cluster": i // 2} for i, score in enumerate(scores)}
    return Run("run", {}, answers)


def seeds(rate: float, count: int = 3, n: int = 200) -> dict[int, Run]:
    rng = np.random.default_rng(int(rate * 1000))
    return {seed: run([float(x) for x in rng.random(n) < rate]) for seed in range(count)}


def test_a_clear_difference_is_shown_and_a_missing_one_is_not() -> None:
    found = outcomes({"base": seeds(0.5), "good": seeds(0.9), "same": seeds(0.501)}, "base")
    shown = {o.variant: o.shown for o in found}
    assert shown == {"base": False, "good": True, "same": False}
    text = statements(found, "base")
    assert "`good` is better" in text.split("## Not shown")[0]
    assert "`same`" in text.split("## Not shown")[1]
    assert "could have been shown: 0." in text
    assert table(found).count("\n") == 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.02, 0.98), min_size=2, max_size=4), st.integers(0, 1000))
def test_never_claims_what_one_seed_denies(rates: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = lambda rate: run([float(x) for x in rng.random(60) < rate])  # noqa: E731
    found = outcomes(
        {"base": {s: draw(0.5) for s in range(len(rates))}, "new": {s: draw(r) for s, r in enumerate(rates)}},
        "base",
    )
    new = found[1]
    assert new.difference is not None
    if new.shown:
        assert len({np.sign(d) for d in new.by_seed}) == 1
        assert np.sign(new.by_seed[0]) == np.sign(new.difference.value)
        assert new.difference.low > 0 or new.difference.high < 0


def test_one_seed_shows_nothing_however_large_the_difference() -> None:
    found = outcomes({"base": seeds(0.1, 1), "good": seeds(0.9, 1)}, "base")
    assert found[1].difference is not None and found[1].difference.low > 0.5
    assert not found[1].shown


def test_p_values_are_adjusted_over_the_variants_without_the_reference() -> None:
    found = outcomes({"a": seeds(0.5), "b": seeds(0.6), "c": seeds(0.55)}, "a")
    assert [o.p_holm for o in found[1:]] == holm([o.p for o in found[1:]])


def test_other_samples_are_refused() -> None:
    with pytest.raises(UserError, match="other samples"):
        outcomes({"a": seeds(0.5), "b": seeds(0.6, n=100)}, "a")


def test_seeds_that_vary_are_named_next_to_what_they_show() -> None:
    def right(rate: float) -> Run:
        return run([float(i % 100 < 100 * rate) for i in range(400)])

    base = dict(enumerate([right(0.5)] * 3))
    wild, calm = (
        dict(enumerate(map(right, (0.52, 0.66, 0.99)))),
        dict(enumerate(map(right, (0.6, 0.62, 0.64)))),
    )
    found = outcomes({"base": base, "wild": wild, "calm": calm}, "base")
    assert [o.shown for o in found[1:]] == [True, True]
    ts = [np.mean(o.by_seed) / (np.std(o.by_seed, ddof=1) / 3**0.5) for o in found[1:]]
    by_hand = [1 - t / (t * t + 2) ** 0.5 for t in ts]  # Student's, in closed form for two degrees of freedom
    assert [o.p_seeds for o in found[1:]] == pytest.approx(by_hand)
    lines = statements(found, "base", cluster="study").splitlines()
    assert "over 200 studies" in lines[2] and "p over seeds 0.25" in lines[2] and "over seeds" not in lines[3]


def test_one_patient_shows_nothing_however_often_asked() -> None:
    def one_patient(right: int) -> Run:
        return Run("run", {}, {f"q{i}": {"score": float(i < right), "cluster": 0} for i in range(40)})

    runs = {"base": {0: one_patient(18), 1: one_patient(19)}, "new": {0: one_patient(20), 1: one_patient(21)}}
    for found in (outcomes(runs, "base")[1], contrasts(runs, {"new - base": {"new": 1, "base": -1}})[0]):
        assert found.difference is not None and found.difference.value == pytest.approx(0.05)
        assert found.difference.low < -0.3 and found.p == 1 and not found.shown


def test_a_contrast_of_one_answer_is_not_shown() -> None:
    """A contrast has two sides: one answer of 200 better says neither."""
    better, base = [run([1.0] + [0.0] * 199)] * 2, [run([0.0] * 200)] * 2
    runs = {"base": dict(enumerate(base)), "new": dict(enumerate(better))}
    (found,) = contrasts(runs, {"new - base": {"new": 1, "base": -1}})
    assert found.difference is not None and found.difference.low < 0 < found.difference.high
    assert found.p == 1 and not found.shown
