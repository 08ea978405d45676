"""The reader compares numbers by what they mean: words or digits, any unit, bounds, ranges, shares, scores and grades."""

import pytest

from medmvl.tasks.judge import read_answer

SIZE, DENSITY, COUNT = (
    "What is the size of the nodule?",
    "What is its attenuation?",
    "How many nodules are there?",
)
VOLUME, SHARE, AGE = (
    "What is the volume of the effusion?",
    "What percentage of the lung is it?",
    "How old is the patient?",
)
SCORE, PLACE = "What is the score?", "Where is the fracture?"
SAME = [
    (SIZE, "fifteen millimetres", "15 mm"), (SIZE, "twenty-five mm", "2.5 cm"), (SIZE, "1 cm 5 mm", "15 mm"),
    (SIZE, "half a centimeter", "5 mm"), (SIZE, "one and a half cm", "1.5 cm"), (SIZE, "1 and 1/2 cm", "15 mm"),
    (SIZE, "three by four centimeters", "4 x 3 cm"), (SIZE, "1 inch", "2.5 cm"), (SIZE, "5 French", "5 Fr"),
    (SIZE, "二十毫米", "2 cm"), (SIZE, "三点五厘米", "3.5 cm"), (SIZE, "七八毫米", "7-8 mm"),
    (COUNT, "十七八个", "17-18"), (SIZE, "1.5 cm x 10 mm", "15 x 10 mm"),
    (SIZE, "under 5 mm", "<5 mm"), (SIZE, "5 mm or larger", "at least 5 mm"), (SIZE, "no larger than 5 mm", "≤ 5 mm"),
    (SIZE, "up to 5 mm", "5 mm"), (SIZE, "5毫米以下", "<5 mm"), (SIZE, "不足5毫米", "<5 mm"),
    (SIZE, "between 3 and 5 mm", "3-5mm"), (SIZE, "3 mm - 5 mm", "0.3 to 0.5 cm"), (SIZE, "3 mm to 1 cm", "3 to 10 mm"),
    ("How large is it in cm?", "1.2", "12 mm"),
    (DENSITY, "minus fifty HU", "-50 HU"), (DENSITY, "negative 50 HU", "-50 HU"), (DENSITY, "fifty HU", "50 HU"),
    ("What is the Hounsfield value?", "-100", "-100 HU"), ("What is the tube voltage?", "120 kV", "120 kVp"),
    (VOLUME, "half a liter", "500 mL"), (VOLUME, "500 cm³", "500 ml"), (VOLUME, "500 cubic centimeters", "0.5 l"),
    (SHARE, "half", "50%"), (SHARE, "two thirds", "66%"), (SHARE, "0.5", "50 %"), (SHARE, "百分之五十", "50%"),
    (COUNT, "thirteen", "13"), (COUNT, "a dozen", "12"), (COUNT, "十二个", "12"), (COUNT, "a pair", "2"),
    (COUNT, "single", "1"), (COUNT, "none", "0"), (COUNT, "zero", "no nodules"),
    (AGE, "45 years", "45-year-old"), (AGE, "18 months", "1.5 years"), (AGE, "forty-five years old", "45 yrs"),
    (AGE, "1 year and 6 months", "18 months"), (AGE, "四十五岁", "45岁"),
    (SCORE, "3+4", "3+4=7"), (SCORE, "2 out of 5", "2/5"), (SCORE, "about 400", "400"), (SCORE, "SUV 5.2", "5.2"),
    ("What is the BI-RADS category?", "4", "BI-RADS 4"), ("What grade?", "grade II", "2"), ("What stage?", "IIIa", "3A"),
    ("What is the field strength?", "3 Tesla", "3T"), ("What is the pressure gradient?", "40 mmHg", "40 mm Hg"),
    ("What is the peak velocity?", "150 cm/s", "1.5 m/s"), ("What is the temperature?", "38.5 °C", "38.5 degrees Celsius"),
    (PLACE, "L4/5", "L4-L5"), (PLACE, "T8-10", "T8 to T10"), (PLACE, "the twelfth thoracic vertebra", "T12"),
    ("Which rib?", "6th rib", "the sixth rib"),
]  # fmt: skip
OTHER = [
    (SIZE, "twenty-five mm", "5 mm"), (SIZE, "1 cm 5 mm", "5 mm"), (SIZE, "under 5 mm", "5 mm"), (SIZE, "7 m", "7 mm"),
    (SIZE, "up to 23 mm", "up to 4 mm"), (SIZE, "三点五厘米", "5 cm"), (SIZE, "2.3 x 1.5 cm", "2.3 cm x 1 mm"),
    ("How large is it in mm?", "1.2", "12 mm"), (DENSITY, "negative 50 HU", "50 HU"), (VOLUME, "500 mm³", "500 ml"),
    ("What is the peak velocity?", "150 cm/s", "150 cm"), ("What is the pressure gradient?", "40 mmHg", "40 mm"),
    (COUNT, "十二个", "2"), (COUNT, "10", "11"), (COUNT, "2", "no nodules"), (COUNT, "a pair", "3"),
    (AGE, "6 weeks", "6 months"), (AGE, "70 years", "65 years"), ("When was the surgery?", "2019", "2018"),
    (SCORE, "4+3", "3+4"), (SCORE, "b=500", "b=1000"), ("What grade?", "Grade III", "grade 2"),
    ("What is the BI-RADS category?", "4a", "4b"), ("What is the BI-RADS category?", "4", "4b"),
    ("What is the tube voltage?", "120 kV", "110 kVp"), ("What is the dose?", "5 mSv", "5 Sv"),
    (PLACE, "L4-5", "L5-S1"), (PLACE, "station 4R", "station 4L"), ("Which rib?", "6th rib", "seventh rib"),
    ("What is the slice thickness?", "1.25", "1.25 mm"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "reference"), SAME)
def test_one_number_in_two_spellings(question: str, answer: str, reference: str) -> None:
    assert read_answer(question, answer, reference).verdict == "right"
    assert read_answer(question, reference, answer).verdict == "right"


@pytest.mark.parametrize(("question", "answer", "reference"), OTHER)
def test_another_number(question: str, answer: str, reference: str) -> None:
    assert read_answer(question, answer, reference).verdict != "right"


def test_a_place_may_be_added_to_the_number_that_was_asked_for() -> None:
    assert read_answer(SIZE, "It measures 3 cm in the left lower lobe", "3 cm").verdict == "right"


def test_a_number_without_its_unit_is_partly_right() -> None:
    assert read_answer("What is the slice thickness?", "1.25", "1.25 mm").verdict == "partly"
    assert read_answer("What is the slice thickness?", "1.5", "1.25 mm").verdict == "wrong"
