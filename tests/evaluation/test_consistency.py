"""Twins are found by what they ask, never guessed, and counted by hand."""

from pathlib import Path

import pytest

from medmvl.evaluation.consistency import language_consistency, language_twins
from medmvl.evaluation.report import write_report
from medmvl.evaluation.results import Judged, Results, summarise
from medmvl.schema import Sample
from medmvl.tasks import Task, group_of
from tests.factories.engine import image_of, question

CHOICES = {"en": ("yes", "no"), "zh": ("是", "否")}


def ask(name: str, language: str, scan: str, kind: str = "nodule") -> Sample:
    target = {"kind": kind, "answers": [CHOICES[language][0]], "choices": CHOICES[language]}
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
    assert (row["kind"], row["alike"]["n"], row["alike"]["clusters"]) == ("nodule", 4, 4)
    about = {"samples": 8, "clusters": 4, "cluster": "patient", "protocol": "strict"}
    results = Results(summarise(judged), about, judged=tuple(judged), more={"consistency": [row]})
    write_report(tmp_path / "r.html", results, SAMPLES, image_of)
    assert "both right or both wrong" in (tmp_path / "r.html").read_text()


def test_what_may_not_be_a_twin_is_left_out() -> None:
    twice = [
        *SAMPLES,
        ask("again", "en", "ct-0"),
        ask("other", "zh", "ct-9"),
        ask("kind", "en", "ct-9", "lobe"),
    ]
    assert language_twins(twice) == [(f"en{n}", f"zh{n}") for n in (1, 2, 3)]
    assert language_consistency(SAMPLES[::2], judge(SAMPLES[::2], ["yes"] * 4)) == []
