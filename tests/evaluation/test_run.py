"""An evaluation: scores and controls as counted by hand, resumable, failed answers wrong, and an image of cases."""

import json
import warnings
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine
from medmvl.errors import SampleError, UserError
from medmvl.evaluation.answering import EvaluationOptions
from medmvl.evaluation.cases import choose_cases, draw_cases
from medmvl.evaluation.clusters import clusters_of, limit_clusters
from medmvl.evaluation.results import Judged, Results, summarise, to_table
from medmvl.evaluation.run import evaluate_samples as evaluate
from medmvl.evaluation.statistics import Interval
from medmvl.schema import Sample
from medmvl.tasks import Group, Judgement
from tests.factories.engine import image_of, question, tiny_engine

ABOUT = {"model": "m", "data": "d"}
OPTIONS = EvaluationOptions(max_new_tokens=6, batch_size=8)


def closed(name: str, visual: str, truth: str, patient: str | None, **fields: object) -> Sample:
    target = {"question_type": "nodule", "answers": [truth], "choices": ["yes", "no"]}
    return question(
        name, "Is there a nodule?", visual, target=target, language="en", patient=patient, **fields
    )


SAMPLES = [closed(f"{i}", f"ct-{i}", "yes" if i % 3 else "no", f"p{i // 2}") for i in range(12)]
SAMPLES.append(
    question(
        "report",
        "Describe.",
        "x-1",
        language="en",
        patient="p9",
        target={"question_type": "report", "answers": ["clear lungs"]},
    )
)


class Speaking:
    """An engine whose answers are known: it says `yes` with an image and `no` without; broken files fail as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine: Engine = tiny_engine()
        self.asked = 0
        words = {True: "yes", False: "no"}

        def decode_sequences(prepared: list, rows: list, owner: str) -> None:
            self.asked += len(prepared)
            for sample, row in zip(prepared, rows, strict=True):
                for token in self.engine.processor.tokenizer(words[bool(sample.visuals)])["input_ids"]:
                    row.take(token)

        monkeypatch.setattr(self.engine, "decode_sequences", decode_sequences)


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> Speaking:
    return Speaking(monkeypatch)


def run(
    engine: Engine, out: Path, samples: list[Sample] = SAMPLES, train: list[Sample] | None = None
) -> Results:
    return evaluate(engine, samples, image_of, out, about=ABOUT, train_samples=train, options=OPTIONS)


def test_scores_and_controls_by_hand(speaking: Speaking, tmp_path: Path) -> None:
    train = [closed(f"t{i}", "ct-t", "no", "q") for i in range(3)]
    results = run(speaking.engine, tmp_path, train=train)
    row = results.row("3D", "nodule", "en")
    assert row.score.value == pytest.approx(8 / 12) and row.score.n == 12 and row.score.clusters == 6
    assert row.majority is not None and row.majority.value == pytest.approx(4 / 12)
    assert row.no_image is not None and row.no_image.value == pytest.approx(4 / 12)
    assert row.needs_image is not None and row.needs_image.value == pytest.approx(4 / 12)
    assert row.swapped_image == row.score  # this engine sees that there is an image, not which
    assert row.detectable is not None and 0 < row.detectable < 1.5
    report = results.row("2D", "report", "en")
    assert report.swapped_image is None and any("1 questions have no other" in w for w in results.warnings)
    assert report.metric == "token_f1" and report.score.value == 0.0 and report.majority is None
    with pytest.raises(KeyError):
        results.row("2D", "nodule", "en")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["protocol"] == "strict" and saved["cluster"] == "patient" and saved["clusters"] == 7
    assert {row["question_type"] for row in saved["rows"]} == {"nodule", "report"}
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [sample.id for sample in SAMPLES]
    assert lines[0]["no_image"] == {"text": "no", "score": 1.0}
    assert lines[1]["swapped_image"] == {"text": "yes", "score": 1.0} and "swapped_image" not in lines[-1]
    assert [line["cluster"] for line in lines[:4]] == [0, 0, 1, 1]


def test_small_groups_are_named_where_the_whole_is_large(tmp_path: Path) -> None:
    samples = [closed(f"{i}", f"ct-{i}", "yes", f"p{i}") for i in range(20)]
    options = EvaluationOptions(6, 32, controls=False)
    more = evaluate(
        tiny_engine(), [*samples, SAMPLES[-1]], image_of, tmp_path / "a", about=ABOUT, options=options
    )
    (warning,) = (text for text in more.warnings if "rough" in text)
    assert "fewer than 20 patients: 2D report en (1)" in warning and "nodule" not in warning
    enough = evaluate(tiny_engine(), samples, image_of, tmp_path / "b", about=ABOUT, options=options)
    assert not any("rough" in text for text in enough.warnings)


def test_shifted_images_are_answered_apart(tmp_path: Path) -> None:
    options = EvaluationOptions(6, 8, controls=False, robustness=("noise", "slices"))
    results = evaluate(tiny_engine(), SAMPLES, image_of, tmp_path, about=ABOUT, options=options)
    rows = {(row["shift"], row["modality"]): row for row in results.more["robustness"]}
    assert set(rows) == {("noise", "3D"), ("noise", "2D"), ("slices", "3D")}
    before = results.row("3D", "nodule", "en").score.value
    change = rows["noise", "3D"]["change"]
    assert change["value"] == pytest.approx(rows["noise", "3D"]["score"]["value"] - before)
    assert json.loads((tmp_path / "results.json").read_text())["robustness"] == results.more["robustness"]


def test_it_resumes_without_asking_again(speaking: Speaking, tmp_path: Path) -> None:
    first = run(speaking.engine, tmp_path)
    asked = speaking.asked
    assert (
        asked == 13 + 2 + 12
    )  # without images the twelve questions are one; no other patient has a radiograph
    again = run(speaking.engine, tmp_path)
    assert speaking.asked == asked and again.rows == first.rows
    with pytest.raises(UserError, match='model "m", now "n"'):
        evaluate(speaking.engine, SAMPLES, image_of, tmp_path, about={**ABOUT, "model": "n"}, options=OPTIONS)


@pytest.mark.parametrize(("changed", "message"), [("dtype", "int8"), ("root", "another volume_root")])
def test_answers_of_other_numbers_or_scans_are_not_taken_for_these(
    speaking: Speaking, tmp_path: Path, changed: str, message: str
) -> None:
    samples, load = SAMPLES[:2], BlockLoader(tmp_path, volume_root=tmp_path / "scans")
    about = {**ABOUT, "dtype": "float32"}
    evaluate(speaking.engine, samples, load, tmp_path, about=about, options=OPTIONS)
    other = replace(load, volume_root=tmp_path / "denoised") if changed == "root" else load
    about["dtype"] = "int8" if changed == "dtype" else "float32"
    with pytest.raises(UserError, match=message):
        evaluate(speaking.engine, samples, other, tmp_path, about=about, options=OPTIONS)


def test_protocols_and_calibration_stand_beside_the_rows(tmp_path: Path) -> None:
    options = EvaluationOptions(6, 8, controls=False, calibration=True, protocols=("unimed",))
    results = evaluate(tiny_engine(), SAMPLES, image_of, tmp_path, about=ABOUT, options=options)
    scores = {(row["protocol"], row["metric"]): row for row in results.more["protocols"]}
    assert {protocol for protocol, _ in scores} == {"unimed", "strict", "reader"}
    strict = scores["strict", "accuracy"]
    assert strict["score"]["value"] == results.row("3D", "nodule", "en").score.value
    assert strict["n_scored"] == strict["n_total"] == 12 and strict["score"]["clusters"] == 6
    (group,) = results.more["calibration"]
    assert group["question_type"] == "nodule" and group["accuracy"]["n"] == 12 and group["kept"][0][0] == 1.0
    assert json.loads((tmp_path / "results.json").read_text())["calibration"] == [group]


def test_a_failed_answer_is_wrong_and_listed(speaking: Speaking, tmp_path: Path) -> None:
    samples = [*SAMPLES, closed("bad", "ct-broken", "yes", "p20")]
    results = run(speaking.engine, tmp_path, samples)
    assert results.row("3D", "nodule", "en").score.value == pytest.approx(8 / 13)
    assert [failure[0] for failure in results.failures] == ["bad"]


def test_a_real_run_is_the_same_twice(tmp_path: Path) -> None:
    one, two = (run(tiny_engine(), tmp_path / name) for name in "ab")
    assert one.rows == two.rows
    assert (tmp_path / "a/answers.jsonl").read_bytes() == (tmp_path / "b/answers.jsonl").read_bytes()


def test_a_sample_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="'mute' has neither"):
        run(tiny_engine(), tmp_path, [question("mute", "?", "ct-1")])


def test_clusters_are_the_coarsest_that_all_have() -> None:
    mixed = [closed("a", "ct-1", "no", "p", study="s1"), closed("b", "ct-1", "no", None, study="s1")]
    assert clusters_of(mixed) == ("study", ["s1", "s1"])
    assert clusters_of([question("a", "?"), question("b", "?")]) == ("sample", ["a", "b"])
    assert [sample.id for sample in limit_clusters(SAMPLES, 2)] == ["0", "1", "2", "3"]


def test_the_table_fits_a_terminal(speaking: Speaking, tmp_path: Path) -> None:
    text = StringIO()
    Console(file=text, width=80).print(to_table(run(speaking.engine, tmp_path)))
    shown = text.getvalue()
    assert "…" not in shown and "0.67 [" in shown and "3D nodule en" in shown and "token F1" in shown
    assert all(name in shown for name in ("major-", "image", "swapped", "needs"))


def test_answers_that_no_image_changed_do_not_prove_that_none_would() -> None:
    said = Judgement("accuracy", 1.0, "yes", True)
    judged = [
        Judged(f"{i}", Group("3D", "nodule", "en"), f"p{i}", "?", "yes", "yes", said, no_image=("yes", said))
        for i in range(30)
    ]
    gain = summarise(judged)[0].needs_image
    assert gain is not None and gain.value == 0 and -0.2 < gain.low < -0.05 and 0.05 < gain.high < 0.2


@pytest.mark.parametrize(
    "question_type", ["xray_effusion_side", "side_of_the_largest_effusion_after_drainage"]
)
def test_names_give_way_to_numbers(speaking: Speaking, tmp_path: Path, question_type: str) -> None:
    results = run(speaking.engine, tmp_path)
    half = Interval(0.5, 0.4, 0.6, 7480, 480, "wilson")
    row = replace(
        results.rows[0],
        group=replace(results.rows[0].group, question_type=question_type),
        score=replace(half, value=1.0, low=0.98, high=1.0),
        majority=half,
        no_image=half,
        swapped_image=half,
        needs_image=half,
    )
    text = StringIO()
    Console(file=text, width=80).print(to_table(replace(results, rows=[row])))
    shown = text.getvalue()
    assert "7480 1.00 [0.98, 1.00]" in shown and "+0.50" in shown and "…" not in shown
    assert all(name in shown for name in ("major-", "image", "swapped", "needs"))


def test_cases_show_every_group_and_a_wrong_answer(speaking: Speaking, tmp_path: Path) -> None:
    judged = run(speaking.engine, tmp_path).judged
    cases = choose_cases(judged, 2)
    assert {case.group.modality for case in cases} == {"2D", "3D"}
    right_first = sorted(judged, key=lambda item: -item.judgement.score)
    assert any(
        case.judgement.score == 0 and case.group.question_type == "nodule"
        for case in choose_cases(right_first, 2)
    )
    strange = [replace(judged[0], text="两侧胸腔积液 𓀀, $5 and $6 \\frac"), *judged[1:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that no font has
        assert draw_cases(tmp_path / "cases.png", strange, SAMPLES, image_of, note="not medicine")
    assert Image.open(tmp_path / "cases.png").width > 500
    assert not draw_cases(tmp_path / "none.png", [], SAMPLES, image_of)


def test_a_bar_names_every_closed_group_below_it_and_no_open_one(speaking: Speaking, tmp_path: Path) -> None:
    def against(bar: float) -> dict[str, Any]:
        options = replace(OPTIONS, bar=bar, controls=False)
        evaluate(speaking.engine, SAMPLES, image_of, tmp_path, about=ABOUT, options=options)
        found: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())["bar"]
        return found

    reached, short = against(8 / 12), against(0.7)
    assert (reached["closed"], reached["below"]) == (1, []) and "lowest: 3D nodule en 0.67 [" in reached[
        "statement"
    ]
    assert [(row["question_type"], row["score"]["value"]) for row in short["below"]] == [("nodule", 8 / 12)]
    assert short["statement"].startswith(
        "1 of 1 scores of closed questions fall short of 0.7: 3D nodule en 0.67 ["
    )
