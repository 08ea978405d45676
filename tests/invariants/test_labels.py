"""What is learned is what the assistant says and its end of turn, also between images and over several turns."""

from functools import cache
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.schema import Message
from tests.factories.models import image_of, tiny


@cache
def processor() -> MedMVLProcessor:
    return tiny()[1]


questions = st.lists(
    st.sampled_from(["ct:a", "xray:b", "ct:c", "Is there a nodule?", " 有没有结节？", "\n", "Yes."]),
    min_size=1,
    max_size=4,
)
answers = st.sampled_from(
    ["Yes.", "有结节。", "  No. ", "A 12 mm nodule.\n\nImpression: benign.", "🫁", "Is there a nodule?"]
)


def block(item: str) -> dict[str, str]:
    kind = {"ct": "volume", "xray": "image"}.get(item.partition(":")[0])
    return {"type": kind, kind: item} if kind else {"type": "text", "text": item}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    turns=st.lists(st.tuples(questions, answers), min_size=1, max_size=3),
    system=st.sampled_from([None, "You read scans."]),
)
def test_decoded_labels_are_the_answers(turns, system):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, answer in turns:
        messages.append({"role": "user", "content": [block(item) for item in question]})
        messages.append({"role": "assistant", "content": answer})
    made = processor()
    sample = made.prepare(
        [Message.model_validate(message) for message in messages],
        made.visual_loader(image_of),
        supervised=True,
        name="s",
    )
    assert sample.labels is not None
    learned = sample.labels != IGNORED_LABEL
    assert (sample.labels[learned] == sample.input_ids[learned]).all()
    runs = [
        [token for token, _ in run]
        for supervised, run in groupby(
            zip(sample.input_ids.tolist(), learned.tolist(), strict=True), key=lambda pair: pair[1]
        )
        if supervised
    ]
    assert [processor().decode(run) for run in runs] == [answer.strip() for _, answer in turns]
    assert all(run[-1] in processor().stop_token_ids for run in runs)
    placeholders = {processor().image_token_id, processor().volume_token_id}
    assert not placeholders & {token for run in runs for token in run}
