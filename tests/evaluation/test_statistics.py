"""Intervals against values computed elsewhere and against simulated patients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.evaluation.statistics import difference_interval, effective_n, mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_table(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes / n, n) == pytest.approx((low, high), abs=5e-5)


@given(st.floats(0, 1), st.floats(1, 1e5))
def test_wilson_holds_its_proportion_and_stays_in_range(p: float, n: float) -> None:
    low, high = wilson(p, n)
    assert 0 <= low <= p + 1e-12 and p - 1e-12 <= high <= 1 and low < high


def test_repeating_every_answer_changes_nothing() -> None:
    scores = [1.0, 0.0] * 30 + [1.0] * 40
    patients = list(range(100))
    once = mean_interval(scores, patients)
    thrice = mean_interval(scores * 3, patients * 3)
    assert (once.low, once.high) == (thrice.low, thrice.high)
    assert effective_n(scores * 3, patients * 3) == pytest.approx(effective_n(scores, patients), rel=1e-9)
    assert thrice.n == 300 and thrice.clusters == 100


def test_effective_n_of_independent_answers_is_near_their_number() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random(4000) < 0.7).astype(float).tolist()
    assert effective_n(scores, list(range(4000))) == pytest.approx(4000, rel=0.01)
    assert 3500 < effective_n(scores, [i // 4 for i in range(4000)]) <= 4000


def test_perfect_scores_are_not_certain() -> None:
    interval = mean_interval([1.0] * 800, [i // 2 for i in range(800)])
    assert interval.method == "wilson" and interval.high == 1.0
    assert interval.low == pytest.approx(
        400 / (400 + 1.959964**2), abs=1e-6
    )  # closed form at p = 1, n = clusters


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(400)
    interval = mean_interval(scores.tolist(), list(range(400)))
    half = 1.959964 * scores.std() / 20
    assert interval.method == "bootstrap"
    assert (interval.low, interval.high) == pytest.approx(
        (scores.mean() - half, scores.mean() + half), abs=0.1 * half
    )


def test_coverage_with_correlated_questions() -> None:
    """Patients differ in difficulty and are asked 8 questions each: 95 % intervals still hold the truth."""
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        difficulty = rng.beta(2, 1, 60)
        scores = (rng.random((60, 8)) < difficulty[:, None]).astype(float).ravel().tolist()
        interval = mean_interval(scores, [i // 8 for i in range(480)], seed=seed)
        hits += interval.low <= 2 / 3 <= interval.high
    assert 180 <= hits <= 199


def test_same_seed_same_interval() -> None:
    scores, patients = np.random.default_rng(3).random(50).tolist(), list(range(50))
    assert mean_interval(scores, patients, seed=5) == mean_interval(scores, patients, seed=5)
    assert mean_interval(scores, patients, seed=5) != mean_interval(scores, patients, seed=6)


def test_pairing_makes_a_difference_narrower() -> None:
    rng = np.random.default_rng(4)
    ours = (rng.random(300) < 0.6).astype(float)
    theirs = np.where(rng.random(300) < 0.1, 0.0, ours)
    paired = difference_interval(ours.tolist(), theirs.tolist(), list(range(300)))
    shuffled = difference_interval(ours.tolist(), rng.permutation(theirs).tolist(), list(range(300)))
    assert paired.value == pytest.approx(shuffled.value) == pytest.approx((ours - theirs).mean())
    assert paired.high - paired.low < 0.6 * (shuffled.high - shuffled.low)
