"""Reasoning before an answer, for every chat template: what is asked is the beginning of what is learned."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from tests.factories.engine import save_tiny_model, tiny_engine, visual_of
from tests.models.test_chat import EVERY, PHASES, SPECIAL, TEMPLATES, TOKENIZERS, padded, said
from tokenizers import AddedToken

from medmvl.errors import SampleError
from medmvl.exchange.export_llava import llava_template
from medmvl.models.assemble import assemble_processor
from medmvl.models.chat import ChatTokenizer
from medmvl.models.chat_rendering import Turn
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.placeholders import IMAGE_TOKEN, VOLUME_TOKEN
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.schema import Message, TextBlock, VolumeBlock

ALWAYS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n<think>\n{{ m.reasoning_content }}\n</think>\n\n"
    "{{ m.content }}<|end|>\n{% else %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n<think>\n{% endif %}"
)
"""A template that cannot be asked without reasoning, as DeepSeek's and Qwen's later ones."""
DROPS = TEMPLATES["chatml"][0].replace("message.content", "message.content.split('</think>')[-1]")


@cache
def encoder(template: str, tokenizer: str, marks: tuple[str, ...] = ()) -> ChatTokenizer:
    made = TOKENIZERS[tokenizer]()
    names = [*SPECIAL, *marks]
    tokens = [AddedToken(t, special=True, normalized=False, rstrip=template == "phi3") for t in names]
    made.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    made.chat_template = TEMPLATES[template][0] if template in TEMPLATES else template
    return ChatTokenizer(made, [IMAGE_TOKEN, VOLUME_TOKEN], {"enable_thinking": False}, thinking=True)


no_marks = padded.filter(lambda text: text.strip() and "[" not in text and "<" not in text)


@EVERY
@settings(max_examples=8, deadline=None, derandomize=True, phases=PHASES)
@given(question=padded, reasoning=no_marks, answer=no_marks)
def test_what_is_asked_is_the_beginning_of_what_is_learned(template, tokenizer, question, reasoning, answer):
    chat, end = encoder(template, tokenizer), TEMPLATES[template][1]
    turns = [Turn("user", question), Turn("assistant", answer, reasoning)]
    prompt = chat.encode(turns[:1], add_generation_prompt=True, name="s", thinking=True)
    trained = chat.encode(turns, add_generation_prompt=False, name="s", thinking=True)
    assert trained.ids[: len(prompt.ids)] == prompt.ids
    assert chat.tokenizer.decode(prompt.ids).rstrip().endswith("<think>")
    [text] = said(chat, turns, thinking=True)
    opening = chat.reasoning_cue.opening.strip()
    assert opening in ("", "<think>")
    split = chat.reasoning_cue.marks.split(text.strip().removeprefix(opening).removesuffix(end), final=True)
    assert (split.reasoning, split.answer.strip(), split.closed) == (reasoning.strip(), answer.strip(), True)
    assert text.endswith(end)


@EVERY
@settings(max_examples=5, deadline=None, derandomize=True, phases=PHASES)
@given(question=padded, answer=no_marks)
def test_without_reasoning_an_empty_block_is_asked_and_not_learned(template, tokenizer, question, answer):
    chat, end = encoder(template, tokenizer), TEMPLATES[template][1]
    turns = [Turn("user", question), Turn("assistant", answer)]
    prompt = chat.encode(turns[:1], add_generation_prompt=True, name="s")
    trained = chat.encode(turns, add_generation_prompt=False, name="s")
    assert trained.ids[: len(prompt.ids)] == prompt.ids
    assert "".join(chat.tokenizer.decode(prompt.ids).split()).endswith("<think></think>")
    assert [text.removesuffix(end).strip() for text in said(chat, turns, thinking=False)] == [answer.strip()]


@EVERY
def test_earlier_turns_have_no_reasoning_and_are_context_only(template, tokenizer):
    chat = encoder(template, tokenizer)
    turns = [
        Turn("user", "a?"),
        Turn("assistant", "one"),
        Turn("user", "b?"),
        Turn("assistant", "two", "so it is"),
    ]
    [text] = said(chat, turns, thinking=True)
    assert "two" in text and "one" not in text and "so it is" in text
    history = chat.encode(turns, add_generation_prompt=False, name="s", thinking=True).ids
    assert chat.tokenizer.decode(history).count("</think>") == 1


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_template_that_always_reasons_cannot_be_asked_without(tokenizer):
    chat = encoder(ALWAYS, tokenizer)
    chat.check_teachable()
    assert chat.reasoning_cue.opening == "" and chat.end_of_turn_id is not None
    [text] = said(chat, [Turn("user", "a?"), Turn("assistant", "Yes.", "It is.")], thinking=True)
    assert text.split() == ["It", "is.", "</think>", "Yes.<|end|>"]
    with pytest.raises(SampleError, match="what is trained would not be what is asked"):
        chat.check_teachable(thinking=False)


def test_a_template_that_drops_reasoning_is_refused():
    with pytest.raises(SampleError, match="cannot be asked to reason"):
        encoder(DROPS, "byte_level").check_teachable()


def test_marks_that_are_special_tokens_are_known_by_their_id():
    chat = encoder("chatml", "byte_level", ("<think>", "</think>"))
    assert chat.reasoning_cue.closing_id == chat.tokenizer.convert_tokens_to_ids("</think>")
    assert encoder("chatml", "byte_level").reasoning_cue.closing_id is None


@EVERY
def test_off_a_template_is_as_it_was(template, tokenizer):
    made = encoder(template, tokenizer).tokenizer
    own = TEMPLATES[template][0]
    turns = [Turn("user", "a?"), Turn("assistant", "b")]
    before = made.chat_template
    try:
        made.chat_template = own
        plain = ChatTokenizer(made, [IMAGE_TOKEN, VOLUME_TOKEN], {"enable_thinking": False})
        assert made.chat_template == own
        assert (
            "think" not in plain.prompt(turns, add_generation_prompt=False, name="s") or template == "qwen3"
        )
    finally:
        made.chat_template = before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("thinking") / "model", thinking=True)


@pytest.fixture(scope="module")
def processor(saved: Path) -> MedMVLProcessor:
    return MedMVLProcessor.from_pretrained(saved, local_files_only=True)


def turns(*said: str | tuple[str, str]) -> list[Message]:
    messages = []
    for number, one in enumerate(said):
        text, reasoning = (one, None) if isinstance(one, str) else one
        blocks = (VolumeBlock(volume="ct-1"),) if number == 0 else ()
        role = "assistant" if number % 2 else "user"
        messages.append(Message(role=role, content=(*blocks, TextBlock(text=text)), reasoning=reasoning))
    return messages


def taught(processor: MedMVLProcessor, messages: list[Message]) -> str:
    sample = processor.prepare(messages, visual_of, supervised=True, name="sample 3")
    return processor.decode(sample.labels[sample.labels != IGNORED_LABEL])


def test_a_saved_processor_reasons_as_before(saved, processor):
    assert processor.thinking and "reasoning_content" in processor.tokenizer.chat_template
    made = tiny_engine(thinking=True).processor
    conversation = turns("Is there a nodule?", ("Yes.", "A shadow."))
    for one in (conversation, conversation[:1]):
        for asked in (None, False):
            ids = [
                each.prepare(
                    one, visual_of, supervised=False, add_generation_prompt=True, thinking=asked
                ).input_ids
                for each in (made, processor)
            ]
            assert torch.equal(*ids)
    again = MedMVLProcessor.from_pretrained(saved, local_files_only=True)
    assert again.tokenizer.chat_template == processor.tokenizer.chat_template
    assert json.loads((saved / "processor_config.json").read_text())["thinking"] is True


def test_labels_cover_what_must_be_learned(processor):
    assert taught(processor, turns("Is there?", ("Yes.", "A shadow."))) == "A shadow.\n</think>\n\nYes."
    inline = turns("Is there?", "<think>A shadow.</think> Yes.")
    assert taught(processor, inline) == "A shadow.\n</think>\n\nYes."
    assert taught(processor, turns("Is there?", "Yes.")) == "Yes."
    several = turns("Is there?", ("Yes.", "A shadow."), "Where?", ("Left.", "There it is."))
    assert taught(processor, several) == "There it is.\n</think>\n\nLeft."
    off = turns("Is there?", ("Yes.", "A shadow."), "Where?", "Left.")
    assert taught(processor, off).replace(" ", "") == "Yes.Left."
    plain = tiny_engine().processor
    assert taught(plain, several).replace(" ", "") == "Yes.Left."


def test_lengths_are_known_beforehand(processor):
    for messages in (turns("Is there?", ("Yes.", "A shadow.")), turns("Is there?", "Yes.")):
        text, visual = processor.count_tokens(messages)
        assert text + visual == len(processor.prepare(messages, visual_of, supervised=True).input_ids)


def test_marks_within_an_answer_are_refused(processor):
    with pytest.raises(SampleError, match="sample 3: an answer holds a mark of reasoning"):
        taught(processor, turns("Is there?", "Yes. <think>Or no?</think>"))


def test_transformers_way_of_asking_knows_the_switch(processor):
    asked = [{"role": "user", "content": "Is there?"}]
    texts = [
        processor.apply_chat_template(asked, add_generation_prompt=True, enable_thinking=on)
        for on in (True, False)
    ]
    assert texts[0].endswith("<think>\n") and texts[1].endswith("<think>\n\n</think>\n\n")
    done = [*asked, {"role": "assistant", "content": "Yes.", "reasoning": "A shadow."}]
    assert "<think>\nA shadow.\n</think>\n\nYes." in processor.apply_chat_template(done)
    own = processor.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert own == texts[0]


def test_a_recipe_says_it(saved):
    started = assemble_processor(ModelRecipe.model_validate({"init": str(saved)}))
    assert started.thinking
    assert not assemble_processor(
        ModelRecipe.model_validate({"init": str(saved), "thinking": False})
    ).thinking
    llm = {
        "config": {"model_type": "qwen2"},
        "tokenizer_vocab_size": 400,
        "template_kwargs": {"enable_thinking": True},
    }
    with pytest.raises(ValueError, match=r"model\.thinking: true"):
        ModelRecipe.model_validate({"llm": llm})


def test_an_earlier_model_can_be_taught_to_reason(tmp_path):
    before = save_tiny_model(tmp_path / "model")
    made = assemble_processor(ModelRecipe.model_validate({"init": str(before), "thinking": True}))
    assert taught(made, turns("Is there?", ("Yes.", "A shadow."))) == "A shadow.\n</think>\n\nYes."


def test_an_exported_template_reasons_and_can_be_told_not_to(processor):
    """As transformers and vLLM render it: typed blocks, `enable_thinking` per request, reasoning of the last turn."""
    template = llava_template(processor)
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there?"}]}]
    done = [*asked, {"role": "assistant", "content": "Yes.", "reasoning_content": "A shadow."}]

    def rendered(messages, **more):
        return processor.tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, **more
        )

    assert rendered(asked, add_generation_prompt=True).endswith("<think>\n")
    off = rendered(asked, add_generation_prompt=True, enable_thinking=False)
    assert off.endswith("<think>\n\n</think>\n\n") and IMAGE_TOKEN in off
    assert "<think>\nA shadow.\n</think>\n\nYes." in rendered(done)
