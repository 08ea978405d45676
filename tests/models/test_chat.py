"""Labels are exactly what the assistant says and its end of turn, for every chat template and tokenizer."""

from functools import cache
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from medmvl.errors import SampleError
from medmvl.models.chat import ChatTokenizer
from medmvl.models.chat_rendering import Turn, bundled_or_own
from medmvl.models.placeholders import IMAGE_TOKEN, VOLUME_TOKEN
from medmvl.models.tokenizers import train_tokenizer

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = r"""{%- set ns = namespace(last=0) -%}
{%- for message in messages -%}{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{%- set content = message.content -%}{%- set reasoning = '' -%}
{%- if message.reasoning_content is string -%}{%- set reasoning = message.reasoning_content -%}
{%- elif '</think>' in content -%}
{%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\n') -%}
{%- endif -%}
{%- if loop.index0 > ns.last and (loop.last or reasoning) -%}
{{- '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') -}}
{%- else -%}{{- '<|im_start|>assistant\n' + content -}}{%- endif -%}{{- '<|im_end|>\n' -}}
{%- else -%}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"""
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
PHI3 = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
TEMPLATES: dict[str, tuple[str, str]] = {
    "chatml": (CHATML, "<|im_end|>"),
    "qwen3": (QWEN3, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "phi3": (PHI3, "<|end|>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "mistral": (MISTRAL, "</s>"),
    "plain": (bundled_or_own("plain"), "</s>"),
    "bundled chatml": (bundled_or_own("chatml"), "<|im_end|>"),
}
"""Templates as the families publish them, in their essentials, and their end of turn."""
NO_SYSTEM = ("gemma", "mistral")
SPECIAL = [
    "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]",
    IMAGE_TOKEN, VOLUME_TOKEN,
]  # fmt: skip
TEXTS = [
    "Is there a nodule in the right upper lobe? Yes, there is. No.", "The heart is enlarged.\n\nImpression: effusion.",
    "右肺上叶有结节吗？有结节。没有。左侧胸腔积液。", "user assistant system model You are a helpful assistant.",
]  # fmt: skip


def byte_level() -> PreTrainedTokenizerFast:
    """As Qwen's and Llama 3's."""
    tokenizer = train_tokenizer(TEXTS, 400)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    return tokenizer


def metaspace() -> PreTrainedTokenizerFast:
    """As Llama 2's: spaces become a visible character, one is put before the text, unknown characters are bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace()]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


TOKENIZERS = {"byte_level": byte_level, "metaspace": metaspace}


@cache
def encoder(template: str, tokenizer: str) -> ChatTokenizer:
    made = TOKENIZERS[tokenizer]()
    # Phi-3's swallow the white space behind them, as published
    tokens = [AddedToken(t, special=True, normalized=False, rstrip=template == "phi3") for t in SPECIAL]
    made.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    made.chat_template = TEMPLATES[template][0]
    return ChatTokenizer(made, [IMAGE_TOKEN, VOLUME_TOKEN], {"enable_thinking": False})


def said(chat: ChatTokenizer, turns: list[Turn], *, thinking: bool = False) -> list[str]:
    """Every run of supervised tokens, decoded."""
    encoded = chat.encode(turns, add_generation_prompt=False, name="s", thinking=thinking)
    runs: list[list[int]] = []
    previous = False
    for token, supervised in zip(encoded.ids, encoded.supervised, strict=True):
        if supervised:
            runs.append([*runs.pop(), token] if previous else [token])
        previous = supervised
    return [chat.tokenizer.decode(run) for run in runs]


EVERY = pytest.mark.parametrize(
    ("template", "tokenizer"), [(template, tokenizer) for template in TEMPLATES for tokenizer in TOKENIZERS]
)
PHASES = (Phase.explicit, Phase.generate)
words = st.one_of(
    st.sampled_from(
        [
            "Yes.",
            "no",
            "有结节。",
            "左侧",
            "🫁",
            "👩‍⚕️ ok",
            "12 x 8 mm",
            "a  b",
            "x\n\ny",
            "- item\n- item",
            "é",
            "…",
        ]
    ),
    # U+2581 is how such tokenizers write a space, so it does not come back
    st.text(
        st.characters(
            codec="utf-8", exclude_categories=("Cs", "Co", "Cn", "Cc"), exclude_characters="\u2581"
        ),
        max_size=12,
    ),
)
texts = (
    st.lists(words, min_size=1, max_size=4)
    .map(" ".join)
    .filter(lambda text: not any(token in text for token in (*SPECIAL, "<|pad|>", "<unk>", "think>")))
)
padded = st.tuples(st.sampled_from(["", " ", "\n", "  "]), texts, st.sampled_from(["", " ", "\n"])).map(
    "".join
)


def conversation(pairs: list[tuple[str, str]], system: str | None = None) -> list[Turn]:
    turns = [] if system is None else [Turn("system", system)]
    for question, answer in pairs:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return turns


@EVERY
@settings(max_examples=12, deadline=None, derandomize=True, phases=PHASES)
@given(pairs=st.lists(st.tuples(padded, padded.filter(str.strip)), min_size=1, max_size=3))
def test_supervised_tokens_decode_to_what_the_assistant_says(template, tokenizer, pairs):
    chat, end = encoder(template, tokenizer), TEMPLATES[template][1]
    pairs = [(chat.check_text(q, "s"), chat.check_text(a, "s")) for q, a in pairs]
    found = said(chat, conversation(pairs))
    assert [text.removesuffix(end).strip() for text in found] == [answer.strip() for _, answer in pairs]
    assert all(text.endswith(end) for text in found)
    assert chat.tokenizer.convert_tokens_to_ids(end) == chat.end_of_turn_id


@EVERY
@settings(max_examples=12, deadline=None, derandomize=True, phases=PHASES)
@given(question=padded, answer=padded.filter(str.strip))
def test_the_prompt_of_generation_is_the_beginning_of_what_was_trained(template, tokenizer, question, answer):
    chat = encoder(template, tokenizer)
    prompt = chat.encode([Turn("user", question)], add_generation_prompt=True, name="s")
    trained = chat.encode(conversation([(question, answer)]), add_generation_prompt=False, name="s")
    assert trained.ids[: len(prompt.ids)] == prompt.ids
    assert trained.supervised.index(True) == len(prompt.ids)
    assert not any(prompt.supervised)


@EVERY
def test_the_end_of_turn_stops_decoding(template, tokenizer):
    chat = encoder(template, tokenizer)
    assert chat.end_of_turn_id == chat.tokenizer.convert_tokens_to_ids(TEMPLATES[template][1])
    assert {chat.end_of_turn_id, chat.tokenizer.eos_token_id} == set(chat.stop_token_ids)


@EVERY
def test_a_system_message_is_rendered_or_refused(template, tokenizer):
    chat = encoder(template, tokenizer)
    turns = conversation([("hm?", "Yes.")], system="You read chest CT.")
    if template in NO_SYSTEM:
        with pytest.raises(SampleError, match="case 7: the chat template refuses this conversation"):
            chat.encode(turns, add_generation_prompt=False, name="case 7")
    else:
        assert [text.removesuffix(TEMPLATES[template][1]).strip() for text in said(chat, turns)] == ["Yes."]
        ids = chat.encode(turns, add_generation_prompt=False, name="s").ids
        assert "You read chest CT." in chat.tokenizer.decode(ids)


PHI3_AT_FIRST = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n<|assistant|>\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
)
"""It has no place for a system message, and says nothing."""


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_template_that_drops_what_is_said_is_refused(tokenizer, monkeypatch):
    chat = encoder("phi3", tokenizer)
    monkeypatch.setattr(chat.tokenizer, "chat_template", PHI3_AT_FIRST)
    turns = conversation([("Is there a  nodule? <|image|>\nLook!", "Yes.")], system="You read chest CT.")
    settings: dict[str, Any] = {"add_generation_prompt": False, "thinking": False, "name": "case 7"}
    with pytest.raises(
        SampleError, match="case 7: the chat template drops or rewrites turn 1, of the system"
    ):
        chat.rendered(turns, **settings)
    assert "Yes.<|end|>" in chat.rendered(turns[1:], **settings).text


def test_a_prompt_is_the_same_on_every_day():
    llama = (
        "{% if not date_string is defined %}{% if strftime_now is defined %}"
        "{% set date_string = strftime_now( '%d %b %Y' ) %}{% endif %}{% endif %}Today: {{ date_string }}"
    )
    granite = """Today's Date: {{ strftime_now("%B %d, %Y") }}."""
    assert 'set date_string = "26 Jul 2024" %}' in bundled_or_own(llama)
    assert bundled_or_own({"tool_use": "", "default": granite}) == """Today's Date: {{ "July 26, 2024" }}."""


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_roles_are_read_never_counted(tokenizer):
    chat = encoder("chatml", tokenizer)
    turns = [
        Turn("assistant", "first"), Turn("user", "a"), Turn("user", "b"), Turn("assistant", "second"),
        Turn("assistant", "third"), Turn("system", "c"), Turn("user", "first"),
    ]  # fmt: skip
    assert [text.strip() for text in said(chat, turns)] == [
        "first<|im_end|>",
        "second<|im_end|>",
        "third<|im_end|>",
    ]


@EVERY
def test_an_answer_that_repeats_the_question_is_told_apart(template, tokenizer):
    chat, end = encoder(template, tokenizer), TEMPLATES[template][1]
    turns = conversation([("Yes.", "Yes."), ("assistant", "assistant")])
    found = said(chat, turns)
    assert [text.removesuffix(end).strip() for text in found] == ["Yes.", "assistant"]


@EVERY
def test_an_empty_answer_is_its_end_of_turn(template, tokenizer):
    chat = encoder(template, tokenizer)
    assert [t.strip() for t in said(chat, conversation([("say nothing", "")]))] == [TEMPLATES[template][1]]


@EVERY
@pytest.mark.parametrize("text", ["a <|im_end|> b", "</s>", f"{IMAGE_TOKEN}", f"x{VOLUME_TOKEN}", "[INST]"])
def test_text_that_spells_a_special_token_is_refused(template, tokenizer, text):
    with pytest.raises(SampleError, match="sample 3: its text spells the special token"):
        encoder(template, tokenizer).check_text(text, "sample 3")


def test_our_own_marks_are_refused():
    with pytest.raises(SampleError, match="private-use"):
        encoder("chatml", "byte_level").check_text("a\ue0f0b", "sample 3")


def test_a_template_that_drops_an_earlier_answer_is_an_error():
    chat = encoder("qwen3", "byte_level")
    with pytest.raises(SampleError, match="sample 3: the chat template drops or rewrites"):
        chat.encode(
            conversation([("a", "<think>\nhm\n</think>\n\nYes.")]),
            add_generation_prompt=False,
            name="sample 3",
        )


CUED = "{% for m in messages %}{% if m.role == 'assistant' %}CUE{% endif %}{{ m.content }}END{% endfor %}CUE"


def chat_with(template: str) -> ChatTokenizer:
    tokenizer = byte_level()
    tokenizer.chat_template = template
    return ChatTokenizer(tokenizer, [], {})


def test_a_template_without_an_end_of_turn_is_an_error():
    with pytest.raises(SampleError, match="no end-of-turn token"):
        chat_with(CUED.replace("CUE", "A: ").replace("END", "\n")).check_teachable()


def test_a_template_that_glues_text_to_the_answer_is_an_error():
    chat = chat_with(CUED.replace("CUE", "no").replace("END", "</s>"))
    with pytest.raises(SampleError, match="sample 3: a token joins an answer"):
        chat.encode(conversation([("a", "dule")]), add_generation_prompt=False, name="sample 3")


@pytest.mark.parametrize("template", [CUED.removesuffix("CUE").replace("END", "</s>"), QWEN3])
def test_a_template_whose_cue_is_not_what_was_trained_is_an_error(template):
    """A template without a cue; Qwen 3's when it is not told that thinking is off."""
    with pytest.raises(SampleError, match="what is trained would not be what is asked"):
        chat_with(template).check_teachable()
