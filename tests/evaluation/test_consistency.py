"""Twins are found by what they ask, never guessed, and counted by hand."""

from pathlib import Path

import pytest

from medmvl.evaluation.answering import EvaluationOptions
from medmvl.evaluation.consistency import language_consistency, language_twins, wording_consistency
from medmvl.evaluation.html import write_page
from medmvl.evaluation.results import Judged, Results, summarise
from medmvl.evaluation.run import evaluate_samples as evaluate
from medmvl.schema import Sample
from medmvl.tasks import Task, group_of
from tests.factories.engine import image_of, question, tiny_engine

CHOICES = {"en": ("yes", "no"), "zh": ("是", "否")}


def ask(name: str, language: str, scan: str, question_type: str = "nodule") -> Sample:
    target = {"question_type": question_type, "answers": [CHOICES[language][0]], "choices": CHOICES[language]}
    return question(name, "?", scan, target=target, language=language, patient=scan)


def judge(samples: list[Sample], texts: list[str]) -> list[Judged]:
    task = Task("t", samples)
    return [
        Judged(s.id, group_of(s), str(s.patient), "?", task.target(s).answers[0], text, task.judge(s, text))
        for s, text in zip(samples, texts, strict=True)
    ]


SAMPLES = [ask(f"{language}{n}", language, f"ct-{n}") for n in range(4) for language in ("en", "zh")]


def test_twins_are_counted_by_hand(tmp_path: Path) -> None:
    judged = judge(SAMPLES, ["yes", "是", "yes", "否", "no", "否", "", "是"])
    (row,) = language_consistency(SAMPLES, judged)
    values = {name: row[name]["value"] for name in ("alike", "all_right", "en", "zh")}
    assert values == pytest.approx({"alike": 0.5, "all_right": 0.25, "en": 0.5, "zh": 0.5})
    assert (row["question_type"], row["alike"]["n"], row["alike"]["clusters"]) == ("nodule", 4, 4)
    about = {"samples": 8, "clusters": 4, "cluster": "patient", "protocol": "strict"}
    results = Results(summarise(judged), about, judged=tuple(judged), more={"consistency": [row]})
    write_page(tmp_path / "r.html", results, SAMPLES, image_of)
    assert "all right or all wrong" in (tmp_path / "r.html").read_text()


def test_what_may_not_be_a_twin_is_left_out() -> None:
    twice = [
        *SAMPLES,
        ask("again", "en", "ct-0"),
        ask("other", "zh", "ct-9"),
        ask("question_type", "en", "ct-9", "lobe"),
    ]
    assert language_twins(twice) == [(f"en{n}", f"zh{n}") for n in (1, 2, 3)]
    assert language_consistency(SAMPLES[::2], judge(SAMPLES[::2], ["yes"] * 4)) == []


def test_wordings_are_counted_by_hand() -> None:
    samples = SAMPLES[::2]
    judged = judge(samples, ["yes", "yes", "no", "no"])
    names = [sample.id for sample in samples]
    again = [dict(zip(names, ("yes", "yes", "yes", "no"), strict=True)), dict.fromkeys(names[:3], "yes")]
    again[1][names[3]] = ""
    task = Task("t", samples)
    (row,) = wording_consistency(samples, judged, again, task.judge)
    values = {name: row[name]["value"] for name in ("alike", "all_right", "first", "others")}
    assert values == pytest.approx({"alike": 0.75, "all_right": 0.5, "first": 0.5, "others": 0.75})
    del again[0][names[0]]
    (row,) = wording_consistency(samples, judged, again, task.judge)
    assert row["alike"]["n"] == 3


def test_questions_without_other_words_are_not_counted() -> None:
    samples = SAMPLES[::2]
    assert wording_consistency(samples, judge(samples, ["yes"] * 4), [], Task("t", samples).judge) == []


def test_an_evaluation_asks_again_in_other_words(tmp_path: Path) -> None:
    options = EvaluationOptions(consistency=True, controls=False)
    results = evaluate(
        tiny_engine(), SAMPLES, image_of, tmp_path, about={"model": "m", "data": "d"}, options=options
    )
    rows = [row for row in results.more["consistency"] if row["over"] == "wordings"]
    assert [(row["question_type"], row["alike"]["n"]) for row in rows] == [("nodule", 8)]
    for number in (1, 2):
        lines = (tmp_path / "decoded" / f"reworded-{number}-closed.jsonl").read_text().splitlines()
        assert len(lines) == 8
    write_page(tmp_path / "r.html", results, SAMPLES, image_of)
    assert "Asked in other words" in (tmp_path / "r.html").read_text()
