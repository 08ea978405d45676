"""LLaVA records become Samples without a change; what does not add up is an error that names the sample."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.datasets.llava import from_llava, is_llava
from medmvl.errors import SampleError
from medmvl.schema import ImageBlock, Sample, TextBlock, VolumeBlock
from tests.factories.data import llava_record

TEXT = st.text(st.sampled_from("ab \n\t<>有。imge3d"), max_size=12).filter(
    lambda text: "<image>" not in text and "<image3d>" not in text
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Conversations of any shape, with text of any kind around the placeholders."""
    files: dict[str, list[str]] = {"image": [], "image3d": []}
    turns = []
    for speaker in draw(st.lists(st.sampled_from(["human", "gpt", "system"]), min_size=1, max_size=5)):
        value = draw(TEXT)
        for key in (
            draw(st.lists(st.sampled_from(["image", "image3d"]), max_size=3)) if speaker == "human" else []
        ):
            files[key].append(f"{key}/{len(files[key])}.x")
            value += f"<{key}>{draw(TEXT)}"
        turns.append({"from": speaker, "value": value})
    return {"id": "r", **{key: paths for key, paths in files.items() if paths}, "conversations": turns}


def convert(record: dict[str, Any]) -> Sample:
    return from_llava(record, "data.json, sample 7", "data-7")


def written(sample: Sample) -> dict[str, Any]:
    """The record that a sample was read from, when it has an id and turns only."""
    files: dict[str, list[str]] = {}
    turns = []
    for message in sample.messages:
        value = ""
        for block in message.content:
            if isinstance(block, TextBlock):
                value += block.text
                continue
            key = "image" if isinstance(block, ImageBlock) else "image3d"
            files.setdefault(key, []).append(block.path)
            value += f"<{key}>"
        speaker = {"user": "human", "assistant": "gpt", "system": "system"}[message.role]
        turns.append({"from": speaker, "value": value})
    return {"id": sample.id, **files, "conversations": turns}


@given(records())
def test_a_record_comes_back_exactly(record: dict[str, Any]) -> None:
    # "<im" + "age>" around a placeholder never forms a new one, as the filter works piece by piece
    joined = "".join(turn["value"] for turn in record["conversations"])
    if joined.count("<image>") != len(record.get("image", [])):
        return
    assert written(convert(record)) == record


def test_blocks_stand_where_the_placeholders_stood() -> None:
    record = llava_record(
        image=["1.png", "2.png"],
        image3d="v.nii.gz",
        conversations=[
            {"from": "human", "value": "First <image> , then <image3d>\n and <image>"},
            {"from": "gpt", "value": "Resolved."},
        ],
    )
    content = convert(record).messages[0].content
    shown = [block.path if isinstance(block, ImageBlock | VolumeBlock) else block.text for block in content]
    assert shown == ["First ", "1.png", " , then ", "v.nii.gz", "\n and ", "2.png"]
    assert [block.type for block in content] == ["text", "image", "text", "volume", "text", "image"]


def test_roles_come_from_the_speaker_not_the_place() -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "a"},
        {"from": "user", "value": "prior: none"},
        {"from": "gpt", "value": "b"},
        {"from": "assistant", "value": "c"},
    ]
    sample = convert({"id": 5, "conversations": turns})
    assert [m.role for m in sample.messages] == ["system", "user", "user", "assistant", "assistant"]
    assert sample.id == "5"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": ["a.png", "b.png"]}, "1 <image> in the text, but 2 files"),
        ({"image": []}, "1 <image> in the text, but 0 files"),
        ({"image3d": "v.npy"}, "0 <image3d> in the text, but 1 files.*write <image3d> where"),
        ({"conversations": [{"from": "bot", "value": "x"}]}, "from 'bot'; expected one of human"),
        ({"conversations": []}, "at least one turn"),
        ({"conversations": [{"from": "human"}]}, "turn 1 must have a text"),
        ({"conversations": [{"from": "gpt", "value": "<image>"}]}, "only user messages may"),
        ({"image": 5}, "'image' must be a path or a list"),
    ],
)
def test_what_does_not_add_up_names_the_sample(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SampleError, match=message) as error:
        convert(llava_record(**changes))
    assert "sample 'a'" in str(error.value)
    assert "data.json, sample 7" in str(error.value)


TURNS = [{"from": "human", "value": "<image>Is it large?"}, {"from": "gpt", "value": "yes"}]


def test_images_under_either_key_and_a_system_text_are_used() -> None:
    for key in ("image", "images"):
        sample = convert({"id": "1", key: ["a.png"], "system": "Be brief.", "conversations": TURNS})
        assert [block.path for block in sample.visuals] == ["a.png"]
        assert (sample.messages[0].role, sample.messages[0].text) == ("system", "Be brief.")
    spoken = [{"role": "user", "content": "<image>Is it large?"}, {"role": "assistant", "content": "yes"}]
    sample = convert({"id": "1", "images": "a.png", "conversations": spoken})
    assert [message.role for message in sample.messages] == ["user", "assistant"]
    assert convert({"id": "1", "image": "a.png", "qid": 7, "video": None, "conversations": TURNS}).visuals


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_path", "a.png"), ("video", "a.mp4"), ("videos", ["a.mp4"]), ("audios", ["a.wav"]), ("image_id", 7),
     ("volume", "v.nii"), ("history", [["a", "b"]]), ("tools", "[]"), ("weight", 2)],
)  # fmt: skip
def test_no_key_is_lost(key: str, value: Any) -> None:
    with pytest.raises(SampleError, match=rf"sample '1'.*{key}.*not read"):
        convert(
            {
                "id": "1",
                key: value,
                "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
            }
        )


@pytest.mark.parametrize("key", ["image", "weight", "loss", "role", "images", "tool_calls"])
def test_no_key_of_a_turn_is_lost(key: str) -> None:
    turns = [TURNS[0] | {key: "x.png"}, TURNS[1]]
    with pytest.raises(SampleError, match=rf"sample '1'.*turn 1.*{key}"):
        convert({"id": "1", "image": "a.png", "conversations": turns})


def test_images_that_are_listed_twice_or_shown_nowhere() -> None:
    with pytest.raises(SampleError, match="both 'image' and 'images'"):
        convert({"id": "1", "image": "a.png", "images": ["b.png"], "conversations": TURNS})
    with pytest.raises(SampleError, match="'images'"):
        convert(
            {"id": "1", "images": ["a.png"], "conversations": [{"from": "human", "value": "a"}, TURNS[1]]}
        )


@pytest.mark.parametrize("key", ["conversatons", "messages"])
def test_turns_under_the_names_of_other_projects(key: str) -> None:
    turns = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "x"}]
    record = {"id": "1", "image": "a.png", key: turns}
    assert is_llava(record)
    assert convert(record) == convert({"id": "1", "image": "a.png", "conversations": turns})
    assert len(convert(record).visuals) == 1
    assert not is_llava({"id": "1", "messages": turns})


@pytest.mark.parametrize(
    "text",
    [
        "<video>What?",
        "<Image>What?",
        "<image_1> What?",
        "<img>a.png</img>What?",
        "<image_placeholder>\nWhat?",
        "< image >\nWhat?",
        "[image]\nWhat?",
        "<|image|>What?",
        "<|image_1|>What?",
        "<start_of_image>What?",
        "<img><IMG_CONTEXT></img>What?",
        "<|begin_of_image|>What?",
        "<|image_pad|>What?",
    ],
)
def test_placeholders_of_other_libraries_are_not_trained_on_as_words(text: str) -> None:
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "x"}]
    with pytest.raises(SampleError, match="stands for no file here"):
        convert({"id": "1", "conversations": turns})
    assert convert({"id": "1", "conversations": [{"from": "human", "value": "Is p < 0.05?"}, turns[1]]})
