"""A learned tokenizer writes any text, and the same texts give the same tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from medmvl.errors import RecipeError, UserError
from medmvl.models.tokenizers import read_tokenizer, train_tokenizer

TEXTS = ["Is there a nodule?", "Yes.", "右肺上叶有结节。", "The heart is enlarged."]
TOKENIZER = train_tokenizer(TEXTS, 320)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=40).filter(lambda text: "<|" not in text))
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_the_order_and_number_of_the_texts_does_not_matter():
    other = train_tokenizer(iter([*reversed(TEXTS), *TEXTS]), 320)
    assert other.get_vocab() == TOKENIZER.get_vocab()
    assert other("enlarged nodule 结节")["input_ids"] == TOKENIZER("enlarged nodule 结节")["input_ids"]


def test_it_learned_from_the_text():
    assert len(TOKENIZER("The heart is enlarged.")["input_ids"]) < len("The heart is enlarged.") / 2
    assert len(TOKENIZER) <= 318, "two ids are left for the placeholders"
    assert TOKENIZER.eos_token_id != TOKENIZER.pad_token_id


@pytest.mark.parametrize(
    ("texts", "size", "message"), [(TEXTS, 200, "at least 300"), ([], 400, "holds no text")]
)
def test_what_cannot_be_learned_is_an_error(texts, size, message):
    with pytest.raises(RecipeError, match=message):
        train_tokenizer(texts, size)


def test_a_saved_tokenizer_is_read_and_a_slow_one_refused(tmp_path):
    TOKENIZER.save_pretrained(tmp_path / "fast")
    ByT5Tokenizer().save_pretrained(tmp_path / "slow")
    assert read_tokenizer(tmp_path / "fast").get_vocab() == TOKENIZER.get_vocab()
    with pytest.raises(UserError, match="ByT5Tokenizer is a slow tokenizer"):
        read_tokenizer(tmp_path / "slow")
