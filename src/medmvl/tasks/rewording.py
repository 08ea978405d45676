"""The same question in other words, whose meaning is known to be the same: phantoms' own wordings, else a frame around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medmvl.phantoms import text
from medmvl.schema import Sample, TextBlock

FRAMES: dict[str, tuple[str, ...]] = {
    "en": ("Please answer this question: {question}", "{question} Answer from what is shown."),
    "zh": ("请回答这个问题：{question}", "{question}请根据影像回答。"),
}
FAMILIES: tuple[text.Phrasings, ...] = (
    text.PRESENCE_QUESTIONS, text.LOBE_QUESTIONS, text.SIDE_QUESTIONS, *text.SIZE_QUESTIONS.values(), text.CHANGE_QUESTIONS,
)  # fmt: skip
"""Sets of wordings that ask one thing; those of a site name no finding and would fit other questions, too."""
COUNT = 2
"""Other wordings per question."""


def rewordings(question: str, language: str) -> tuple[str, ...]:
    """Other wordings of a question, `COUNT` at most; none in a language without any."""
    own = tuple(_own(question, language))
    frames = (frame.format(question=question) for frame in FRAMES.get(language, ()))
    return tuple(dict.fromkeys([*own, *frames]))[:COUNT]


def reworded(sample: Sample) -> list[Sample]:
    """The sample asked in other words: the last text of its last question is put differently.

    Its id stays, so that answers belong together.
    """
    turns = list(sample.prompt().messages)
    blocks = list(turns[-1].content)
    where = next((i for i in reversed(range(len(blocks))) if isinstance(blocks[i], TextBlock)), None)
    if where is None:
        return []
    said = blocks[where].text  # type: ignore[union-attr]
    question = said.strip()
    made = []
    for other in rewordings(question, sample.language or "en"):
        blocks[where] = TextBlock(text=said.replace(question, other))
        turns[-1] = turns[-1].model_copy(update={"content": tuple(blocks)})
        rest = sample.messages[len(turns) :]
        made.append(sample.model_copy(update={"messages": (*turns, *rest)}))
    return made


def _own(question: str, language: str) -> Iterator[str]:
    for family in FAMILIES:
        for template in family.get(language, ()):
            match = _pattern(template).fullmatch(question)
            if match is not None:
                yield from (
                    other.format(**match.groupdict())
                    for other in family[language]
                    if other != template and set(re.findall(r"\{(\w+)\}", other)) <= set(match.groupdict())
                )
                return


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(template)))
