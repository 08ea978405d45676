"""What denies a word in its clause, in English and Chinese, and what only looks as if it did."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medmvl.tasks.metrics.text import HAN, Word

NO_DENIAL = re.compile(
    r"\bno(?: reasonable| real)? (?:doubt|question|matter|wonder)\b|\bwithout (?:a |any )?(?:doubt|question)\b|\bnot only\b"
    r"|\b(?:can(?:not|'t| not)|could(?:n't| not)) (?:be )?(?:completely |entirely |fully )?(?:excluded?"
    r"|rule[ds]? (?:it |this |that )?out|denied|dismiss(?:ed)?)\b"
    r"|\bnot (?:be )?(?:excluded|ruled out)\b|\bnot (?:un|in)(?:likely|common|usual|consistent|compatible)\w*\b"
    r"|\bnot (?:absent|without|negative|free of)\b|\bno absence of\b|\bno(?:\.|:)? ?\d"
    r"|\bwhether or not\b|\bif not\b|\bwhy not\b"
    r"|非常|不除外|不排除|不能除外|不能排除|未能排除|未排除|无法排除|無法排除|无疑|無疑|毫无疑问|不仅|不僅|不但"
    r"|不光|不止|不同|不一|不均|不规则|不規則|不清晰|不典型"
    r"|未来|无论|無論|不管|是否|是不是|有没有|有沒有|有无|有無|并非没有|不是没有|并非不|未尝不|不无|不無|无不|莫不"
)
"""Phrases that look like a denial and are not: doubled denials, doubt, fixed phrases."""
BEFORE = frozenset(
    ("no", "not", "without", "never", "neither", "nor", "non", "cannot", "isn't", "aren't", "wasn't", "weren't",
     "doesn't", "don't", "didn't", "hasn't", "haven't", "can't", "couldn't", "won't", "wouldn't", "shouldn't", "except",
     "excluding", "exclude", "excludes", "excluded", "unlikely", "denies", "lacks", "lacking", "absent", "ain't", "hardly",
     "scarcely", "eliminate", "eliminates", "eliminated", "eliminating", "reject", "rejects", "rejected", "rejecting",
     "discard", "discards", "discarded", "discarding", "doubtful")
)  # fmt: skip
"""English words that deny what follows them."""
BEFORE_PHRASES = re.compile(
    r"\b(?:rather than|instead of|(?:rul(?:e|es|ed|ing)|rules) out|absence of|lack of|negative for|free (?:of|from)"
    r"|less likely(?: to be)?|other than|different from|opposed to|but not|far from|nothing like|devoid of"
    r"|fail(?:s|ed|ing)? to|(?:argue|speak)s? against|evidence against|resolution of|clear of)\b"
)
AFTER = re.compile(
    r"\s*[:?=]\s*(?:no|false|wrong|incorrect|out|negative|absent|none|excluded|not (?:seen|present|detected))\b"
    r"|\s*[:?=]?\s*(?:\(\s*-\s*\)|[-−](?=\s*(?:[,;.)/]|$)))|\s*(?:[,]?\s*(?:which|that)\s+)?(?:(?:option|choice|answer"
    r"|here|also|therefore|clearly|probably|definitely|both|all)\s+)*"
    r"(?:(?:is|are|was|were|seems?|looks?|appears?|has been|have been|can be|could be|should be|must be|to be"
    r"|would be|does|do|did|can|could|would)\s*)?"
    r"(?:clearly |definitely |probably |also |thus |both |all |therefore |most )*"
    r"(?:(?:not|n't)\b(?! (?:only|un|excluded|ruled))|cannot\b|can't\b|isn't\b|aren't\b|wasn't\b|doesn't\b"
    r"|incorrect\b|wrong\b|false\b|excluded\b|eliminated\b|ruled out\b|unlikely\b|less likely\b|absent\b"
    r"|improbable\b|implausible\b|inconsistent\b|rejected\b|out\b(?! of)|is no\b|(?:has |have )?(?:resolved|disappeared)\b"
    r"|doubtful\b)"
)
"""Words that deny the word before them."""
AFTER_CHINESE = re.compile(
    r"\s*(?:项|項|选项|選項)?\s*(?:的?(?:说法|說法|描述|选项|可能性))?(?:都|均|就|也|则|是|可以|可|应|應|被|已|很"
    r"|较|較|明显|明顯)*"
    r"[:?：？]?\s*(?:不(?!除外|能排除|排除|仅|僅|但|同)|错|錯|排除|未见|未見|没有|沒有|无(?!疑)|無(?!疑)|非(?!常)"
    r"|有误|有誤|除外|可能性(?:小|低|不大))"
)
CHINESE_BEFORE = frozenset("不没沒无無未非否勿莫")
CHINESE_PHRASES = re.compile(r"排除|除外|而非|缺乏|缺少|不见|消失")
BREAK = re.compile(
    r"[.;:!?\n。；：！？]|\b(?:but|however|although|though|while|whereas|yet|leaves|leaving|hence|therefore|thus)\b"
    r"|而是|但|然而|却"
)
"""Marks that end the reach of a denial."""
PAUSE = re.compile(r"[,，、]|\b(?:and|or|nor|&)\b|和|或|及|与")
"""Marks between the members of a list; between other words they end a denial."""
ENGLISH_REACH, CHINESE_REACH = 7, 6
_HAN = re.compile(f"[{HAN}]")


def masked(spelled: str) -> str:
    """The text with what only looks like a denial blanked out, places kept."""
    return NO_DENIAL.sub(lambda match: "\x00" * len(match.group()), spelled)


def denied_before(
    spelled: str, place: int, words: Sequence[Word], first: int, members: Sequence[bool]
) -> bool:
    """Whether a word is denied by what precedes it in its clause.

    Args:
        spelled: the text as `masked` gave it.
        place: where the word begins.
        words: the words of the text.
        first: index of the word.
        members: for each word, whether it belongs to some choice: denials pass over lists of choices.
    """
    denials, steps, end = 0, 0, place
    chinese = bool(_HAN.match(words[first].text))
    reach = CHINESE_REACH if chinese else ENGLISH_REACH
    for index in range(first - 1, -1, -1):
        word = words[index]
        between = spelled[word.end : end]
        if BREAK.search(between) or BREAK.fullmatch(word.text) or _breaks(words, index):
            break
        if word.text == "nor":
            return True
        if (PAUSE.search(between) or PAUSE.fullmatch(word.text)) and not _joins(words, index, members):
            break
        if "\x00" not in spelled[word.start : word.end] and word.text in (CHINESE_BEFORE | BEFORE):
            denials += 1
        elif not members[index] and not PAUSE.fullmatch(word.text):
            steps += 1
        end = word.start
        if steps > reach:
            break
    phrase = spelled[end:place]
    denials += len(BEFORE_PHRASES.findall(phrase)) + len(CHINESE_PHRASES.findall(phrase))
    return denials > 0


def _breaks(words: Sequence[Word], index: int) -> bool:
    pair = words[index].text + (words[index + 1].text if index + 1 < len(words) else "")
    return pair in ("而是", "然而") or words[index].text in ("但", "却")


def _joins(words: Sequence[Word], index: int, members: Sequence[bool]) -> bool:
    """Whether the pause after or at a word joins two members of a list of choices."""
    left = index if not PAUSE.fullmatch(words[index].text) else index - 1
    return left >= 0 and members[left] and members[index + 1]


def denied_after(spelled: str, end: int) -> bool:
    """Whether a word is denied by what directly follows it (`is wrong`, `不对`); `spelled` as `masked` gave it."""
    rest = spelled[end : end + 60]
    return AFTER.match(rest) is not None or AFTER_CHINESE.match(rest) is not None
