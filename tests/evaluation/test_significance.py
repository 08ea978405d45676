"""Permutation, Holm and detectable differences against exact enumeration, other libraries and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.evaluation.significance import detectable_difference, holm, sign_flip_p, standard_error
from medmvl.evaluation.statistics import bootstrap_interval, mean_interval, tally_interval
from medmvl.tasks.metrics.tally import Tally, mean_tally


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_few_clusters_equal_all_exchanges(sums: list[int], size: int) -> None:
    """Each patient's answers share its sign: every exchange of two models' whole patients, counted one by one."""
    differences = [value / 3 for value in sums for _ in range(size)]
    clusters = [i for i in range(len(sums)) for _ in range(size)]
    totals = [
        abs(sum(s * v for s, v in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    exact = np.mean([total >= abs(sum(sums)) for total in totals])
    assert sign_flip_p(differences, clusters) == pytest.approx(exact)


def test_many_clusters_equal_scipy() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(0)
    differences = rng.normal(0.25, 1, 60)
    theirs = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=20000, vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert sign_flip_p(differences.tolist(), list(range(60))) == pytest.approx(theirs, abs=0.012)


def test_equal_models_differ_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    clusters = [i // 5 for i in range(150)]
    low = 0
    for seed in range(200):
        patient = np.repeat(rng.normal(size=30), 5)  # answers about one patient go together
        low += sign_flip_p((patient + rng.normal(size=150)).tolist(), clusters, seed=seed) < 0.05
    assert low / 200 < 0.09


def test_patients_asked_more_often_are_not_more_patients() -> None:
    differences = [1.0, 1.0, 1.0, -1.0, 1.0]
    once = sign_flip_p(differences, list(range(5)))
    assert sign_flip_p(differences * 10, list(range(5)) * 10) == once
    assert sign_flip_p([0.0] * 4, list("abcd")) == 1.0


def test_holm_equals_its_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7] and holm([0.6, 0.9]) == [1.0, 1.0]


def test_standard_error_of_single_answers_is_the_usual_one() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert standard_error(values.tolist(), list(range(50))) == pytest.approx(values.std(ddof=1) / 50**0.5)
    assert standard_error([1.0, 0.0], ["a", "a"]) is None


def test_the_detectable_difference_is_found_with_its_power() -> None:
    rng = np.random.default_rng(3)
    smallest = detectable_difference(rng.normal(size=4000).tolist(), list(range(4000)))
    assert smallest is not None
    difference = smallest * (4000 / 40) ** 0.5  # what 40 patients could show
    found = [
        sign_flip_p(rng.normal(difference, 1, 40).tolist(), list(range(40)), seed=seed) < 0.05
        for seed in range(200)
    ]
    assert 0.7 < np.mean(found) < 0.88
    assert detectable_difference([0.5, 0.5], ["a", "b"]) is None


def test_a_corpus_value_is_taken_again_of_every_resample() -> None:
    """F1 over all labels is no mean of samples: its interval equals that of resampling indices and counting anew."""
    rng = np.random.default_rng(4)
    truth, given_ = rng.random(240) < 0.3, rng.random(240) < 0.4
    clusters = [i // 4 for i in range(240)]
    rows = np.stack([truth & given_, truth ^ given_], axis=1).astype(float)
    tally = Tally(rows, lambda sums: 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1]))

    def f1(drawn: np.ndarray) -> float:
        hits = float((truth[drawn] & given_[drawn]).sum())
        return 2 * hits / (2 * hits + float((truth[drawn] ^ given_[drawn]).sum()))

    fast, plain = tally_interval(tally, clusters), bootstrap_interval(f1, clusters)
    assert fast.value == pytest.approx(plain.value) and (fast.n, fast.clusters) == (240, 60)
    assert (fast.low, fast.high) == pytest.approx((plain.low, plain.high), abs=0.015)


def test_a_mean_is_the_same_as_a_tally() -> None:
    scores, clusters = np.random.default_rng(5).random(90).tolist(), [i // 3 for i in range(90)]
    mean, tally = (
        mean_interval(scores, clusters, seed=7),
        tally_interval(mean_tally(scores), clusters, seed=7),
    )
    assert (mean.low, mean.high) == pytest.approx((tally.low, tally.high))


def test_resamples_without_a_value_are_left_out() -> None:
    interval = bootstrap_interval(
        lambda drawn: float("nan") if len(set(drawn.tolist())) < 3 else float(max(drawn)),
        list("abcd"),
        num_resamples=50,
    )
    assert (interval.low, interval.value, interval.high) == (2.0, 3.0, 3.0)
