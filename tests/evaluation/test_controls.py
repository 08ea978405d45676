"""Controls keep groups apart and take nothing but the image away."""

from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.evaluation.controls import majority_answers, swap_images
from medmvl.schema import ImageBlock, Sample
from medmvl.tasks import Group
from tests.factories.engine import question


def sample(name: str, answer: str, visual: str = "volume", language: str = "en") -> Sample:
    content = [{"type": visual, visual: "x"}, {"type": "text", "text": "\nNodule?"}]
    return Sample.model_validate(
        {
            "id": name, "language": language, "messages": [{"role": "user", "content": content}],
            "target": {"question_type": "nodule", "answers": [answer], "choices": ["yes", "no"]},
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
    unseen = sample("1", "yes").to_no_image()
    assert unseen.visuals == () and unseen.messages[0].text == "Nodule?"
    assert unseen.target == sample("1", "yes").target and unseen.id == "1"
    assert unseen.to_no_image() == unseen


def test_an_image_alone_leaves_an_empty_question() -> None:
    alone = Sample.model_validate(
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}
    )
    assert alone.to_no_image().messages[0].text == ""


def seen(name: str, patient: str | None, *visuals: str, **fields: object) -> Sample:
    return question(name, "?", *visuals, patient=patient, answer="yes", **fields)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=25), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_nobody_gets_an_image_of_their_own(owners: list[int], seed: int) -> None:
    samples = [seen(f"{i}", f"p{owner}", f"ct-{i}") for i, owner in enumerate(owners)]
    swapped = swap_images(samples, seed)
    owner_of = {f"ct-{i}": owner for i, owner in enumerate(owners)}
    for sample in swapped.samples:
        assert owner_of[sample.visuals[0].path] != owners[int(sample.id)]
    alone = len(set(owners)) == 1
    assert len(swapped.impossible) == (len(samples) if alone else 0)
    assert len(swapped.samples) + len(swapped.impossible) == len(samples)
    if max(owners.count(owner) for owner in owners) <= len(owners) / 2:  # then everyone gives exactly once
        assert {sample.visuals[0].path for sample in swapped.samples} == set(owner_of)
    assert swapped == swap_images(samples, seed)


def test_scans_change_places_with_their_like_only() -> None:
    declared = [seen(f"{i}", f"p{i}", f"x-{i}") for i in range(4)]
    declared = [
        sample.model_copy(
            update={
                "messages": (
                    sample.messages[0].model_copy(
                        update={
                            "content": (
                                ImageBlock(image=f"x-{i}", modality="CR" if i % 2 else "MR"),
                                *sample.messages[0].content[1:],
                            )
                        }
                    ),
                )
            }
        )
        for i, sample in enumerate(declared)
    ]
    volumes = [seen("v", "p9", "ct-1"), seen("w", "p8", "ct-2", task="other")]
    pairs = [seen("a", "p1", "x-5", "x-6"), seen("b", "p2", "x-7", "x-8")]
    swapped = swap_images([*declared, *volumes, *pairs])
    shown = {sample.id: [block.path for block in sample.visuals] for sample in swapped.samples}
    assert shown == {
        "0": ["x-2"], "2": ["x-0"], "1": ["x-3"], "3": ["x-1"], "a": ["x-7", "x-8"], "b": ["x-5", "x-6"],
    }  # fmt: skip
    assert swapped.impossible == ("v", "w")
    assert swapped.samples[0].target == declared[0].target


def test_questions_about_one_file_are_one_patient_even_if_nobody_says_so() -> None:
    samples = [seen("a", None, "x-1"), seen("b", None, "x-1"), seen("c", None, "x-2", image_group="g")]
    samples.append(seen("d", None, "x-3", image_group="g"))
    shown = {sample.id: sample.visuals[0].path for sample in swap_images(samples).samples}
    assert shown["a"] == shown["b"] and shown["c"] == shown["d"] == "x-1"
    assert swap_images([question("t", "text only")]).samples == ()
