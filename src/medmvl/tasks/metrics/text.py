"""Text made comparable: case, width, punctuation and spaces do not count; Chinese goes by character."""

from __future__ import annotations

import re
import unicodedata

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|\d+(?:\.\d+)?|[^\W\d_]+(?:['’][^\W\d_]+)?")


def has_chinese(text: str) -> bool:
    """Whether a Chinese character stands in the text."""
    return _HAN.search(text) is not None


def normalise(text: str) -> str:
    """Text in one spelling: full-width as half-width, lower case, words joined by one space, no punctuation.

    A decimal number stays whole (`"1.5"`); Chinese characters stand apart, as `words` gives them.
    """
    return " ".join(words(text))


def words(text: str) -> list[str]:
    """The text's words in lower case: Latin words, numbers, single Chinese characters; no punctuation."""
    spelled = unicodedata.normalize("NFKC", text).casefold()
    return [
        word
        for match in _WORD.finditer(spelled)
        for word in _without_cjk_runs(match.group().replace("’", "'"))
    ]


def _without_cjk_runs(word: str) -> list[str]:
    """Split what the Latin pattern caught together with Chinese characters, such as `ct检查`."""
    return re.findall(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\u3400-\u4dbf\u4e00-\u9fff]+", word)
