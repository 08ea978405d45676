"""Controls keep groups apart and take nothing but the image away."""

from medmvl.evaluation.controls import majority_answers
from medmvl.schema import Sample
from medmvl.tasks import Group


def sample(name: str, answer: str, visual: str = "volume", language: str = "en") -> Sample:
    content = [{"type": visual, visual: "x"}, {"type": "text", "text": "\nNodule?"}]
    return Sample.model_validate(
        {
            "id": name, "language": language, "messages": [{"role": "user", "content": content}],
            "target": {"kind": "nodule", "answers": [answer], "choices": ["yes", "no"]},
        }
    )  # fmt: skip


def test_majority_a_group() -> None:
    samples = [sample("1", "yes"), sample("2", "no"), sample("3", "no"), sample("4", "yes", "image")]
    samples += [sample("5", "有", language="zh")]
    assert majority_answers(samples) == {
        Group("3D", "nodule", "en"): "no",
        Group("2D", "nodule", "en"): "yes",
        Group("3D", "nodule", "zh"): "有",
    }


def test_only_the_image_goes() -> None:
    blind = sample("1", "yes").without_visuals()
    assert blind.visuals == () and blind.messages[0].text == "Nodule?"
    assert blind.target == sample("1", "yes").target and blind.id == "1"
    assert blind.without_visuals() == blind


def test_an_image_alone_leaves_an_empty_question() -> None:
    alone = Sample.model_validate(
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}
    )
    assert alone.without_visuals().messages[0].text == ""
