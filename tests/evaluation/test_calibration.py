"""Likelihoods equal the model's own probabilities; confidences are judged as counted by hand."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medmvl.engine import Request
from medmvl.engine.likelihood import candidate_logprobs, choice_logprobs
from medmvl.evaluation.calibration import ScoredChoice, accuracy_kept, calibrate, probabilities
from medmvl.schema import Sample
from tests.factories.engine import image_of, question, tiny_engine, visual_of

TARGET = {"question_type": "nodule", "answers": ["yes"], "choices": ["yes", "no", "left lower lobe"]}


def asked(name: str, *visuals: str) -> Sample:
    return question(name, "Is there a nodule?", *visuals, target=TARGET)


def test_a_candidate_has_the_mean_loss_training_would_see() -> None:
    engine = tiny_engine()
    requests = [
        Request.from_sample(asked("a", "ct-1"), visual_of),
        Request.from_sample(asked("b", "x-1"), visual_of),
    ]
    together = candidate_logprobs(engine, requests, [["yes", "no"], ["left lower lobe"]])
    for request, texts, values in zip(requests, [["yes", "no"], ["left lower lobe"]], together, strict=True):
        for text, value in zip(texts, values, strict=True):
            sample = question("t", "Is there a nodule?", *[b.path for m in request.messages for b in m.visuals],
                              answer=text)  # fmt: skip
            row = engine.processor.prepare(
                sample.messages, engine.processor.visual_loader(image_of), supervised=True
            )
            loss = engine.model(**engine.processor.collate([row]), use_cache=False).loss
            assert value == pytest.approx(-float(loss.detach()) * row.num_supervised, rel=1e-4)


def test_candidates_share_one_distribution() -> None:
    """The first tokens of all continuations are alternatives: their likelihoods never sum to more than one."""
    engine = tiny_engine()
    request = Request.from_sample(asked("a", "ct-1"), visual_of)
    values = candidate_logprobs(engine, [request], [["yes", "no", "left lower lobe"]])[0]
    assert sum(math.exp(value) for value in values) < 1


def test_choices_are_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [asked("a", "ct-1"), asked("b", "x-broken"), asked("c", "x-1")]
    engine = tiny_engine()
    first = choice_logprobs(engine, samples, image_of, tmp_path / "l.jsonl", {"model": "m"})
    assert set(first) == {"a", "c"} and len(first["a"]) == 3
    monkeypatch.setattr(engine, "try_prepare", None)
    assert (
        choice_logprobs(engine, [samples[0], samples[2]], image_of, tmp_path / "l.jsonl", {"model": "m"})
        == first
    )


def test_probabilities_and_abstaining_by_hand() -> None:
    assert probabilities([math.log(0.2), math.log(0.6)]) == pytest.approx((0.25, 0.75))
    assert probabilities([-2000.0, -2000.0]) == (0.5, 0.5)
    kept = accuracy_kept([0.9, 0.8, 0.6, 0.6], [1, 1, 0, 1], (1.0, 0.75, 0.5))
    assert kept == ((1.0, 0.75), (0.75, pytest.approx(2.5 / 3)), (0.5, 1.0))


def test_a_calibrated_model_has_no_error_and_gains_by_abstaining() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 4000)
    items = [ScoredChoice((p, 1 - p), bool(rng.random() < p), f"{i // 4}") for i, p in enumerate(sure)]
    found = calibrate(items)
    assert found.error.value < 0.03 and found.accuracy.value == pytest.approx(0.75, abs=0.02)
    accuracies = [accuracy for _, accuracy in found.kept]
    assert accuracies[-1] > 0.93 and all(b > a - 0.02 for a, b in pairwise(accuracies))
    boasting = calibrate([ScoredChoice((1.0, 0.0), item.right, item.cluster) for item in items])
    assert boasting.error.value == pytest.approx(0.25, abs=0.02)
    assert boasting.error.low < boasting.error.value < boasting.error.high
