"""Wordings of one kind are read alike: denials, hedges, values in other units, results, thoughts of other models."""

import pytest

from medmvl.schema.reasoning import without_reasoning
from medmvl.tasks.answers import find_choice, find_polarity
from medmvl.tasks.judge import read_answer
from medmvl.tasks.metrics.text import normalise

LETTERS = ("A", "B", "C", "D")
FINDINGS = ("cardiomegaly", "pneumonia")
SIZES = ("<5 mm", "≥5 mm")


@pytest.mark.parametrize(
    "denial",
    [
        "far from {}", "hardly {}", "It ain't {}", "fails to show {}", "failed to demonstrate {}", "free from {}",
        "devoid of {}", "{} resolved", "{} has resolved", "{} disappeared", "{}: negative", "{}: absent", "{} (-)", "{} -",
        "arguing: evidence against {}", "argues against {}", "doubtful {}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("denied", FINDINGS)
def test_every_denial_denies(denial: str, denied: str) -> None:
    other = next(finding for finding in FINDINGS if finding != denied)
    assert find_choice(denial.format(denied), FINDINGS) is None
    assert find_choice(f"{denial.format(denied)}. {other.capitalize()}: positive.", FINDINGS) == other


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("It could be A, but more likely C.", "C"),
        ("A is more likely than B.", "A"),
        ("Possibly B; most likely D", "D"),
        ("A is the most likely diagnosis given B.", "A"),
        ("Eliminating A, B and D leaves C.", "C"),
        ("I reject A and B, leaving D.", "D"),
        ("The answer is A? No. The answer is B.", "B"),
        ("Is C correct? No: B.", "B"),
        ("analysisWe weigh A and B.assistantfinalB", "B"),
        ("analysisA or B, still thinking", None),
        ("commentaryLet me see: A.assistantfinal The answer is D", "D"),
        ("The analysis favours C", "C"),
    ],
)
def test_the_letter_that_is_settled_on(answer: str, letter: str | None) -> None:
    assert find_choice(answer, LETTERS) == letter


@pytest.mark.parametrize(
    ("answer", "choices", "said"),
    [
        ("3 cm", ("30 mm", "3 mm"), "30 mm"),
        ("It measures 15 mm.", ("1.5 cm", "15 cm"), "1.5 cm"),
        ("5 毫米", ("5 mm", "5 cm"), "5 mm"),
        ("-40 HU", ("40 HU", "-40 HU"), "-40 HU"),
        ("5 mm or more", SIZES, "≥5 mm"),
        ("5 mm or larger", SIZES, "≥5 mm"),
        ("0.5 cm or less", ("≤5 mm", ">5 mm"), "≤5 mm"),
        ("5mm以上", SIZES, "≥5 mm"),
        ("it exceeds 3 cm", ("≤ 3 cm", "> 3 cm"), "> 3 cm"),
        ("between 3 and 5 mm", ("3-5 mm", "5-8 mm"), "3-5 mm"),
        ("from 3 mm to 5 mm", ("3-5 mm", "5-8 mm"), "3-5 mm"),
        ("three nodules", ("1", "2", "3", "4"), "3"),
        ("三个", ("1", "2", "3", "4"), "3"),
        ("两个结节", ("1", "2", "3", "4"), "2"),
        ("Two", ("One", "Two", "Three"), "Two"),
        ("Grade II", ("Grade 1", "Grade 2"), "Grade 2"),
        ("stage 4", ("Stage I", "Stage IV"), "Stage IV"),
        ("4 mm", ("<5 mm", ">5 mm"), "<5 mm"),
        ("5 mm", ("<5 mm", ">5 mm"), None),
        ("4 mm", ("<5 mm", "<6 mm", ">6 mm"), None),
        ("6 mm", ("<6 mm", "6-8 mm", ">8 mm"), "6-8 mm"),
        ("seven", ("0-2", "3-5", "more than 5"), "more than 5"),
        ("The patient is 63 years old", ("<40", "40-60", ">60"), ">60"),
        ("Minus fifty HU", ("-50 HU", "50 HU", "100 HU"), "-50 HU"),
        ("negative 50 HU", ("-50 HU", "50 HU", "100 HU"), "-50 HU"),
        ("twenty-five mm", ("5 mm", "20 mm", "25 mm"), "25 mm"),
        ("1 cm 5 mm", ("5 mm", "10 mm", "15 mm"), "15 mm"),
        ("十二个", ("2", "10", "12"), "12"),
        ("三点五厘米", ("3 cm", "5 cm", "3.5 cm"), "3.5 cm"),
        ("half a liter", ("50 ml", "500 ml", "5 L"), "500 ml"),
        ("one third", ("33%", "66%", "50%"), "33%"),
        ("0.5", ("25%", "50%", "75%"), "50%"),
        ("a pair", ("1", "2", "3"), "2"),
        ("no nodules", ("0", "1", "2"), "0"),
        ("No idea.", ("0", "1", "2"), None),
        ("无法判断", ("0", "1", "2"), None),
        ("fourteen days", ("1 week", "2 weeks", "1 month"), "2 weeks"),
        ("5 French", ("5 Fr", "7 Fr"), "5 Fr"),
        ("4", ("BI-RADS 3", "BI-RADS 4"), "BI-RADS 4"),
        ("II", ("Grade I", "Grade II", "Grade III"), "Grade II"),
        ("IIIa", ("Stage IIIA", "Stage IIIB"), "Stage IIIA"),
        ("4R", ("station 4L", "station 4R", "station 7"), "station 4R"),
        ("L4/L5", ("L4-5", "L5-S1"), "L4-5"),
        ("the twelfth thoracic vertebra", ("T11", "T12", "L1"), "T12"),
        ("left", ("left lung", "right lung"), "left lung"),
        ("3 mm and 5 mm", ("3 cm", "5 cm"), None),
        ("3", ("3 mm", "3 cm"), None),
        ("一般", ("1", "2"), None),
        ("not 3 cm", ("3 cm", "5 cm"), None),
    ],
)
def test_a_value_names_its_choice_in_any_unit(
    answer: str, choices: tuple[str, ...], said: str | None
) -> None:
    assert find_choice(answer, choices) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Absolutely not", False),
        ("Not really.", False),
        ("Of course not", False),
        ("Probably not", False),
        ("It is probably not a nodule.", False),
        ("Not likely", False),
        ("not very likely", False),
        ("Not that I can see", False),
        ("I believe so", True),
        ("neg.", False),
        ("pos", True),
        ("(-)", False),
        ("（－）", False),
        ("(+)", True),
        ("++", True),
        ("-", None),
        ("未必", None),
        ("不一定有", None),
    ],
)
def test_yes_and_no_in_passing_words(answer: str, said: bool | None) -> None:
    assert find_polarity(answer) is said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(+)", "(-)"), ("++", "+"), ("(++)", "(+)"), ("阳性(+)", "阳性(-)"), ("尿蛋白++", "尿蛋白+"), ("size ↑", "size ↓"),
        ("R>L", "R<L"), ("right > left", "left > right"), ("L＞R", "L＜R"), ("protein ++", "protein +"), ("≠5", "5"),
        ("!= 5", "5"), ("+/-5", "-5"), ("+/- 5", "5"),
    ],
)  # fmt: skip
def test_results_trends_and_comparisons_carry_meaning(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("+/-5", "±5"), ("R>L", "R > L"), ("(＋)", "(+)"), ("x -> y", "x y"), ("- item", "item")],
)
def test_spellings_of_signs_are_one(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_tags_compare_nothing() -> None:
    assert "<" not in normalise("one<br>two <b>three</b>")
    assert ">" not in normalise("one<br>two <b>three</b>")


def test_channels_whose_marks_are_lost_are_no_answer() -> None:
    assert without_reasoning("analysisWe see A.assistantfinalB") == "B"
    assert without_reasoning("analysis of the image shows B") == "analysis of the image shows B"


@pytest.mark.parametrize(
    ("question", "reference", "answer", "right"),
    [
        ("What is seen?", "pneumonia", "pneumonia is excluded", False),
        ("What is seen?", "pneumonia", "Pneumonia is absent.", False),
        ("What is seen?", "pneumonia", "pneumonia: negative", False),
        ("What is seen?", "pneumonia", "rules out pneumonia", False),
        ("What is seen?", "pleural effusion", "far from pleural effusion", False),
        ("病变是什么？", "肺炎", "肺炎可排除", False),
        ("病变是什么？", "肺炎", "肺炎不能排除", True),
        ("What is seen?", "pneumonia", "pneumonia cannot be excluded", True),
        ("What is seen?", "pneumonia is not seen", "no pneumonia", True),
        ("What is absent?", "pneumothorax", "pneumothorax is absent", True),
        ("Which is not seen?", "pneumothorax", "no pneumothorax", True),
        ("How large is it?", "3 cm", "30 mm", True),
        ("How large is it?", "3 cm", "not 3 cm", False),
    ],
)
def test_the_reader_takes_no_denied_claim_for_said(
    question: str, reference: str, answer: str, right: bool
) -> None:
    assert (read_answer(question, answer, reference).verdict == "right") is right
