"""Other words for a question: phantoms' own where they fit, a frame elsewhere, the images untouched."""

from medmvl.phantoms import iter_patient_samples, make_patient
from medmvl.phantoms.text import PRESENCE_QUESTIONS
from medmvl.schema import TextBlock
from medmvl.tasks.rewording import reworded, rewordings


def test_questions_of_phantoms_get_their_own_other_wordings() -> None:
    assert rewordings("Is there a nodule?", "en") == ("Can a nodule be seen here?", "Is a nodule present?")
    assert rewordings("是否有结节？", "zh") == ("图中是否可见结节？", "是否存在结节？")
    assert rewordings("Does this CT show a nodule?", "en")[0] == "Is there a nodule?"


def test_other_questions_get_a_frame_that_changes_nothing() -> None:
    question = "Where is the lesion?"
    assert all(question in other for other in rewordings(question, "en"))
    assert rewordings("Wo ist der Herd?", "de") == ()


def test_only_the_last_question_changes() -> None:
    for sample in iter_patient_samples(make_patient(0, 1, "tiny")):
        for other in reworded(sample):
            assert other.id == sample.id and other.visuals == sample.visuals
            assert other.target == sample.target and len(other.messages) == len(sample.messages)
            assert other.messages[-1] == sample.messages[-1]  # the answer
            before, after = sample.prompt().messages[-1], other.prompt().messages[-1]
            assert before.text != after.text
            kept = [block for block in after.content if not isinstance(block, TextBlock)]
            assert kept == [block for block in before.content if not isinstance(block, TextBlock)]
    assert len(PRESENCE_QUESTIONS["en"]) > 2
