"""Closed answers, classes, findings and boxes against scikit-learn, published values and counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from medmvl.errors import UserError
from medmvl.tasks.metrics import token_recall
from medmvl.tasks.metrics.adapters import ADAPTERS
from medmvl.tasks.metrics.classification import (
    balanced_accuracy,
    calibration_error,
    macro_f1,
    micro_f1,
)
from medmvl.tasks.metrics.findings import count_findings
from medmvl.tasks.metrics.grounding import find_box, find_boxes, iou, parse_box
from medmvl.tasks.metrics.measures import METRICS, MetricOptions, measure
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import STRICT
from medmvl.tasks.protocols.scoring import score

CLASSES = ("mole", "melanoma", "scar")
decisions = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=12)


@given(decisions)
def test_classes_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    said, true = [a for a, _ in pairs], [b for _, b in pairs]
    labels = sorted(set(true))
    expected = sklearn_metrics.f1_score(true, said, average="macro", labels=labels, zero_division=0)
    assert macro_f1(said, true).corpus() == pytest.approx(expected)
    recall = sklearn_metrics.recall_score(true, said, average="macro", labels=labels, zero_division=0)
    assert balanced_accuracy(said, true).corpus() == pytest.approx(recall)
    micro = sklearn_metrics.f1_score(true, said, average="micro", labels=labels, zero_division=0)
    assert micro_f1(said, true).corpus() == pytest.approx(micro)


def test_a_class_nobody_can_read_is_a_miss() -> None:
    # mole: 1 hit, 1 missed; scar: 1 hit
    assert macro_f1(["mole", None, "scar"], ["mole", "mole", "scar"]).corpus() == pytest.approx(
        (2 / 3 + 1) / 2
    )
    assert balanced_accuracy(["mole", None, "scar"], ["mole", "mole", "scar"]).corpus() == pytest.approx(0.75)


@pytest.mark.parametrize(
    "choices", [(), CLASSES, ("Mole", "Melanoma.", "SCAR"), ("A. mole", "B. melanoma", "C. scar")]
)
def test_a_wrong_class_counts_for_the_class_it_names(choices: tuple[str, ...]) -> None:
    said = ["mole", "Melanoma", "melanoma", "scar", "mole", "none of them"]
    true = ["mole", "mole", "Melanoma", "melanoma", "scar", "scar"]
    records = [
        Record(f"{i}", text, (truth,), question_type="class", choices=choices)
        for i, (text, truth) in enumerate(zip(said, true, strict=True))
    ]
    lower = [[text.lower() for text in texts] for texts in (true, said)]
    for average in ("macro", "micro"):
        expected = sklearn_metrics.f1_score(*lower, average=average, labels=CLASSES, zero_division=0)
        assert measure(f"{average}_f1", records).value == pytest.approx(expected)


def test_calibration() -> None:
    # two bins of ten: 0.95 three times, right twice; 0.15 once, wrong
    expected = (3 * abs(2 / 3 - 0.95) + 0.15) / 4
    assert calibration_error(
        [0.95, 0.95, 0.95, 0.15], [True, True, False, False], bins=10
    ).corpus() == pytest.approx(expected)
    assert calibration_error([1.0, 0.0], [True, False]).corpus() == 0.0
    with pytest.raises(UserError, match="between 0 and 1"):
        calibration_error([1.2], [True])


def test_confidences_are_judged_where_every_record_has_one() -> None:
    def answer(text: str, confidence: float | None) -> Record:
        return Record(
            id="1",
            text=text,
            references=("yes",),
            question_type="closed",
            choices=("yes", "no"),
            confidence=confidence,
        )

    records = [answer("yes", 0.9), answer("yes", 0.9), answer("no", 0.6)]
    found = {item.measure.name: item.measure.value for item in score(records, STRICT)}
    assert found["brier"] == pytest.approx(sklearn_metrics.brier_score_loss([1, 1, 0], [0.9, 0.9, 0.6]))
    assert found["calibration_error"] == pytest.approx((0.2 + 0.6) / 3)
    some = [*records, answer("yes", None)]
    assert "brier" not in {item.measure.name for item in score(some, STRICT)}
    with pytest.raises(UserError, match="a confidence for every record"):
        measure("brier", some)


NAMES = ("nodule", "effusion", "emphysema")
labelled = st.lists(
    st.tuples(*[st.fixed_dictionaries({name: st.sampled_from([0.0, 1.0]) for name in NAMES})] * 2),
    min_size=1,
    max_size=8,
)


@given(labelled)
def test_findings_equal_scikit_learn(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    said, true = [a for a, _ in pairs], [b for _, b in pairs]
    found = count_findings(said, true, NAMES)
    matrices = [np.array([[row[name] for name in NAMES] for row in rows]) for rows in (true, said)]
    for average, ours in (("macro", found.macro("f1", all_labels=True)), ("micro", found.micro("f1"))):
        expected = sklearn_metrics.f1_score(*matrices, average=average, zero_division=0)
        assert ours.corpus() == pytest.approx(expected)
    for place, name in enumerate(NAMES):
        expected = sklearn_metrics.precision_score(
            matrices[0][:, place], matrices[1][:, place], zero_division=0
        )
        assert found.label(name, "precision").corpus() == pytest.approx(expected)


def crg(said: list[list[int]], true: list[list[int]]) -> float:
    names = [str(n) for n in range(len(true[0]))]
    rows = [[dict(zip(names, map(float, row), strict=True)) for row in table] for table in (said, true)]
    return count_findings(rows[0], rows[1], names).crg().corpus()


def test_crg_has_the_published_corners() -> None:
    """VLM3D challenge: nothing or everything 1/3, perfect 1, all wrong 0.2."""
    true = [[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]]
    assert crg(true, true) == pytest.approx(1.0)
    assert crg([[0] * 5] * 2, true) == pytest.approx(1 / 3)
    assert crg([[1] * 5] * 2, true) == pytest.approx(1 / 3)
    assert crg([[1 - value for value in row] for row in true], true) == pytest.approx(0.2)
    # by the challenge's formula: X 10, A 3, r 7/6, U 3.5; 2 hits, 1 missed, 1 false: s = 7/6 - 1
    said = [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert crg(said, true) == pytest.approx(3.5 / (7 - (7 / 6 - 1)))


def test_unknown_truths_do_not_count() -> None:
    found = count_findings([{"nodule": 1.0}, {"nodule": 1.0}], [{"nodule": 1.0}, {}], ("nodule",))
    assert found.label("nodule", "precision").corpus() == 1.0
    assert np.isnan(count_findings([{}], [{}], ("nodule",)).macro().corpus())


boxes = st.tuples(*[st.integers(0, 9)] * 6).map(
    lambda v: (v[0], v[1], v[2], v[0] + 1 + v[3], v[1] + 1 + v[4], v[2] + 1 + v[5])
)


@given(boxes, boxes)
def test_iou_counts_voxels(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    masks = []
    for box in (a, b):
        mask = np.zeros((20, 20, 20), dtype=bool)
        mask[box[0] : box[3], box[1] : box[4], box[2] : box[5]] = True
        masks.append(mask)
    expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert iou(a, b) == pytest.approx(expected)
    flat = [(box[0], box[1], box[3], box[4]) for box in (a, b)]
    planes = [np.zeros((20, 20), dtype=bool) for _ in flat]
    for plane, box in zip(planes, flat, strict=True):
        plane[box[0] : box[2], box[1] : box[3]] = True
    assert iou(*flat) == pytest.approx((planes[0] & planes[1]).sum() / (planes[0] | planes[1]).sum())


def test_boxes_are_read_in_array_order() -> None:
    assert parse_box("It is at {<10><20><30><60>}.", "uni-med") == (0.2, 0.1, 0.6, 0.3)
    assert parse_box("{ <10> <20><30> < 60 > }", "uni-med") == (0.2, 0.1, 0.6, 0.3)
    assert parse_box("{<30><20><10><60>}", "uni-med") is None  # no inside
    assert parse_box("{<10><20><130><60>}", "uni-med") is None  # leaves the image
    assert find_box("[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]") == (0.3, 0.2, 0.1, 0.6, 0.5, 0.4)
    assert find_box("[0.1,0.2,0.4,0.6]") == (0.2, 0.1, 0.6, 0.4)
    assert find_box("in the left lung") is None


@pytest.mark.parametrize(
    "text",
    [
        "(0.1, 0.2, 0.4, 0.6)",
        "<|object_ref_start|>the nodule<|object_ref_end|><|box_start|>(100,200),(400,600)<|box_end|>",
        "the nodule<box>[[100, 200, 400, 600]]</box>",
        "<loc_100><loc_200><loc_400><loc_600>",
    ],
)
def test_boxes_of_other_models(text: str) -> None:
    assert find_box(text) == pytest.approx((0.2, 0.1, 0.6, 0.4))


def test_paligemma_writes_rows_first() -> None:
    assert find_box("<loc0256><loc0128><loc0512><loc0384> nodule") == (0.25, 0.125, 0.5, 0.375)


def test_a_box_in_an_unknown_unit_is_noted() -> None:
    pixels = '```json\n[{"bbox_2d": [100, 200, 400, 600], "label": "nodule"}]\n```'
    records = [
        Record(id=str(at), text=text, references=("[0.1, 0.2, 0.4, 0.6]",), question_type="refer")
        for at, text in enumerate((pixels, "[0.1, 0.2, 0.4, 0.6]", "[0.4, 0.2, 0.1, 0.6]"))
    ]
    found = measure("iou", records)
    assert found.value == pytest.approx(1 / 3) and "1 of 3 answers" in found.note
    assert measure("acc@0.5", records[1:]).note == ""


def test_all_boxes_of_a_text_are_found_in_its_order() -> None:
    text = "{<10><20><30><40>} and [0.5,0.5,0.6,0.9], not [0.5,0.5,0.4,0.9], nor [1, 2]; [0,0,0,1,1,1]"
    assert find_boxes(text) == [(0.2, 0.1, 0.4, 0.3), (0.5, 0.5, 0.9, 0.6), (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)]
    assert find_boxes("none") == []
    with pytest.raises(UserError, match="known formats: uni-med, m3d"):
        parse_box("", "yolo")
    with pytest.raises(UserError, match="cannot be compared"):
        iou((0, 0, 1, 1), (0, 0, 0, 1, 1, 1))


def choice(text: str, **fields: object) -> Record:
    values: dict[str, object] = {
        "choices": ("A", "B", "C"),
        "references": ("B. left lung", "B", "left lung"),
    } | fields
    return Record(
        id="1",
        text=text,
        question="Where? Choices: A. right lung B. left lung C. heart",
        question_type="choice_x",
        **values,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("B", 1), ("b", 1), ("(B)", 1), ("B. left lung", 1), ("The answer is B.", 1), ("left lung", 1),
        ("It is the left lung", 1), ("A", 0), ("A. B. C.", 0), ("A, B and C", 0), ("left lung or heart", 0), ("", 0),
        ("A nodule is seen", 0), ("B or C", 0),
    ],
)  # fmt: skip
def test_choices_by_letter_or_option_cannot_be_gamed(text: str, right: int) -> None:
    assert measure("accuracy", [choice(text)]).value == right
    options = ("right lung", "left lung", "heart")
    assert (
        measure("accuracy", [choice(text, choices=options, references=("(b) left lung", "left lung"))]).value
        == right
    )
    assert choice(text).options == options and choice(text).letter == "B"


def test_recall_is_of_words() -> None:
    assert token_recall("a nodule in the left lung", ["left lung nodule", "x y"]) == 1.0
    assert token_recall("lung lung", ["left lung"]) == 0.5


def test_what_is_missing_counts_as_wrong_in_every_metric() -> None:
    records = [
        Record(id="1", text=None, references=("a nodule in the lung",), question_type="report", labels={})
    ]
    of_text = set(METRICS) - {
        "iou",
        "acc@0.5",
        "crg",
        "chexpert_f1",
        "bertscore",
        "llm_judge",
        "brier",
        "calibration_error",
        *ADAPTERS,
    }
    for name in sorted(name for name in of_text if not name.startswith("finding")):
        assert measure(name, records).value == 0, name
    box = Record(id="1", text=None, references=("{<0><0><50><50>}",), question_type="refer")
    assert measure("iou", [box]).value == measure("acc@0.5", [box]).value == 0


def test_findings_choose_their_labeler_by_labels_and_kind() -> None:
    phantom = Record(
        id="1",
        text="Nodule in the left lower lobe.",
        references=("x",),
        question_type="ct_report",
        labels={"nodule": 1.0, "effusion": 0.0},
    )
    assert measure("finding_f1", [phantom]).value == 1.0
    free = Record(id="1", text="No nodule.", references=("Nodule and effusion.",), question_type="report")
    with pytest.raises(UserError, match="need a labeler"):
        measure("finding_f1", [free])
    assert measure("finding_micro_f1", [free], MetricOptions(labeler="ct-rate")).value == 0.0
    with pytest.raises(UserError, match="known metrics: accuracy"):
        measure("f2", [free])
