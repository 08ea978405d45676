"""Each quirk of a published protocol, beside what `strict` says of the same answers."""

import math
import subprocess
import sys

import pytest

from medmvl.datasets.public import TASKS
from medmvl.errors import UserError
from medmvl.tasks.metrics.measures import Measure, MetricOptions
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import PROTOCOLS, find_protocol
from medmvl.tasks.protocols.m3d import enclosing_overlap
from medmvl.tasks.protocols.medevalkit import choice_right, closed_right, parse_response, set_overlap
from medmvl.tasks.protocols.scoring import score, unscored
from medmvl.tasks.protocols.unimed import normalize_word, unimed_f1, unimed_iou


def record(text: str | None, *references: str, question_type: str = "open", **fields: object) -> Record:
    return Record(id="r", text=text, references=references, question_type=question_type, **fields)  # type: ignore[arg-type]


def closed(text: str | None, truth: str) -> Record:
    return record(text, truth, question_type="closed", choices=("yes", "no"))


def measures(
    protocol: str, *records: Record, question_type: str = "all", **options: object
) -> dict[str, Measure]:
    found = score(records, find_protocol(protocol), MetricOptions(**options))  # type: ignore[arg-type]
    return {
        item.measure.name: item.measure
        for item in found
        if item.question_type == question_type and item.form is not None
    }


def values(protocol: str, *records: Record, **options: object) -> dict[str, float]:
    return {name: found.value for name, found in measures(protocol, *records, **options).items()}


def test_every_protocol_of_a_task_is_known() -> None:
    assert {task.protocol for task in TASKS.values()} <= set(PROTOCOLS)
    assert find_protocol("strict").quirks == ()
    assert all(protocol.quirks for name, protocol in PROTOCOLS.items() if name not in ("strict", "reader"))
    with pytest.raises(UserError, match="did you mean 'medevalkit'"):
        find_protocol("medevalkits")


# strict


def test_strict_counts_every_record() -> None:
    found = measures(
        "strict", closed("yes", "yes"), closed(None, "no"), closed("", "no"), closed("normal nodule", "no")
    )
    assert (found["accuracy"].value, len(found["accuracy"].scored), found["accuracy"].total) == (0.25, 4, 4)


def test_groups_never_mix_forms_languages_or_types() -> None:
    records = [
        record("x", "x", question_type="open_a"), record("x", "y", question_type="open_b"),
        record("是", "是", question_type="closed", choices=("是", "否"), language="zh"),
    ]  # fmt: skip
    groups = {(item.group, item.measure.name): item for item in score(records, find_protocol("strict"))}
    assert groups["open", "token_f1"].measure.value == 0.5
    assert groups["open/open_a", "token_f1"].measure.value == 1 and groups[
        "open/open_b", "token_f1"
    ].places == (1,)
    assert groups["closed zh", "accuracy"].places == (2,)


def test_a_closed_question_without_known_choices_is_right_only_as_a_whole() -> None:
    answers = (
        record("Left.", "left", question_type="closed"),
        record("left or right", "left", question_type="closed"),
    )
    assert values("strict", *answers)["accuracy"] == 0.5


def test_punctuation_does_not_count_in_strict_and_another_tokenizer_says_so() -> None:
    answer = record("Left lung.", "left lung")
    assert values("strict", answer)["bleu-1"] == 1.0
    found = measures("strict", answer, tokenizer="13a")["bleu-1"]
    assert found.value == pytest.approx(1 / 3) and found.note == "13a"
    assert values("strict", record("右肺上叶。", "右肺上叶"))["bleu-1"] == 1.0


# unimed


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The left lung.", "left lung"), ("two nodules", "2 nodules"), ("None", "0"), ("left-lung", "left lung"),
        ("left -lung", "left lung"), ("3,000 mm-wide", "3000 mmwide"), ("isnt", "isn't"), ("1.5 cm", "1.5 cm"),
        ("5. lobe", "5 lobe"), ("couldnt've", "couldn't've"), ("a b, c", "b c"),
    ],
)  # fmt: skip
def test_unimed_normalises_as_the_vqa_challenge(text: str, normalised: str) -> None:
    assert normalize_word(text) == normalised


def test_unimed_removes_thirty_two_full_stops_only() -> None:
    assert normalize_word(" ".join(["x."] * 40)) == " ".join(["x"] * 32 + ["x."] * 8)


def test_unimed_finds_no_in_normal() -> None:
    answer = closed("A normal lung", "no")
    assert values("unimed", answer)["accuracy"] == 1.0
    assert values("strict", answer)["accuracy"] == 0.0


def test_unimed_scores_questions_by_sentence_bleu_of_normalised_words() -> None:
    found = score(
        [record("The left lung.", "left lung"), closed("no", "yes"), report("x", {})], find_protocol("unimed")
    )
    together = next(item for item in found if item.form is None and item.measure.name == "bleu-1")
    assert (together.measure.value, together.places, together.measure.total) == (0.5, (0, 1), 3)
    assert values("unimed", record("The left lung.", "left lung"))["bleu-1"] == 1.0
    # 1 of 2 words; the answer is shorter than the truth by one word: exp(1 - 3/2)
    assert values("unimed", record("left heart", "left upper lung"))["bleu-1"] == pytest.approx(
        0.5 * 2.718281828**-0.5
    )


def test_unimed_f1_counts_repeated_words_as_hits() -> None:
    assert unimed_f1("lung lung lung", "lung") == 1.0  # a fair F1 is 0.5
    assert unimed_f1("left lung lung", "right lung") == pytest.approx(2 * (2 / 3) * (2 / 3) / (4 / 3))
    assert unimed_f1("", "lung") == 0.0


def test_unimed_drops_reports_with_an_empty_side() -> None:
    found = measures(
        "unimed",
        record("No effusion.", "No effusion", question_type="report"),
        record("", "A nodule", question_type="report"),
    )
    assert (len(found["bleu-1"].scored), found["bleu-1"].total) == (1, 2)
    assert found["bleu-1"].value == pytest.approx(1.0)
    strict = measures(
        "strict",
        record("No effusion.", "No effusion", question_type="report"),
        record("", "A nodule", question_type="report"),
    )
    assert len(strict["bleu-1"].scored) == 2 and strict["bleu-1"].value < 0.8


def test_unimed_adds_a_pixel_to_boxes() -> None:
    # truth: pixels 10 to 20; answer 10 to 15 of 100 pixels: 6 x 11 over 11 x 11 with one pixel added, not 5/10
    assert unimed_iou("{<10><10><15><20>}", (10, 10, 20, 20), (100, 100)) == pytest.approx(66 / 121)
    assert (
        unimed_iou("It is {<10><10><20><20>}", (10, 10, 20, 20), (100, 100)) == 0.0
    )  # must begin with the box
    assert unimed_iou("{<10> <10><20><20>} <unk>", (10, 10, 20, 20), (100, 100)) == 1.0
    half = record(
        "{<10><10><15><20>}",
        "{<10><10><20><20>}",
        question_type="refer",
        box=(10, 10, 20, 20),
        image_size=(100, 100),
    )
    assert values("unimed", half)["acc@0.5"] == 1.0  # 0.545
    assert values("strict", half)["iou"] == pytest.approx(0.5)


def test_unimed_classes_are_compared_whole() -> None:
    answer = record(
        "It is the melanoma", "melanoma", question_type="class_derma", choices=("melanoma", "mole")
    )
    assert values("unimed", answer)["accuracy"] == 0.0
    assert values("strict", answer)["accuracy"] == 1.0


# medmvl-ctrate


def ct_choice(text: str, reference: str = "(b) left lung") -> Record:
    return record(text, reference, "left lung", question_type="choice", choices=("right lung", "left lung"))


def test_ctrate_choices_are_substrings_and_some_are_skipped() -> None:
    everything = ct_choice("(a) right lung (b) left lung")
    found = measures("medmvl-ctrate", everything, ct_choice("left lung"), ct_choice("b", "left lung"))
    assert (
        found["accuracy"].value == 0.5 and len(found["accuracy"].scored) == 2 and found["accuracy"].total == 3
    )
    assert values("strict", everything)["accuracy"] == 0.0
    assert values("strict", ct_choice("left lung"))["accuracy"] == 1.0


def test_ctrate_averages_samples() -> None:
    found = measures("medmvl-ctrate", record("a b c d", "a b c d"), record("a x", "a b"), record("", "a b"))
    assert found["bleu-1"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["bleu-1"].tally.corpus() != pytest.approx(found["bleu-1"].value)
    assert found["bleu-2"].value == pytest.approx(1 / 3)  # no smoothing: one order without a match is 0
    assert values("medmvl-ctrate", record("No Nodule", "no nodule"))["bleu-1"] == 0.0  # case counts


# m3d, 3d-rad


def test_m3d_wants_letter_and_full_stop() -> None:
    def answer(text: str) -> Record:
        return record(
            text, "B. left", "B", "left", question_type="choice_organ", choices=("A", "B", "C", "D")
        )

    assert values("m3d", answer("A. B. C. D."))["accuracy"] == 1.0
    assert values("strict", answer("A. B. C. D."))["accuracy"] == 0.0
    assert values("m3d", answer("B"))["accuracy"] == 0.0
    assert values("strict", answer("B"))["accuracy"] == 1.0


def test_m3d_divides_by_the_enclosing_box_and_counts_no_box_as_minus_one() -> None:
    assert enclosing_overlap((0, 0, 0, 1, 1, 2), (0, 0, 1, 1, 1, 3)) == pytest.approx(1 / 3)
    assert enclosing_overlap((0, 0, 0, 1, 1, 1), (0, 1, 0, 1, 2, 1)) == 0
    a, b = (0.0, 0.0, 0.0, 0.2, 0.2, 0.2), (0.1, 0.1, 0.1, 0.4, 0.3, 0.2)
    assert enclosing_overlap(a, b) == pytest.approx(
        0.001 / (0.4 * 0.3 * 0.2)
    )  # the true IoU is 0.001 / 0.013
    truth = "[0.1, 0.1, 0.1, 0.5, 0.5, 0.5]"
    found = values(
        "m3d",
        record(truth, truth, question_type="refer"),
        record("I cannot tell", truth, question_type="refer"),
    )
    assert found == {"iou": 0.0, "acc@0.25": 0.5}
    strict = values(
        "strict",
        record(truth, truth, question_type="refer"),
        record("I cannot tell", truth, question_type="refer"),
    )
    assert strict["iou"] == 0.5


def test_3d_rad_skips_empty_answers() -> None:
    answers = record("left lung", "left lung"), record(" ", "left lung")
    assert values("m3d", *answers)["bleu-1"] == 0.5
    found = measures("3d-rad", *answers)["bleu-1"]
    assert found.value == 1.0 and (len(found.scored), found.total) == (1, 2)


# ctchat


def test_ctchat_drops_missing_answers_and_pools_everything() -> None:
    records = record("left lung", "left lung"), record(None, "left lung"), closed("no", "no")
    found = score(records, find_protocol("ctchat"))
    pooled = next(item for item in found if item.form is None and item.measure.name == "bleu-1")
    assert pooled.places == (0, 2) and pooled.measure.total == 3
    assert pooled.measure.value == pytest.approx(1.0)
    opened = next(item for item in found if item.form == "open" and item.measure.name == "bleu-1")
    assert (len(opened.measure.scored), opened.measure.total) == (1, 2)


def test_ctchat_reads_choices_of_one_line_as_text_and_keeps_case_and_punctuation() -> None:
    found = measures("ctchat", ct_choice("(b) left lung<|eot_id|>"), ct_choice("x", "(b)\nleft lung"))
    assert found["rouge-l"].value == 1.0 and (len(found["rouge-l"].scored), found["rouge-l"].total) == (1, 2)
    assert values("ctchat", record("Left lung.", "left lung"))["rouge-l"] == 0.0


# medevalkit


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("No.", "no", True), ("The lung is normal", "no", True), ("a nodule", "no", True), ("yes, not small", "yes", False),
        ("<answer>yes</answer> no", "yes", True), (r"\boxed{no}", "no", True), ("yes? the answer is no", "no", True),
        ("left lung", "left lung", True), ("The left lung", "left lung", False), ("Left\nlung.", "leftlung", True),
    ],
)  # fmt: skip
def test_medevalkit_looks_for_substrings(answer: str, truth: str, right: bool) -> None:
    assert closed_right(answer, truth) is right


def test_medevalkit_calls_the_recall_f1() -> None:
    assert set_overlap("left lung lung nodule", "left lung") == pytest.approx((2 / 3, 1.0, 0.8))
    found = values("medevalkit", record("left lung lung nodule", "left lung"))
    assert (found["precision"], found["recall"], found["token_f1"]) == pytest.approx((0.8, 2 / 3, 1.0))
    assert values("strict", record("left lung lung nodule", "left lung"))["token_f1"] < 0.8


def test_medevalkit_never_abstains() -> None:
    options = ("right lung", "left lung", "heart")
    assert choice_right("B", options, "B") and choice_right("b. left lung", options, "B")
    assert choice_right("left lung", options, "B") and not choice_right("A", options, "B")
    assert choice_right("leftlung", options, "B")  # the most similar option
    unreadable = ct_choice("leftlung")
    assert values("medevalkit", unreadable)["accuracy"] == 1.0
    assert values("strict", unreadable)["accuracy"] == 0.0
    assert parse_response("So the Answer is: Final answer: left") == " left"


def test_medevalkit_leaves_empty_reports_out_of_cider_only() -> None:
    found = measures(
        "medevalkit", record("no effusion", "no effusion", question_type="report"),
        record("", "a nodule", question_type="report"), record("a nodule", "a mass", question_type="report"),
    )  # fmt: skip
    assert (len(found["cider"].scored), len(found["rouge-l"].scored)) == (2, 3)


def test_medevalkit_total_is_exact_match_and_closed_together() -> None:
    found = score(
        [record("left", "left"), closed("normal", "no"), record("x", "y")], find_protocol("medevalkit")
    )
    total = next(item.measure for item in found if item.form is None)
    assert total.value == pytest.approx(2 / 3)


# vlm3d


def report(text: str | None, labels: dict[str, float]) -> Record:
    from medmvl.tasks.labelers import CT_RATE_FINDINGS

    every = {rule.name: 0.0 for rule in CT_RATE_FINDINGS} | labels
    return record(text, "There is a nodule .\nNo effusion .", question_type="report", labels=every)


def test_vlm3d_means_over_all_18_and_forgives_missing_texts() -> None:
    found = measures(
        "vlm3d",
        report("There is a nodule.No effusion.", {"Lung nodule": 1.0}),
        report(None, {"Lung nodule": 1.0}),
    )
    assert len(found["finding_f1"].scored) == 2 and len(found["bleu-4"].scored) == 1
    assert found["f1 Lung nodule"].value == pytest.approx(2 / 3)
    assert found["finding_f1"].value == pytest.approx(2 / 3 / 18)  # 17 labels never occur and count 0
    assert found["bleu-4"].value == pytest.approx(1.0)
    assert found["bleu-mean"].value == pytest.approx(1.0)
    strict = measures(
        "strict",
        report("There is a nodule.No effusion.", {"Lung nodule": 1.0}),
        report(None, {"Lung nodule": 1.0}),
    )
    assert strict["finding_f1"].value == pytest.approx(2 / 3) and len(strict["bleu-4"].scored) == 2


def test_a_protocol_says_what_it_has_no_rule_for() -> None:
    assert unscored([record("x", "y"), report("x", {})], find_protocol("vlm3d")) == {"open": 1}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_missing_answers_alone_are_scored_or_left_out_without_failing(name: str) -> None:
    options = MetricOptions(labeler="ct-rate")
    records = [
        record(None, "No effusion.", question_type="report"), record(None, "x"), closed(None, "no"),
        record(None, "B", question_type="choice", choices=("A", "B"), question="Where? A. left B. right"),
    ]  # fmt: skip
    found = score(records, find_protocol(name), options)
    assert found
    for item in found:
        assert len(item.places) == len(item.measure.tally) <= item.measure.total
        assert item.measure.value == 0 or math.isnan(
            item.measure.value
        )  # NaN: nothing was scored, or no finding is true


def test_judging_texts_imports_no_torch() -> None:
    script = """
import sys
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import PROTOCOLS
from medmvl.tasks.protocols.scoring import score
records = [Record("1", "a nodule", ("a nodule",), question_type="report"), Record("2", "a", ("a",))]
for protocol in PROTOCOLS.values():
    assert score(records, protocol), protocol.name
print({"torch", "transformers"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr
