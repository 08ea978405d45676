"""Which of the choices an answer settles on: by letter or by option, the last decision first, denied ones never."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from medmvl.tasks.answers.contrast import affirmed_part, closed_part, names_normal, normal_part, places_of
from medmvl.tasks.answers.denial import PAUSE, denied_after, denied_before, masked
from medmvl.tasks.answers.final import conclusions, decisions, visible_answer
from medmvl.tasks.answers.measured import measured_in_one_form, same_value
from medmvl.tasks.answers.one_form import (
    groups_in_one_form,
    lobes_in_one_form,
    marker_names,
    names_lobe,
    results_in_one_form,
    same_words,
)
from medmvl.tasks.answers.yes_no import find_polarity, word_polarity
from medmvl.tasks.metrics.text import Word, has_chinese, normalise, placed_words, spell_with_case

_LETTER = re.compile(r"(?<![A-Za-z0-9'.])(?:\(|\[)?([A-Za-z])(?:\)|\])?(?![A-Za-z0-9']|-[A-Za-z])")
_LABELLED = re.compile(
    r"(?:\b(?:option|choice|answer|letter|select|choose|pick)|选项|選項|选|選|答案|答|:|：)\s*[:：]?\s*[\"'(\[]*$",
    re.IGNORECASE,
)
_AFTER_LETTER = re.compile(r"\s*(?:[.:)、，,;；=\-]|：|$|\n|项|項)")
_WORD_FOLLOWS = re.compile(
    r"\s+(?!(?:because|since|as|and|or|but|is|was|which|due|based|given|not|rather|instead|for|seems|would|in)\b)[a-z]"
)
_NOT_A_LETTER = re.compile(
    r"\b(?:type|grade|stage|group|class|segment|zone|level|hepatitis|vitamin|figure|panel|image|lobe|part)\s*$|[型级期组图]$",
    re.IGNORECASE,
)
_CORRECT = re.compile(
    r"\W{0,3}(?:(?:is|was|would be|seems|appears|remains)\s+)?(?:therefore |thus |clearly |indeed |definitely )*(?:the\s+)?"
    r"(?:most\s+(?:likely|appropriate|accurate|plausible|consistent)|more\s+likely|only\s+correct|correct|right(?=\s*(?:answer"
    r"|choice|option|one|[.,;!]|$))|best|true|final\s+answer|answer)\b"
    r"|\s*(?:项|項|选项|選項)?(?:才)?(?:是|为|為)?(?:最)?(?:正确|正確|对的|對的|符合题意|佳|合适)"
)
_REASON = re.compile(r"\b(?:because|since|as|than|unlike|whereas|while)\b|因为|由于|而不是|而非")
"""Words that begin the reason of an answer, where other choices may be named."""
_NEGATED_CHOICE = re.compile(
    r"^(?:no|not|non|without|absence of|absent|lack of|free of|negative for|无|無|没 有|沒 有|未 见|未 見|不|非"
    r"|否)\s*(?:evidence of |signs? of |any )?"
)
_POSITIVE_CHOICE = re.compile(r"^(?:with|presence of|present|positive for|有|可 见|存 在)\s+")
_SIGNS = frozenset("<>≤≥±")
_LETTERED = re.compile(r"^\s*[(\[]?([A-Za-z])[)\].:、：]\s*(?=\S)")


@dataclass(frozen=True)
class Mention:
    """A choice that a text names."""

    choice: int
    start: int
    end: int
    denied: bool


def find_choice(answer: str, choices: Sequence[str], question: str = "") -> str | None:
    """The one choice that the answer settles on, or None where it names none, several, or only denies some.

    Longer choices are looked for first and use up their words, so "left lower lobe" does not also name
    "left", and 没有 does not also name 有. Choices that are single letters are letters; choices that carry their letters
    ("A. axial") may be named by letter, by text or by both. Yes and no may be said in any wording. The question tells whether
    what is called normal was asked for, and of which side yes or no is meant.
    """
    if not choices:
        return None
    place = choose(answer, choices, question=question)
    return None if place is None else choices[place]


def choose(
    answer: str, choices: Sequence[str], *, letters: bool | None = None, question: str = ""
) -> int | None:
    """Index of the choice that the answer settles on, or None.

    Args:
        answer: what was said.
        choices: letters alone, options alone, or options after their letters.
        letters: whether options may be named by their letters; None: where the choices are or carry letters.
        question: what was asked, where it is known.
    """
    named = letters_of(choices)
    marks = marks_of(choices) if letters else named
    options = (
        []
        if all(_is_letter(choice) for choice in choices)
        else [without_letter(c) if named else c for c in choices]
    )
    polarities = [word_polarity(choice) for choice in (options or choices)]
    is_closed = polarities.count(True) == polarities.count(False) == 1
    if is_closed:
        answer = closed_part(visible_answer(answer), question)
    if is_closed and not marks:
        return _closed(answer, choices, polarities)
    said = visible_answer(answer)
    if any(map(places_of, options)) and not any(map(names_normal, options)):
        said = normal_part(said) if names_normal(question) else affirmed_part(said)
    reading = _read_in_one_form(said, options, marks)
    place = _settled(reading, options)
    if place is None and options and not reading.mentions:
        measured = [measured_in_one_form(spell_with_case(option)) for option in options]
        place = same_value(reading.text, measured)
        place = same_words(reading.text, measured) if place is None else place
    return _closed(answer, options, polarities) if place is None and is_closed else place


def letters_of(choices: Sequence[str]) -> list[str]:
    """The letters that choices are or carry, as capitals; nothing where some have none or two the same."""
    found = [
        choice.strip() if _is_letter(choice) else match[1] if (match := _LETTERED.match(choice)) else ""
        for choice in choices
    ]
    capitals = [letter.upper() for letter in found]
    return capitals if len(choices) > 1 and all(capitals) and len(set(capitals)) == len(capitals) else []


def marks_of(choices: Sequence[str]) -> list[str]:
    """The letters by which choices may be named, as capitals: those they are or carry, else A, B, C ..."""
    return letters_of(choices) or list(ascii_uppercase[: len(choices)])


def without_letter(option: str) -> str:
    """An option without the letter before it (`" A:Axial "`)."""
    return _LETTERED.sub("", option, count=1).strip()


def _is_letter(choice: str) -> bool:
    return len(choice.strip()) == 1 and choice.strip().isascii() and choice.strip().isalpha()


def _closed(answer: str, choices: Sequence[str], said: Sequence[bool | None]) -> int | None:
    """The choice of yes or no, or one of those next to them, such as `maybe`."""
    others = [choice for choice, polarity in zip(choices, said, strict=True) if polarity is None]
    if others and (named := find_choice(answer, others)) is not None:
        return list(choices).index(named)
    polarity = find_polarity(answer)
    return None if polarity is None else said.index(polarity)


@dataclass(frozen=True)
class _Reading:
    """A text and the choices it names."""

    text: str
    mentions: list[Mention]


def _read_in_one_form(text: str, options: Sequence[str], letters: Sequence[str]) -> _Reading:
    """Read names in the form of the options, where options have some; as they are written where that finds nothing."""
    spelled = [spell_with_case(one) for one in (text, *options)]
    rewritten = groups_in_one_form(spelled)
    if any(map(names_lobe, options)):
        chinese = any(map(has_chinese, options))
        rewritten = [lobes_in_one_form(one, chinese=chinese) for one in rewritten]
    if markers := marker_names(spelled[1:]):
        rewritten = [results_in_one_form(one, markers) for one in rewritten]
    if rewritten != spelled:
        reading = _reading(rewritten[0], rewritten[1:], letters)
        if reading.mentions:
            return reading
    return _reading(text, options, letters)


def _reading(text: str, options: Sequence[str], letters: Sequence[str]) -> _Reading:
    kept = measured_in_one_form(spell_with_case(text))
    spelled = kept.casefold() if len(kept.casefold()) == len(kept) else kept.lower()
    words = placed_words(spelled)
    spans, free = _option_spans(words, options)
    if letters:
        taken = {index for index, is_free in enumerate(free) if not is_free}
        spans += _letter_spans(kept, letters, words, taken)
    hidden = masked(spelled)
    members = [any(start <= word.start < end for _, start, end in spans) for word in words]
    mentions = []
    for choice, start, end in sorted(spans, key=lambda span: span[1]):
        first = next((n for n, word in enumerate(words) if word.end > start), 0)
        denied = denied_before(hidden, start, words, first, members) or denied_after(
            hidden, _list_end(end, spans, hidden)
        )
        mentions.append(Mention(choice, start, end, denied))
    return _Reading(kept, mentions)


def _list_end(end: int, spans: Sequence[tuple[int, int, int]], text: str) -> int:
    """Where the list of choices ends that a mention is a member of: `A, B and C are wrong` denies all three."""
    for _, start, stop in sorted(spans, key=lambda span: span[1]):
        if start >= end and _joined(text[end:start]):
            end = stop
    return end


def _joined(between: str) -> bool:
    return not PAUSE.sub("", between).strip(" \"'()[].") and len(between) < 12 and ". " not in between


def _option_spans(
    words: Sequence[Word], options: Sequence[str]
) -> tuple[list[tuple[int, int, int]], list[bool]]:
    """Places where the texts of options are; each word is used once, by the longest option."""
    free = [True] * len(words)
    wanted = [
        [word.text for word in placed_words(measured_in_one_form(spell_with_case(option)).casefold())]
        for option in options
    ]
    spans = []
    for choice in sorted(range(len(options)), key=lambda choice: -len(wanted[choice])):
        size = len(wanted[choice])
        for first in range(len(words) - size + 1) if size else ():
            here = [word.text for word in words[first : first + size]]
            if (
                here == wanted[choice]
                and all(free[first : first + size])
                and not _part_of_number(words, first, size)
            ):
                free[first : first + size] = [False] * size
                spans.append((choice, words[first].start, words[first + size - 1].end))
    return spans, free


def _part_of_number(words: Sequence[Word], first: int, size: int) -> bool:
    """Whether a number comes after a comparison or in a range that the choice does not have."""
    before = words[first - 1].text if first else ""
    number = words[first].text[-1].isdigit()
    ranged = number and before == "to" and first > 1 and words[first - 2].text[-1].isdigit()
    after = [word.text for word in words[first + size : first + size + 2]]
    opened = (
        words[first + size - 1].text[-1].isdigit()
        and len(after) == 2
        and after[0] == "to"
        and after[1][-1].isdigit()
    )
    return (number and before in _SIGNS) or ranged or opened


def _letter_spans(
    kept: str, letters: Sequence[str], words: Sequence[Word], taken: set[int]
) -> list[tuple[int, int, int]]:
    """Letters that stand for choices: clearly marked ones or, where there are none, capitals that stand alone."""
    starts = {start for start, _ in (*decisions(kept), *conclusions(kept))}
    used = [(words[index].start, words[index].end) for index in taken]
    firm, loose = [], []
    for match in _LETTER.finditer(kept):
        letter = match[1]
        if letter.upper() not in letters or any(start <= match.start(1) < end for start, end in used):
            continue
        span = (letters.index(letter.upper()), match.start(1), match.end())
        before, after = kept[: match.start()], kept[match.end() :]
        article = letter in "aAI" and match.group() == letter and _WORD_FOLLOWS.match(after) is not None
        if _is_firm(match, before, after, starts) and not article:
            firm.append(span)
        elif letter.isupper() and not article and not _NOT_A_LETTER.search(before):
            loose.append(span)
    return firm + [span for span in loose if firm and _is_chained(span, firm, kept)] if firm else loose


def _is_firm(match: re.Match[str], before: str, after: str, starts: Iterable[int]) -> bool:
    alone = not before.strip(" \n\t\"'.,:;") and not after.strip(" \n\t\"'.,:;!。")
    bracketed = len(match.group()) == 3 and match.group()[0] in "(["
    opens = (not before.strip() or before.rstrip(" ")[-1] in ".;!?\n。；！？") and _AFTER_LETTER.match(
        after
    ) is not None
    closed = match.group()[-1] in ")]" and (not before.strip() or before.endswith("\n"))
    decided = any(start <= match.start(1) <= start + 1 for start in starts)
    return alone or bracketed or opens or closed or decided or _LABELLED.search(before) is not None


def _is_chained(span: tuple[int, int, int], firm: Sequence[tuple[int, int, int]], text: str) -> bool:
    """Whether a capital follows or precedes a marked letter in a list: `option A or B`."""
    return any(
        _joined(text[end : span[1]]) if end <= span[1] else _joined(text[span[2] : start])
        for _, start, end in firm
    )


def _settled(reading: _Reading, options: Sequence[str]) -> int | None:
    """The choice of the last decision; without one, the only choice that is named and not denied."""
    denied: set[int] = set()
    for groups in (_decided(reading), _concluded(reading)):
        for group in reversed(groups):
            said = {mention.choice for mention in group if not mention.denied}
            if said:
                return said.pop() if len(said) == 1 and not said & denied else None
            denied |= {mention.choice for mention in group}
    if (opening := _opening(reading)) is not None:
        return opening
    last = {mention.choice: mention.denied for mention in reading.mentions}
    named = [choice for choice, is_denied in last.items() if not is_denied]
    if named:
        return named[0] if len(named) == 1 else None
    return _opposite(list(last), options) if len(last) == 1 else None


def _opening(reading: _Reading) -> int | None:
    """The choice that a text begins with, by letter and option, where others are named in its reason alone."""
    letter, option = (*reading.mentions, None, None)[:2]
    if letter is None or option is None or letter.choice != option.choice or letter.denied or option.denied:
        return None
    begins = not reading.text[: letter.start].strip(" \n\t\"'*([") and letter.end - letter.start <= 2
    beside = not reading.text[letter.end : option.start].strip(" .:)]、，,*-")
    others = [one for one in reading.mentions[2:] if one.choice != letter.choice]
    reasoned = all(_REASON.search(reading.text, option.end, one.start) for one in others)
    return letter.choice if begins and beside and reasoned else None


def _decided(reading: _Reading) -> list[list[Mention]]:
    """Groups of mentions that are announced as the answer, in order."""
    groups = _within(reading, decisions(reading.text))
    for number, mention in enumerate(reading.mentions):
        if _called_correct(reading, mention) and not mention.denied:
            groups.append((mention.start, _chain(reading, number)))
    return [group for _, group in sorted(groups, key=lambda group: group[0])]


def _called_correct(reading: _Reading, mention: Mention) -> bool:
    """Whether the words after a mention call it correct; the next choice may be `right` and calls nothing so."""
    match = _CORRECT.match(reading.text[mention.end : mention.end + 60])
    end = 0 if match is None else mention.end + match.end()
    asked = re.match(r"[^.;!。；！\n]{0,40}[?？]", reading.text[end:])
    return (
        match is not None
        and not asked
        and not any(mention.end <= other.start < end for other in reading.mentions)
    )


def _concluded(reading: _Reading) -> list[list[Mention]]:
    return [group for _, group in _within(reading, conclusions(reading.text))]


def _within(reading: _Reading, spans: Sequence[tuple[int, int]]) -> list[tuple[int, list[Mention]]]:
    """For each announced statement, its denied mentions and the first affirmed one with those in one list with it."""
    groups = []
    for start, end in spans:
        inside = [n for n, mention in enumerate(reading.mentions) if start - 1 <= mention.start < end]
        denied = [reading.mentions[n] for n in inside if reading.mentions[n].denied]
        first = next((n for n in inside if not reading.mentions[n].denied), None)
        group = denied + ([] if first is None else _chain(reading, first, end))
        if group:
            groups.append((start, group))
    return groups


def _chain(reading: _Reading, number: int, end: int | None = None) -> list[Mention]:
    """A mention and those that are in one list with it."""
    chain = [reading.mentions[number]]
    for mention in reading.mentions[number + 1 :]:
        if (end is not None and mention.start >= end) or not _joined(
            reading.text[chain[-1].end : mention.start]
        ):
            break
        chain.append(mention)
    for mention in reversed(reading.mentions[:number]):
        if not _joined(reading.text[mention.end : chain[0].start]):
            break
        chain.insert(0, mention)
    return [mention for mention in chain if not mention.denied]


def _opposite(denied: Sequence[int], options: Sequence[str]) -> int | None:
    """`no contrast` where only `contrast` was denied: the choice that is the denial of the denied one."""
    cores = [_POSITIVE_CHOICE.sub("", normalise(option)) for option in options]
    negated = {
        place: _NEGATED_CHOICE.sub("", core)
        for place, core in enumerate(cores)
        if _NEGATED_CHOICE.match(core)
    }
    found = [
        place for place, core in negated.items() if denied[0] not in negated and core == cores[denied[0]]
    ]
    return found[0] if len(found) == 1 else None
