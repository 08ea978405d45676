"""Reasoning over the API: beside the content, in streams too, switched per request, left out of the history, in no log."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from medmvl.engine import Engine
from medmvl.serving.api import create_app
from medmvl.serving.settings import ServeSettings
from tests.factories.engine import tiny_engine, writes
from tests.factories.server import running

REASONING, ANSWER = "There is a shadow, and it is round.", "Yes. 有结节"
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine: Engine = tiny_engine(thinking=True)
    engine.model.forward = writes(engine, f"{REASONING}\n</think>\n\n{ANSWER}")
    yield engine
    del engine.model.forward


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with running(create_app(engine, ServeSettings(model_name="tiny", page=True))) as address:
        yield address


def ask(address: str, **options: Any) -> Any:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    messages = options.pop("messages", [{"role": "user", "content": "Is there a nodule?"}])
    return client.chat.completions.create(model="tiny", messages=messages, **{"max_tokens": 200, **options})


def test_reasoning_is_beside_the_content(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = ask(address, logprobs=True)
    [choice] = reply.choices
    assert (choice.message.reasoning, choice.message.content) == (REASONING, ANSWER)
    assert choice.finish_reason == "stop"
    told = "".join(entry.token for entry in choice.logprobs.content)
    assert REASONING not in told and "Yes." in told
    details = reply.usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < reply.usage.completion_tokens
    assert "shadow" not in caplog.text


def test_a_stream_has_deltas_of_both(address: str) -> None:
    chunks = list(ask(address, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta.model_dump() for chunk in chunks if chunk.choices]
    assert "".join(delta.get("reasoning") or "" for delta in deltas) == REASONING
    assert "".join(delta["content"] or "" for delta in deltas) == ANSWER
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens > 0


def test_one_request_may_switch_it_off(address: str) -> None:
    for reply in (ask(address, extra_body=OFF), ask(address, extra_body={"reasoning_effort": "none"})):
        assert not hasattr(reply.choices[0].message, "reasoning")
        assert reply.choices[0].message.content.startswith("There is a shadow")
        assert reply.usage.completion_tokens_details is None
    both = {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}
    with pytest.raises(openai.BadRequestError, match="contradict"):
        ask(address, extra_body=both)
    with pytest.raises(openai.BadRequestError, match=r"chat_template_kwargs\.other"):
        ask(address, extra_body={"chat_template_kwargs": {"other": 1}})


def test_tokens_that_run_out_within_reasoning_are_told(address: str) -> None:
    reply = ask(address, max_tokens=4)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("", "length")
    assert reply.usage.completion_tokens_details.reasoning_tokens == reply.usage.completion_tokens == 4


def test_an_answer_of_a_form_is_the_content(address: str) -> None:
    reply = ask(address, extra_body={"guided_choice": ["left", "right"]})
    assert reply.choices[0].message.content in ("left", "right")
    assert reply.choices[0].message.reasoning == REASONING


def test_a_history_has_no_reasoning(address: str, engine: Engine) -> None:
    counts = []
    for more in ({}, {"reasoning": "No doubt about it. " * 20}, {"reasoning_content": "None at all. " * 20}):
        messages = [
            {"role": "user", "content": "Is there a nodule?"}, {"role": "assistant", "content": "Yes.", **more},
            {"role": "user", "content": "Where?"},
        ]  # fmt: skip
        counts.append(ask(address, messages=messages, max_tokens=2).usage.prompt_tokens)
    assert len(set(counts)) == 1


def test_the_page_knows_it(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        assert client.get("/page/about").json()["thinks"] is True


def test_a_model_without_reasoning_says_so() -> None:
    with running(create_app(tiny_engine(), ServeSettings(model_name="tiny"))) as address:
        with pytest.raises(openai.BadRequestError, match="cannot be asked to reason"):
            ask(address, extra_body={"chat_template_kwargs": {"enable_thinking": True}})
        assert not hasattr(ask(address, extra_body=OFF, max_tokens=2).choices[0].message, "reasoning")
