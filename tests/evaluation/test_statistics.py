"""Intervals against values computed elsewhere and against simulated patients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.evaluation.statistics import (
    difference_interval,
    effective_n,
    mean_interval,
    tally_interval,
    wilson,
)
from medmvl.tasks.metrics.tally import Tally


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


def test_a_paired_difference_of_few_equals_the_published_interval() -> None:
    """Bonett and Price 2012, by hand: 3 of 40 for one model, 1 for the other; (b + 1) and (c + 1) of n + 2."""
    found = difference_interval([1, 1, 1, 0] + [0.5] * 36, [0, 0, 0, 1] + [0.5] * 36, list(range(40)))
    p, q = 4 / 42, 2 / 42
    half = 1.959964 * ((p + q - (p - q) ** 2) / 42) ** 0.5
    assert found.value == 0.05 and found.method == "adjusted"
    n = effective_n([1.0, 1.0, 1.0, -1.0] + [0.0] * 36, list(range(40)))  # 39 / 40 of 40, by the k / (k - 1)
    assert n == pytest.approx(39)
    assert (found.low, found.high) == pytest.approx((p - q - half, p - q + half), abs=0.005)


@pytest.mark.parametrize("patients", [1, 12, 60])
def test_alike_on_all_answers_is_not_alike(patients: int) -> None:
    found = difference_interval(
        [0.0, 1.0] * patients, [0.0, 1.0] * patients, [i // 2 for i in range(2 * patients)]
    )
    assert found.value == 0 and -found.low == found.high > 1.9 / (patients + 2)


@pytest.mark.parametrize(("patients", "more"), [(1, 0.3), (3, 0.3), (10, 0.1), (30, 0.05), (100, 0.02)])
def test_differences_of_few_patients_hold_the_truth(patients: int, more: float) -> None:
    rng = np.random.default_rng(patients)
    hits = 0
    for _ in range(200):
        won = (rng.random(patients) < more).astype(float)
        found = difference_interval(won.tolist(), [0.0] * patients, list(range(patients)))
        hits += found.low <= more <= found.high
    assert hits >= 180


@pytest.mark.parametrize("patients", [1, 2, 5])
def test_means_of_few_patients_hold_the_truth(patients: int) -> None:
    rng = np.random.default_rng(patients)
    clusters = [i // 5 for i in range(5 * patients)]
    hits = 0
    for _ in range(200):
        own = rng.beta(5, 5, (patients, 1))
        found = mean_interval(
            np.clip(own + rng.normal(0, 0.1, (patients, 5)), 0, 1).ravel().tolist(), clusters
        )
        hits += found.low <= 0.5 <= found.high
    assert hits >= 180


def test_a_corpus_value_of_one_patient_has_no_interval() -> None:
    found = tally_interval(
        Tally(np.array([[1.0, 3.0], [2.0, 2.0]]), lambda sums: sums[..., 0] / sums[..., 1]), ["a", "a"]
    )
    assert found.value == 0.6
    assert found.to_json() == {
        "value": 0.6, "low": None, "high": None, "n": 2, "clusters": 1, "method": "bootstrap",
    }  # fmt: skip
