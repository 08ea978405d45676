"""Rewards of an answer's form: sections, length, language, marks of reasoning and answer. A wrong answer can have them all."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from medmvl.rewards.reward import Reward, Role
from medmvl.schema.reasoning import CLOSING, OPENING
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.text import words

_SENTENCE = re.compile(r"(?<!\d)[.](?!\d)|[!?;。！？；\n]")
_HAN, _LATIN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]"), re.compile(r"[A-Za-z]+")


class SectionStructure(Reward):
    """The share of the wanted sections that come once each, in order, with text below them.

    Fooled by: any text below the right headings; it looks at no claim.
    """

    role: ClassVar[Role] = "form"

    sections: tuple[str, ...] = Field(default=("Findings", "Impression"), min_length=1)
    """Headings in their order; each begins a line and is followed by a colon or a line break."""

    def score(self, record: Record) -> float:
        """Headings that are repeated or out of order do not count."""
        text = record.answer
        places = [
            [match.end() for match in re.finditer(_heading(name), text, re.IGNORECASE | re.MULTILINE)]
            for name in self.sections
        ]
        heads = re.compile("|".join(map(_heading, self.sections)), re.IGNORECASE | re.MULTILINE)
        found, last = 0, -1
        for ends in places:
            if len(ends) == 1 and ends[0] > last and words(heads.split(text[ends[0] :])[0]):
                found, last = found + 1, ends[0]
        return found / len(self.sections)


def _heading(name: str) -> str:
    return rf"^[#*\s【\[]*{re.escape(name)}[*\s】\]]*(?:[:：]|$)"


class LengthBand(Reward):
    """1 where the answer has a wanted number of words, less the further it is away; a repeated sentence counts once.

    Chinese counts by character. Fooled by: padding with sentences that differ and say nothing.
    """

    role: ClassVar[Role] = "form"

    shortest: PositiveInt = 1
    """Minimum number of words of an answer."""
    longest: PositiveInt = 200
    """Maximum number of words of an answer."""

    @model_validator(mode="after")
    def _a_band(self) -> LengthBand:
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is more than longest {self.longest}")
        return self

    def score(self, record: Record) -> float:
        """Below the band the share of words that are there; above it, the share that there should be."""
        written = len(words(record.answer))
        sentences = {
            " ".join(words(sentence)): words(sentence) for sentence in _SENTENCE.split(record.answer)
        }
        different = sum(map(len, sentences.values()))
        if not different:
            return 0.0
        return min(1.0, different / self.shortest, self.longest / written)


class SameLanguage(Reward):
    """1 where the answer is in the language of the question, English or Chinese, else 0; one word of either decides it.

    Numbers, units and letters of a choice alone fit both languages. Fooled by: anything in the right language.
    """

    role: ClassVar[Role] = "form"

    def missing(self, record: Record) -> str | None:
        """A language, said or seen."""
        return None if record.language or record.question.strip() else "a language or a question"

    def score(self, record: Record) -> float:
        """Chinese answers may hold Latin abbreviations; English ones no Chinese character."""
        answer = record.answer
        if not words(answer):
            return 0.0
        wanted = record.language or ("zh" if _HAN.search(record.question) else "en")
        chinese = len(_HAN.findall(answer))
        if wanted == "en":
            return float(chinese == 0)
        latin = sum(len(word) > 2 and not word.isupper() for word in _LATIN.findall(answer))
        return float(chinese >= latin)


class Format(Reward):
    """1 where the answer has exactly the marks that were asked for, each once, with something inside and nothing around.

    Fooled by: any content between the right marks.
    """

    role: ClassVar[Role] = "form"
    reads_thoughts: ClassVar[bool] = True

    marks: Literal["thinking", "answer", "thinking and answer", "boxed"] = "answer"
    r"""`thinking`: `<think>...</think>` before the answer; `answer`: `<answer>...</answer>`; or both; `boxed`: one
    `\boxed{...}`."""

    def score(self, record: Record) -> float:
        """All or nothing."""
        found = _MARKS[self.marks].fullmatch(record.answer.strip())
        return float(found is not None and all(words(part) for part in found.groups()))


_INSIDE = rf"((?:(?!{OPENING}|{CLOSING}|</?answer>).)*)"
_MARKS = {
    "thinking": re.compile(rf"{OPENING}{_INSIDE}{CLOSING}\s*{_INSIDE}", re.DOTALL),
    "answer": re.compile(rf"<answer>{_INSIDE}</answer>", re.DOTALL),
    "thinking and answer": re.compile(
        rf"{OPENING}{_INSIDE}{CLOSING}\s*<answer>{_INSIDE}</answer>", re.DOTALL
    ),
    "boxed": re.compile(r"(?:(?!\\boxed).)*\\boxed\{([^{}]*)\}(?:(?!\\boxed).)*", re.DOTALL),
}
