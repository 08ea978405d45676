"""LLaVA records become Samples and come back exactly; what does not add up is an error that names the sample."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.datasets.llava import from_llava, to_llava
from medmvl.errors import SampleError
from medmvl.schema import ImageBlock, Sample, VolumeBlock
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


@given(records())
def test_a_record_comes_back_exactly(record: dict[str, Any]) -> None:
    # "<im" + "age>" around a placeholder never forms a new one, as the filter works piece by piece
    joined = "".join(turn["value"] for turn in record["conversations"])
    if joined.count("<image>") != len(record.get("image", [])):
        return
    assert to_llava(convert(record)) == record


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


def test_what_llava_cannot_say_is_not_dropped_silently() -> None:
    block = {"type": "volume", "volume": "v.npy", "units": "HU"}
    declared = Sample.model_validate({"id": "a", "messages": [{"role": "user", "content": [block]}]})
    with pytest.raises(SampleError, match="declares units"):
        to_llava(declared)
    spelled = Sample.model_validate(
        {"id": "a", "messages": [{"role": "user", "content": "what is <image>?"}]}
    )
    with pytest.raises(SampleError, match="spells <image>"):
        to_llava(spelled)
