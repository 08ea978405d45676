"""Which answer counts: after thoughts, in boxes, by letter or option, denied or decided, in English and Chinese."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.schema import Target
from medmvl.tasks import judge
from medmvl.tasks.answers import choose, find_choice, find_polarity, visible_answer, yes_no_choices
from medmvl.tasks.judge import judge_record
from medmvl.tasks.metrics import normalise
from medmvl.tasks.metrics.record import Record

LETTERS = ("A", "B", "C", "D")
NORMAL = ("normal", "abnormal")
CHINESE_NORMAL = ("正常", "异常")
YES_NO = ("yes", "no")
CHINESE_YES_NO = ("是", "否")
CONTRAST = ("contrast", "no contrast")
OPTIONS = ("A. Pneumothorax", "B. Pleural effusion", "C. Nodule", "D. Normal")
CASES = [
    *[
        (answer, LETTERS, said)
        for answer, said in [
            ("The answer is not A but B.", "B"),
            ("A is incorrect, B is incorrect, so C.", "C"),
            ("**B**", "B"),
            ("\\boxed{C}", "C"),
            ("$\\boxed{\\text{C}}$", "C"),
            ("Answer: (B)", "B"),
            ("(b)", "B"),
            ("b.", "B"),
            ("b) Something", "B"),
            ("Option b", "B"),
            ("The correct option is b", "B"),
            ("I think it is A. Actually, the answer is B.", "B"),
            ("The answer is A. Wait, no. The answer is B.", "B"),
            ("A or B", None),
            ("The answer is A or B.", None),
            ("Both A and B are correct", None),
            ("A and B are correct", None),
            ("B is correct", "B"),
            ("Option C is the best answer because A and B do not fit.", "C"),
            ("A is wrong because the heart is normal. B is wrong too. C fits, the answer is C", "C"),
            ("选B", "B"),
            ("答案：B", "B"),
            ("答案是 B。", "B"),
            ("故选D", "D"),
            ("不选A，选B", "B"),
            ("A错误，B正确", "B"),
            ("排除A和B，答案为C", "C"),
            ("正确答案不是A，而是D", "D"),
            ("A、B都不对，应该选C", "C"),
            ("最终答案：c", "C"),
            ("我认为是A或者B", None),
            ("<think>A", None),
            ("A</think>B", "B"),
            ("<thinking>maybe A</thinking> B", "B"),
            ("<think>x</think>", None),
            ("Final answer: D\n\nExplanation: A is wrong, B is too small, and C is not seen", "D"),
            ("**Final Answer:** **D**", "D"),
            ("### Answer\nD", "D"),
            ("Answer - D", "D"),
            ("I choose D.", "D"),
            ("It is D.", "D"),
            ("It's D", "D"),
            ("Not A, not B, not C, so D", "D"),
            ("A nodule, so C", "C"),
            ("a", "A"),
            ("A", "A"),
            ("The answer to the question is B.", "B"),
            ("A. nodule", "A"),
            ("I would go with C rather than B", "C"),
            ("I'd eliminate A and B. That leaves C and D. D is more likely; the answer is D", "D"),
            ("B: Pleural effusion", "B"),
            ("D (not A)", "D"),
            ("It isn't A", None),
            ('{"answer": "B"}', "B"),
            ("A: no. B: no. C: yes", "C"),
            ("Ｂ", "B"),
            ("The answer is **B**.", "B"),
            ("<answer>B</answer>", "B"),
            ("<answer>\nB. text\n</answer>", "B"),
            ("The answer: B", "B"),
            ("My answer is B", "B"),
            ("Therefore, the correct answer is: B", "B"),
            ("The best choice would be C.", "C"),
            ("correct choice: C", "C"),
            ("Hepatitis B is unlikely. C", "C"),
            ("The answer is A because of the mass", "A"),
            ("The answer is a large mass", None),
            ("Let's see. A? No. B? Yes, B.", "B"),
            ("Option A is wrong; the answer is C", "C"),
            ("C, not D", "C"),
        ]
    ],
    *[
        (answer, NORMAL, said)
        for answer, said in [
            ("It is not normal.", None),
            ("Normal", "normal"),
            ("abnormal", "abnormal"),
            ("not abnormal", None),
            ("The image is abnormal, not normal", "abnormal"),
            ("no doubt it is normal", "normal"),
            ("It looks normal", "normal"),
            ("neither normal nor abnormal", None),
            ("rather abnormal than normal", None),
            ("abnormal rather than normal", "abnormal"),
            ("isn't normal", None),
            ("far from normal", None),
        ]
    ],
    *[
        (answer, CHINESE_NORMAL, said)
        for answer, said in [
            ("不太正常", None),
            ("不正常", None),
            ("正常", "正常"),
            ("非常正常", "正常"),
            ("没有异常", None),
            ("未见明显异常", None),
            ("异常", "异常"),
            ("不是正常，而是异常", "异常"),
            ("不能说正常", None),
            ("并非异常", None),
            ("正常，没有异常", "正常"),
        ]
    ],
    *[
        (answer, CONTRAST, said)
        for answer, said in [
            ("CT without contrast", "no contrast"),
            ("CT with contrast", "contrast"),
            ("No contrast", "no contrast"),
            ("no contrast was given", "no contrast"),
            ("contrast", "contrast"),
        ]
    ],
    *[
        (answer, ("contrast", "plain"), said)
        for answer, said in [
            ("CT without contrast", None),
            ("non-contrast", None),
        ]
    ],
    *[
        (answer, ("with contrast", "without contrast"), said)
        for answer, said in [
            ("CT without contrast", "without contrast"),
        ]
    ],
    *[
        (answer, ("cardiomegaly", "pneumonia", "effusion"), said)
        for answer, said in [
            ("There is no evidence of cardiomegaly or pneumonia, but there is effusion", "effusion"),
        ]
    ],
    *[
        (answer, ("pneumonia", "normal"), said)
        for answer, said in [
            ("Pneumonia cannot be excluded", "pneumonia"),
        ]
    ],
    *[
        (answer, ("肺炎", "正常"), said)
        for answer, said in [
            ("肺炎不除外", "肺炎"),
        ]
    ],
    *[
        (answer, ("左侧", "右侧"), said)
        for answer, said in [
            ("左侧没有，右侧有", "右侧"),
            ("左侧未见，右侧可见结节", "右侧"),
        ]
    ],
    *[
        (answer, ("<5 mm", ">5 mm"), said)
        for answer, said in [
            ("less than 5 mm", "<5 mm"),
            ("> 5 mm", ">5 mm"),
            ("小于5 mm", "<5 mm"),
        ]
    ],
    *[
        (answer, ("40 HU", "-40 HU"), said)
        for answer, said in [
            ("-40 HU", "-40 HU"),
        ]
    ],
    *[
        (answer, ("ER+", "ER-"), said)
        for answer, said in [
            ("ER+", "ER+"),
            ("ER-", "ER-"),
            ("ER negative", "ER-"),
        ]
    ],
    *[
        (answer, OPTIONS, said)
        for answer, said in [
            ("B", "B. Pleural effusion"),
            ("B. Pleural effusion", "B. Pleural effusion"),
            ("pleural effusion", "B. Pleural effusion"),
            ("b", "B. Pleural effusion"),
            ("The answer is pleural effusion.", "B. Pleural effusion"),
            ("not normal", None),
            ("A or B", None),
            ("Pneumothorax, pleural effusion", None),
            ("No pneumothorax; there's a nodule", "C. Nodule"),
            ("(C)", "C. Nodule"),
            ("C. Pleural effusion", None),
        ]
    ],
    *[
        (answer, YES_NO, said)
        for answer, said in [
            ("Yes.", "yes"),
            ("No", "no"),
            ("no nodule is seen", "no"),
            ("There is no nodule", "no"),
            ("There is a nodule", "yes"),
            ("not seen", "no"),
            ("Negative", "no"),
            ("Positive", "yes"),
            ("It is not present", "no"),
            ("cannot be excluded", "yes"),
            ("I can't rule it out.", "yes"),
            ("without a doubt", "yes"),
            ("There's an effusion.", "yes"),
            ("Yes, no doubt", "yes"),
            ("No. There is a nodule in neither lung", "no"),
            ("I thought yes, but the answer is no", "no"),
            ("yes and no", None),
            ("Yes or no", None),
            ("I don't know", None),
            ("The answer is yes", "yes"),
            ("no evidence of effusion", "no"),
            ("absent", "no"),
            ("None", "no"),
            ("nope", "no"),
            ("True", "yes"),
            ("False", "no"),
            ("not absent", "yes"),
            ("It is not negative", "yes"),
            ("No, it is normal.", "no"),
            ("Yes, but not on the left", "yes"),
            ("Nodule", None),
            ("normal", None),
            ("N", "no"),
            ("the lungs are without nodules", "no"),
            ("is unlikely", "no"),
            ("Final answer: No", "no"),
            ("Unable to determine", None),
            ("no no", "no"),
            ("yes yes", "yes"),
            ("没有", "no"),
            ("有", "yes"),
            ("<think>no</think>yes", "yes"),
            ("It does not show any effusion", "no"),
            ("\\boxed{No}", "no"),
            ("not visible on this slice", "no"),
            ("A small effusion is visible.", "yes"),
        ]
    ],
    *[
        (answer, CHINESE_YES_NO, said)
        for answer, said in [
            ("不是", "否"),
            ("没有", "否"),
            ("无", "否"),
            ("对", "是"),
            ("是的", "是"),
            ("未见", "否"),
            ("未见结节", "否"),
            ("錯", "否"),
            ("錯誤", "否"),
            ("無", "否"),
            ("沒有", "否"),
            ("有", "是"),
            ("存在", "是"),
            ("不存在", "否"),
            ("不除外", "是"),
            ("不能排除", "是"),
            ("肺炎不能排除", "是"),
            ("不清楚", None),
            ("不能确定", None),
            ("难以评估", None),
            ("有，没有", None),
            ("是的，未见异常", "是"),
            ("否，未见", "否"),
            ("答案是否", "否"),
            ("答案是：是", "是"),
            ("没错", "是"),
            ("可见结节", "是"),
            ("图中有结节", "是"),
            ("图中没有结节", "否"),
            ("没有发现结节", "否"),
            ("No", "否"),
            ("Yes", "是"),
            ("并非没有", "是"),
            ("不是没有", "是"),
            ("无法判断", None),
            ("肺内未见明显结节影", "否"),
            ("右肺可见结节", "是"),
            ("不", "否"),
            ("对的", "是"),
            ("不对", "否"),
            ("阴性", "否"),
            ("我认为不是", "否"),
            ("最终答案：否", "否"),
            ("没有，图像显示正常", "否"),
            ("否定", "否"),
            ("非", "否"),
        ]
    ],
    *[
        (answer, ("有", "没有"), said)
        for answer, said in [
            ("没有结节", "没有"),
            ("无", "没有"),
        ]
    ],
]


@pytest.mark.parametrize(("answer", "choices", "said"), CASES)
def test_the_answer_that_counts(answer: str, choices: tuple[str, ...], said: str | None) -> None:
    assert find_choice(answer, choices) == said


def choice(answer: str, reference: str, choices: tuple[str, ...], question: str = "Which?") -> float:
    record = Record(
        id="r",
        text=answer,
        references=(reference,),
        choices=choices,
        question_type="choice",
        question=question,
    )
    return judge_record(record).score


FINDINGS = ("Pneumothorax", "Pleural effusion", "Nodule", "Normal")
LETTERED = "What is seen? (A) Pneumothorax (B) Pleural effusion (C) Nodule (D) Normal"


@pytest.mark.parametrize(
    "reference", ["B", "b", "(B)", "B.", "Pleural effusion", "B. Pleural effusion", "B: pleural effusion"]
)
@pytest.mark.parametrize("choices", [FINDINGS, OPTIONS, LETTERS])
def test_letter_and_option_stand_for_each_other(reference: str, choices: tuple[str, ...]) -> None:
    question = LETTERED if choices == LETTERS else "What is seen?"
    for said in (
        "B",
        "b",
        "(B)",
        "B. Pleural effusion",
        "pleural effusion",
        "The answer is pleural effusion.",
        "选B",
    ):
        assert choice(said, reference, choices, question) == 1.0, said
    for said in (
        "A",
        "Nodule",
        "A. Pneumothorax",
        "A or B",
        "not B",
        "no pleural effusion",
        "",
        "B and C are correct",
    ):
        assert choice(said, reference, choices, question) == 0.0, said


WRAPPINGS = (
    "{}", "**{}**", "The answer is {}.", "<think>{other}? Perhaps {other}.</think>{}", "\\boxed{{{}}}", "({})",
    "{other} is wrong, so the answer is {}.", "Final answer: {}\nBecause {other} does not fit.", "<answer>{}</answer>",
    "Not {other}. I choose {}.", "选项{other}不对，正确答案是{}。", "答案：{}", "故选{}", "排除{other}，选{}",
    "{} is correct, {other} is not.",
    "{other} looks plausible at first. The correct option is {}.",
    "Option {other} is ruled out. Therefore {}.",
)  # fmt: skip


@given(st.sampled_from(WRAPPINGS), st.permutations(LETTERS), st.booleans())
def test_every_way_of_announcing_a_letter_is_read(wrapping: str, order: list[str], lower: bool) -> None:
    letter, other = order[:2]
    said = (
        letter.lower() if lower and wrapping != "{}" and not wrapping.startswith(("{} is", "Not")) else letter
    )
    assert find_choice(wrapping.format(said, other=other), LETTERS) == letter


DENIALS = (
    "not {}",
    "no {}",
    "There is no evidence of {}.",
    "It isn't {}",
    "{} is excluded",
    "{} is ruled out",
    "{} is unlikely",
    "without {}",
)


@given(st.sampled_from(DENIALS), st.sampled_from(FINDINGS[:3]), st.sampled_from(FINDINGS[:3]))
def test_what_is_denied_is_not_named(denial: str, denied: str, named: str) -> None:
    text = denial.format(denied.lower())
    assert find_choice(text, FINDINGS) is None
    expected = None if denied == named else named
    assert find_choice(f"{text}. There is {named.lower()}.", FINDINGS) == (expected or named)


@pytest.mark.parametrize(
    "choices",
    [("yes", "no"), ("是", "否"), ("有", "没有"), ("对", "错"), ("Positive", "Negative"), ("有", "無")],
)
@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Yes", True),
        ("是的", True),
        ("有", True),
        ("Negative", False),
        ("not seen", False),
        ("否", False),
        ("錯", False),
        ("無", False),
        ("未见", False),
        ("无", False),
    ],
)
def test_yes_and_no_are_one_vocabulary(said: str, value: bool, choices: tuple[str, str]) -> None:
    for reference in choices:
        right = (reference == choices[0]) == value
        assert (
            judge(said, Target(question_type="closed", answers=(reference,), choices=choices)).score == right
        )


@pytest.mark.parametrize(
    ("answer", "question", "closed"),
    [
        ("No", "", True),
        ("否", "", True),
        ("不是", "", True),
        ("没有", "", True),
        ("无", "", True),
        ("未见", "", True),
        ("錯", "", True),
        ("無", "", True),
        ("Negative", "", True),
        ("not seen", "", True),
        ("Yes.", "What is it?", True),
        ("无", "有什么异常？", False),
        ("right", "On which side?", False),
        ("right", "", False),
        ("none", "What is abnormal?", False),
        ("nodule", "", False),
    ],
)
def test_what_closes_a_question(answer: str, question: str, closed: bool) -> None:
    assert bool(yes_no_choices(answer, question)) == closed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-40 HU", "40 HU"),
        ("−40 HU", "40 HU"),
        ("<5 mm", ">5 mm"),
        ("< 5 mm", "5 mm"),
        ("≤ 3 cm", "> 3 cm"),
        ("<= 3 cm", "< 3 cm"),
        ("1.5 cm", "15 cm"),
        ("1.5 cm", "1 5 cm"),
        ("ER+", "ER-"),
        ("HER2 (+)", "HER2 (-)"),
        ("PR+", "PR"),
        ("5 µg", "5 mg"),
        ("5 μm", "5 mm"),
        ("50%", "50"),
        (".5", "5"),
        ("±5", "5"),
        ("10³", "103"),
        ("3-5 mm", "35 mm"),
        ("负40", "40"),
        ("&lt;5", "&gt;5"),
        ("≥2个", "≤2个"),
        ("CD4+", "CD4-"),
        ("minus 40", "40"),
    ],
)
def test_signs_carry_meaning(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert judge(one, Target(question_type="size", answers=(other,))).exact is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("−40 HU", "-40HU"),
        ("<= 3 cm", "≤3 cm"),
        ("＜5 mm", "< 5mm"),
        ("ER (+)", "ER+"),
        ("5 µm", "5 μm"),
        ("1,500 mL", "1500 ml"),
        ("1,5 cm", "1.5 cm"),
        ("7,3 x 5,1 cm", "7.3 x 5.1 cm"),
        ("7,3×5 cm", "7.3 x 5 cm"),
        ("2,5-3,5 cm", "2.5-3.5 cm"),
        ("1,5 to 2 mm", "1.5 to 2 mm"),
        ("12,5 %", "12.5%"),
        ("-12,5 HU", "-12.5 HU"),
        ("1,5毫米", "1.5毫米"),
        ("1,5 centimetres", "1.5 centimetres"),
        ("1 1/2 centimeters", "1.5 centimeters"),
        ("½ cm", "0.5 cm"),
        ("1½ cm", "1.5 cm"),
        ("1 1/2 cm", "1.5 cm"),
        ("1/2 x 3/4 cm", "0.5 x 0.75 cm"),
        ("½ of the lung", "1/2 of the lung"),
        ("grade 3/6", "grade 3 / 6"),
        ("1·5 cm", "1.5 cm"),
        ("3 by 4 by 5 cm", "3 x 4 x 5 cm"),
        ("3–5 mm", "3-5 mm"),
        ("0.5", ".5"),
        ("5 × 3 mm", "5x3 mm"),
        ("left- and right-sided", "left and right sided"),
        ("nodule-like", "nodule like"),
        ("$\\leq$ 3", "≤ 3"),
        ("HU: -40", "HU -40"),
    ],
)
def test_spellings_of_one_meaning_are_one(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a", ""),
        ("x <answer>b</answer>", "b"),
        ("so \\boxed{b}", "b"),
        ("**b**", "b"),
        ("Final answer: b", "b"),
        ("最终答案：b", "b"),
        ("<reasoning>a</reasoning>\nb", "b"),
        ("a <b> c", "a <b> c"),
        ("size < 5 mm, > 3 mm", "size < 5 mm, > 3 mm"),
    ],
)
def test_the_visible_answer(text: str, visible: str) -> None:
    assert visible_answer(text) == visible


@pytest.mark.parametrize(
    ("answer", "place"),
    [("未见明显气胸征象。", 1), ("可见少量气胸。", 0), ("B. 否", 1), ("A", 0),
     ("没有看到异常", 1), ("有没有气胸不确定", None)],
)  # fmt: skip
def test_yes_and_no_with_letters_may_be_said_in_any_wording(answer: str, place: int | None) -> None:
    assert choose(answer, ["是", "否"], letters=True) == place
    assert choose(answer, ["A. 是", "B. 否"]) == place


@pytest.mark.parametrize(
    ("answer", "said"),
    [("It is not true that there is no pneumothorax.", True), ("It is incorrect that a nodule is seen.", False),
     ("It is not the case that an effusion is present.", False), ("It is wrong to say that there is no effusion.", True)],
)  # fmt: skip
def test_a_contradicted_statement_says_the_opposite(answer: str, said: bool) -> None:
    assert find_polarity(answer) is said
