"""Rewards: each from 0 to 1, honest answers earn most, and what cannot be scored is said before the first step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import UserError
from medmvl.plugins import Plugin
from medmvl.rewards import REWARDS, CombinedReward, Reward, RewardRecipe, build_reward, find_reward
from medmvl.rewards.reward import checked_score
from medmvl.tasks.judge import read_answer
from medmvl.tasks.metrics.record import Record

REPORT = "Nodule in the left lower lobe. No pleural effusion. The heart is not enlarged."
LABELS = {"nodule": 1.0, "effusion": 0.0, "cardiomegaly": 0.0}


def report(text: str, labels: dict[str, float] = LABELS, reference: str = REPORT) -> Record:
    return Record("r", text, (reference,), "Write a short report.", "report", labels=labels)


def closed(text: str, reference: str = "yes", choices: tuple[str, ...] = ("yes", "no")) -> Record:
    return Record("c", text, (reference,), "Is there an effusion?", "effusion", choices=choices)


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_says_what_fools_it(name: str) -> None:
    assert "Fooled by:" in " ".join((REWARDS[name].__doc__ or "").split())


@pytest.mark.parametrize("name", REWARDS)
@given(answer=st.text(max_size=60), reference=st.text(min_size=1, max_size=30), question=st.text(max_size=30))
@settings(deadline=None, max_examples=40)
def test_any_text_earns_a_number_from_0_to_1(name: str, answer: str, reference: str, question: str) -> None:
    record = Record("any", answer, (reference,), question)
    assert 0.0 <= checked_score(build_reward(name), record) <= 1.0


def test_the_judge_is_the_reader() -> None:
    question, answer, reference = "On which side is the effusion?", "on the left", "left"
    assert (
        build_reward("judge").of(answer, reference, question)
        == read_answer(question, answer, reference).score
        == 1.0
    )


@pytest.mark.parametrize(
    "answer",
    [
        "no",
        "yes and no",
        "Yes. No.",
        "It is not yes.",
        "yes. It is not yes.",
        "",
        "Is there an effusion?",
        "maybe",
    ],
)
@pytest.mark.parametrize("name", ["closed_accuracy", "judge"])
def test_a_closed_question_pays_one_settled_answer_only(name: str, answer: str) -> None:
    assert checked_score(build_reward(name), closed("Yes, there is.")) > 0.9
    assert checked_score(build_reward(name), closed(answer)) == 0


@pytest.mark.parametrize(
    "answer",
    ["left/right", "left or right", "left. right. left.", "left, but not left", "left is wrong", "I don't think it is left",
     "左侧、右侧", "左侧是错误的", "并非左侧"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["closed_accuracy", "judge"])
def test_a_side_is_one_side(name: str, answer: str) -> None:
    sides = ("左侧", "右侧") if "侧" in answer else ("left", "right")
    record = Record("s", answer, (sides[0],), "Which side?", "side", choices=sides)
    assert checked_score(build_reward(name), replace(record, text=sides[0])) == 1
    assert checked_score(build_reward(name), record) == 0


@pytest.mark.parametrize("name", ["closed_accuracy", "judge"])
@pytest.mark.parametrize("answer", ["It is not right. right.", "right. It is not right.", "not right"])
def test_right_is_a_side_where_it_is_a_choice(name: str, answer: str) -> None:
    record = Record("s", "right", ("right",), "Which side?", "side", choices=("left", "right"))
    assert checked_score(build_reward(name), record) == 1
    assert checked_score(build_reward(name), replace(record, text=answer)) == 0


@pytest.mark.parametrize("answer", ["否", "是/否", "是、否", "不是是。", "是。不是是。", "不是是。是。"])
def test_chinese_words_of_yes_may_be_denied(answer: str) -> None:
    assert checked_score(build_reward("closed_accuracy"), closed(answer, "是", ("是", "否"))) == 0
    assert checked_score(build_reward("closed_accuracy"), closed("不是否。", "是", ("是", "否"))) == 1


@pytest.mark.parametrize("answer", ["A and B", "B. It is not B.", "not B", "A", "A, B, C", ""])
def test_a_choice_is_one_letter(answer: str) -> None:
    record = Record("m", "B", ("B",), "Which? A. left B. right C. both", "choice", choices=("A", "B", "C"))
    reward = build_reward("choice")
    assert reward.missing(record) is None and checked_score(reward, record) == 1
    assert checked_score(reward, replace(record, text=answer)) == 0


@pytest.mark.parametrize("name", ["judge", "token_f1"])
@pytest.mark.parametrize(
    "answer",
    ["It is not parietal and occipital lobes.", "parietal and occipital lobes. It is not parietal and occipital lobes.",
     "Which lobes are affected?", ""],
)  # fmt: skip
def test_an_open_answer_may_not_take_itself_back(name: str, answer: str) -> None:
    reference, question = "parietal and occipital lobes", "Which lobes are affected?"
    assert build_reward(name).of(reference, reference, question) == 1
    assert build_reward(name).of(answer, reference, question) == 0
    assert build_reward(name).of(f"{question} {reference}", reference, question) == 1  # an echo costs nothing


def test_listing_more_is_worth_less() -> None:
    reward = build_reward("judge")
    question, alone = "Where is the lesion?", "liver"
    assert (
        reward.of("liver, spleen, kidney, lung, brain, heart", alone, question)
        < reward.of(alone, alone, question) / 3
    )


def test_reasoning_is_never_scored() -> None:
    record = closed("<think>yes, surely yes</think>no")
    assert checked_score(build_reward("closed_accuracy"), record) == 0
    assert checked_score(build_reward("format", marks="thinking"), record) == 1
    assert checked_score(build_reward("closed_accuracy"), closed("<think>no, no</think>yes")) == 1


def findings(text: str, labels: dict[str, float] = LABELS) -> float:
    return checked_score(build_reward("findings_f1", labeler="phantoms"), report(text, labels))


ALL = "Nodule in the left lower lobe. Pleural effusion on the right. Cardiomegaly."
NONE = "No nodule. No pleural effusion. The heart is not enlarged."


def test_findings_pay_neither_everything_nor_nothing() -> None:
    assert findings(REPORT) == 1
    for attack in (ALL, NONE, "", "The image was reviewed.", f"{ALL} {NONE}"):
        assert findings(attack) == 0, attack
    assert 0 < findings("Nodule in the left lower lobe. Pleural effusion on the right.") < 1


def test_a_contradicted_finding_is_wrong_whatever_the_truth() -> None:
    assert findings("Nodule in the left lower lobe. No nodule. No pleural effusion.") == 0
    normal = dict.fromkeys(LABELS, 0.0)
    assert findings(NONE, normal) == 1
    assert findings(f"{NONE} Cardiomegaly.", normal) == 0 and findings("", normal) == 0


def test_rules_know_a_contradiction_from_two_sides() -> None:
    reward = build_reward("findings_f1", labeler="chexpert")
    labels = {"Pleural Effusion": 1.0, "Pneumothorax": 0.0}

    def score(text: str) -> float:
        return checked_score(reward, report(text, labels, "Left pleural effusion. No pneumothorax."))

    assert score("There is a left pleural effusion. No right pleural effusion.") == 1
    assert score("There is a left pleural effusion. No pleural effusion.") == 0


def test_a_box_is_one_box_better_than_the_whole_image() -> None:
    reward = build_reward("box_iou")
    truth = "{<10><20><40><60>}"
    assert reward.of(truth, truth) == 1
    for attack in (
        "{<0><0><100><100>}",
        f"{truth} " + "{<50><50><90><90>}",
        "[0.1, 0.2, 0.0, 0.4, 0.6, 1.0]",
        "",
    ):
        assert reward.of(attack, truth) == 0, attack
    assert reward.missing(Record("b", "", ("left",))) is not None


def test_form_is_form() -> None:
    sections = build_reward("section_structure", sections=("Findings", "Impression"))
    assert sections.of("Findings: a nodule.\nImpression: nodule.", "x") == 1
    assert sections.of("Impression: nodule.\nFindings: a nodule.", "x") == 0.5
    assert sections.of("Findings:\nImpression:\n", "x") == 0
    band = build_reward("length_band", shortest=6, longest=10)
    assert band.of("one two three four five six seven", "x") == 1
    assert band.of("one two. " * 5, "x") == pytest.approx(2 / 6)  # a sentence counts once
    assert band.of(
        " ".join("ab" + chr(97 + n) for n in range(20))
        + " "
        + " ".join("cd" + chr(97 + n) for n in range(20)),
        "x",
    ) == pytest.approx(10 / 40)
    language = build_reward("same_language")
    assert (
        language.of("未见结节", "x", "有结节吗？") == 1 and language.of("no nodule", "x", "有结节吗？") == 0
    )
    assert language.of("左肺 nodule", "x", "Is there a nodule?") == 0 and language.of("", "x", "Why?") == 0
    form = build_reward("format", marks="answer")
    assert form.of("<answer>left</answer>", "x") == 1
    for text in ("<answer></answer>", "<answer>a</answer><answer>b</answer>", "left", "<answer>left"):
        assert form.of(text, "x") == 0, text


def test_form_multiplies_and_never_pays_alone() -> None:
    both = CombinedReward([
        RewardRecipe(name="closed_accuracy"), RewardRecipe(name="same_language", weight=0.5),
    ])  # fmt: skip
    assert both.score(closed("yes")).total == 1
    assert both.score(closed("no")).total == 0
    assert both.score(closed("是")).total == 0.5 and both.score(closed("是")).parts == {
        "closed_accuracy": 1.0, "same_language": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([{"name": "length_band"}], "no reward of content"),
        ([{"name": "jugde"}], "no reward 'jugde'"),
        ([{"name": "judge"}, {"name": "judge"}], "named twice"),
        ([{"name": "judge"}, {"name": "format", "weight": 2.0}], "at most 1"),
        ([{"name": "judge", "options": {"protocol": "m3d"}}], "has no judge"),
        ([{"name": "findings_f1", "options": {"labeller": "phantoms"}}], "labeller"),
        (
            [{"name": "length_band", "options": {"shortest": 9, "longest": 3}}, {"name": "judge"}],
            "shortest 9",
        ),
    ],
)
def test_mistakes_in_a_recipe_are_named(rewards: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CombinedReward([RewardRecipe.model_validate(one) for one in rewards])


def test_what_the_data_lack_is_named_before_the_first_step() -> None:
    labels = CombinedReward([RewardRecipe(name="findings_f1", options={"labeler": "phantoms"})])
    with pytest.raises(UserError, match=r"findings_f1' needs a report.*'c'.*effusion"):
        labels.check([report(""), closed("")])
    some = CombinedReward([RewardRecipe(name="closed_accuracy", question_types=("nodule",))])
    with pytest.raises(UserError, match="'effusion', which no reward of content"):
        some.check([closed("")])


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), None, "1"])
def test_a_reward_outside_0_to_1_is_an_error_that_names_it(value: object) -> None:
    class Odd(Reward):
        """Fooled by: everything."""

        def score(self, record: Record) -> float:
            return value  # type: ignore[return-value]

    with pytest.raises(UserError, match=r"Odd gave .* 'c'"):
        checked_score(Odd(), closed("yes"))


class EntryPoint:
    """Stands for one of an installed package."""

    def __init__(self, found: object) -> None:
        self.found = found

    def load(self) -> object:
        return self.found


class Always(Reward):
    """Fooled by: everything."""

    def score(self, record: Record) -> float:
        return 1.0


def test_a_reward_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {
        name: Plugin("medmvl.rewards", name, "example", "1.0", EntryPoint(found))  # type: ignore[arg-type]
        for name, found in (("always", Always), ("broken", "no class"))
    }
    monkeypatch.setattr("medmvl.plugins.installed", lambda group: offered)
    monkeypatch.setattr("medmvl.rewards.registry.installed", lambda group: offered)
    assert find_reward("always") is Always
    with pytest.raises(UserError, match=r"example 1.0 offers 'broken'.*no class"):
        find_reward("broken")
