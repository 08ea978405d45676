"""The page holds every number, works alone, and tells nobody's identity."""

import re
from pathlib import Path

from medmvl.evaluation.answering import EvaluationOptions
from medmvl.evaluation.html import WORDS, choose_extremes, confusions, write_page
from medmvl.evaluation.results import Judged, extra_lines
from medmvl.evaluation.run import evaluate_samples as evaluate
from medmvl.schema import Sample
from medmvl.tasks import Group, Judgement
from tests.factories.engine import image_of, question, tiny_engine


def asked(number: int) -> Sample:
    target = {"question_type": "nodule", "answers": ["no" if number % 3 else "yes"], "choices": ["yes", "no"]}
    name = f"secret-{number}" if number else "secret-broken"
    return question(
        f"id-{name}", "Is <b>there</b> a nodule?", f"ct-{name}", target=target, patient=f"who-{number // 2}"
    )


def test_the_page_is_whole_and_tells_nobody(tmp_path: Path) -> None:
    samples = [asked(i) for i in range(8)]
    options = EvaluationOptions(4, 8, robustness=("noise",), calibration=True, protocols=("unimed",))
    results = evaluate(
        tiny_engine(), samples, image_of, tmp_path, about={"model": "m", "data": "d"}, options=options
    )
    write_page(tmp_path / "page.html", results, samples, image_of, "A title")
    page = (tmp_path / "page.html").read_text()
    assert "secret" not in page and "who-" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page) and "url(" not in page and "@import" not in page
    assert "Is &lt;b&gt;there" in page and "<b>there" not in page
    assert "data:image/png;base64," in page
    row = results.rows[0]
    for interval in (row.score, row.majority, row.no_image, row.swapped_image):
        assert interval is not None and f"<b>{interval.value:.2f}</b>" in page
    assert "unimed" in page
    assert "<polyline" not in page and WORDS["certain"][0] in page  # one dot is no curve
    results.more["calibration"][0]["bins"].append([0.9, 1.0, 2])
    write_page(tmp_path / "curve.html", results, samples, image_of, "A title")
    assert (tmp_path / "curve.html").read_text().count("<polyline") == 2
    assert "model m · data d" in re.sub(r"<[^>]*>", "", page.replace("模型", "").replace("数据", ""))
    assert results.about["date"] in page and "in 0 of 1 rows" in page
    assert [line.split(",")[0] for line in extra_lines(results)] == ["Calibration"]
    for english, chinese in (WORDS["robustness"], WORDS["calibration"], WORDS["worst"]):
        assert english in page and chinese in page


def judged(number: int, score: float, parsed: str | None, truth: str = "yes") -> Judged:
    judgement = Judgement("accuracy", score, parsed, False)
    return Judged(f"{number}", Group("3D", "nodule", "en"), f"p{number}", "?", truth, "", judgement)


def test_a_confusion_table_counts_every_answer() -> None:
    items = [judged(0, 1, "yes"), judged(1, 0, "no"), judged(2, 0, None), judged(3, 1, "no", "no")]
    (table,) = confusions(items)
    assert table["truths"] == ["no", "yes"] and table["answers"] == ["no", "yes", None]
    assert table["counts"] == [[1, 0, 0], [1, 1, 1]]


def test_the_best_are_not_among_the_worst() -> None:
    items = [judged(i, float(i % 2), "yes") for i in range(10)]
    worst, best = choose_extremes(items, 3)
    assert [item.judgement.score for item in (*worst, *best)] == [0, 0, 0, 1, 1, 1]
    perfect = choose_extremes([judged(i, 1.0, "yes") for i in range(5)])
    assert perfect[0] == [] and len(perfect[1]) == 3
