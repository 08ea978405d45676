r"""The part of an answer that counts: without thoughts, out of boxes and tags, after the words that announce it.

Reasoning models think aloud, in `<think>` and its like, and announce what they settle on: `final answer: D`,
`\boxed{D}`, `正确答案是D`. What comes before is no answer.
"""

from __future__ import annotations

import re

from medmvl.schema.reasoning import without_reasoning

_TAGGED = re.compile(
    r"<\s*(answer|final_answer|final|solution)\s*>(.*?)(?:<\s*/\s*\1\s*>|$)", re.DOTALL | re.IGNORECASE
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}")
_MARKDOWN = re.compile(
    r"\*+|`+|(?m:^\s{0,3}#{1,6}\s)|(?<!\w)_{1,2}(?=\w)|(?<=\w)_{1,2}(?!\w)|\$|\\[()\[\]]|<\|[a-z_]+\|>|</?s>"
)
_FINAL = re.compile(
    r"(?:\bfinal\s+(?:answer|choice|decision|diagnosis)|最终(?:答案|选择|结论|诊断)|最後答案|最后答案)"
    r"\s*(?:is|would be|should be|是|为|為|[:：\-]|\n)*\s*",
    re.IGNORECASE,
)
_DECISION = re.compile(
    r"""
    \b(?:final|correct|right|best|true|most\ (?:likely|appropriate)|only|my|the|an?)?\s*
      (?:answer|choice|option|selection|response)\b"?\s*
      (?:(?:to|of|for|here|that|which|i)\b[^.:;!?\n,]{0,60}?\s*)?
      (?:\b(?:is|was|would\ be|should\ be|must\ be|has\ to\ be|remains|seems(?:\ to\ be)?)(?!\w)
      |isn't|(?=n't)|[:：=]|(?<=answer)\s*-|(?<=answer)\s*\n)+
    | \b(?:i(?:'d|'ll|\ would|\ will|\ should)?\s+(?:therefore\ |thus\ |finally\ )?
      (?:choose|chose|pick|select|go\ (?:with|for)|opt\ for|settle\ on|answer|vote\ for))\b:?
    | (?:最终|最後|最后|正确|正確|最佳|标准|標準|我的)?(?:答案|答|选项|選項|选择|選擇|结论|結論)
      (?:应该|应当|應該|应|應|就)?(?:是|为|為|选|選|[:：])+
    | (?:故|应|應|应该|應該|因此|所以|我|就|只能|最终|最后)(?:应|應)?(?:选择|選擇|选|選)(?![项項])[:：]?
    | (?<![不勿别別可备備])(?:选择|選擇|选|選)(?=\s*[A-Za-zＡ-Ｚ](?![A-Za-z]))
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|in conclusion|to conclude|in summary|overall|ultimately|consequently|so|finally"
    r"|conclusion)\b\s*[,:]?"
    r"|\b(?:more|most) (?:likely|probably)\b(?=[:,]?\s+(?!than|because|since|due|given|explanation|cause)\w)"
    r"|\b(?:leaves|leaving)\b"
    r"|(?:因此|所以|综上所述|綜上所述|综上|總之|总之|最终|故)[,，:：]?",
    re.IGNORECASE,
)
_STATEMENT_END = re.compile(r"[.!?](?=\s|$)|[。！？;；\n]")


def visible_answer(text: str) -> str:
    """The answer without thoughts; the last tagged or boxed part and what follows `final answer`, where there is one.

    Nothing is left of an answer that never ends its thoughts.
    """
    text = without_reasoning(text)
    if "<" in text:
        tagged = [match[2] for match in _TAGGED.finditer(text)]
        text = tagged[-1] if tagged else text
    if "\\" in text:
        text = _LATEX_TEXT.sub(r"\1", text)
        boxes = _BOX.findall(text)
        text = boxes[-1] if boxes else text
    text = plain(text)
    final = [match.end() for match in _FINAL.finditer(text) if text[match.end() :].strip(" .:：\n")]
    return text[final[-1] :].strip() if final else text.strip()


def plain(text: str) -> str:
    """Text without the marks of Markdown and formulas."""
    return _MARKDOWN.sub("", text) if any(mark in text for mark in "*`#_$\\<") else text


def decisions(text: str) -> list[tuple[int, int]]:
    """Statements that announce an answer (`the answer is ...`, `故选...`), as spans of what they announce, in order.

    A question announces nothing.
    """
    return _statements(text, _DECISION)


def conclusions(text: str) -> list[tuple[int, int]]:
    """Statements after `therefore`, `in conclusion`, `因此` and their like: weaker than `decisions`."""
    return _statements(text, _CONCLUSION)


def _statements(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    found = []
    marks = list(pattern.finditer(text))
    for number, match in enumerate(marks):
        start = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip(" \n\t\"'(["))
        limit = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        end = _STATEMENT_END.search(text, start + 2)
        if end is not None and end.start() < limit and end[0] in "?？":
            continue  # asked, not announced
        found.append((start, min(limit, end.start() if end else limit) if limit > start else limit))
    return [(start, end) for start, end in found if end > start]
