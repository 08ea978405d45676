"""Yes and no in every wording, English and Chinese: one vocabulary for judges, converters and prediction files."""

from __future__ import annotations

import re
from functools import lru_cache

from medmvl.tasks.answers.denial import NO_DENIAL
from medmvl.tasks.answers.final import conclusions, decisions, visible_answer
from medmvl.tasks.metrics.text import has_chinese, normalise, spell

PAIRS: tuple[tuple[str, str], ...] = (
    ("yes", "no"), ("是", "否"), ("有", "没有"), ("是", "不是"), ("有", "无"), ("对", "错"), ("有", "無"), ("有", "沒有"),
    ("對", "錯"), ("对", "不对"), ("對", "不對"), ("正确", "错误"), ("正確", "錯誤"), ("正确", "不正确"), ("存在", "不存在"),
    ("可见", "未见"), ("可見", "未見"), ("阳性", "阴性"), ("陽性", "陰性"), ("能", "不能"), ("可以", "不可以"), ("会", "不会"),
    ("真", "假"), ("true", "false"), ("positive", "negative"), ("present", "absent"), ("present", "not present"),
    ("seen", "not seen"), ("visible", "not visible"), ("detected", "not detected"), ("correct", "incorrect"),
    ("right", "wrong"), ("agree", "disagree"), ("yes", "none"), ("y", "n"),
)  # fmt: skip
"""Ways to answer a closed question, yes first. A reference that is one of these closes its question."""
YES = frozenset(normalise(yes) for yes, _ in PAIRS) | frozenset(
    map(normalise, (
        "yeah", "yep", "yup", "sure", "certainly", "definitely", "indeed", "affirmative", "of course", "absolutely",
        "observed", "identified", "found", "noted", "evident", "it is", "there is", "there are", "it does", "they are",
        "t", "pos", "+", "++", "+++", "i believe so", "i think so", "almost certainly", "very likely", "most likely",
        "可疑", "疑似",
        "是的", "对的", "有的", "是有的", "确实", "確實", "可以看到", "看到", "能看到", "见到", "發現", "发现",
        "能见", "肯定", "没错", "沒錯",
    ))
)  # fmt: skip
NO = frozenset(normalise(no) for _, no in PAIRS) | frozenset(
    map(normalise, (
        "nope", "nah", "not", "never", "nothing", "nil", "not observed", "not identified", "not found", "not noted",
        "not evident", "it is not", "it isn't", "there is not", "there are not", "there isn't", "there aren't",
        "it does not", "it doesn't", "none seen", "none detected", "none observed", "none identified", "not at all",
        "denied", "f", "neg", "(-)", "absolutely not", "definitely not", "certainly not", "of course not", "not really",
        "probably not", "likely not", "most likely not", "i do not think so", "i don't think so", "not that i can see",
        "hardly", "resolved", "i doubt it", "doubtful",
        "不", "不是的", "没", "沒", "未", "并非", "並非", "并没有", "並沒有", "并无", "並無", "未发现",
        "未發現", "未见到", "没有发现", "未看到", "没看到", "看不到", "见不到", "未显示", "未提示", "未检出", "否定",
        "非", "没见", "不可见",
    ))
)  # fmt: skip
OPENING_YES = frozenset(("yes", "yeah", "yep", "correct", "true", "positive", "affirmative"))
OPENING_NO = frozenset(("no", "nope", "none", "negative", "false", "incorrect", "absent", "neither"))
"""Words that say yes or no where more follows: `right` or `found` would begin a claim there."""
_UNSURE = re.compile(
    r"\b(?:(?:can(?:not|'t| not)|could not|couldn't|unable to|not possible to|impossible to|difficult to"
    r"|hard to) (?:be )?(?:tell|say|determined?|answer(?:ed)?|assess(?:ed)?|evaluated?|judged?|know)"
    r"|(?:i )?(?:do not|don't) know|not sure|uncertain|unclear|unknown|indeterminate|insufficient information"
    r"|maybe|perhaps)\b"
    r"|不清楚|不确定|不確定|(?:无法|不能|不可能)(?:判断|确定|评估|肯定|确认)|無法|不知道|难以(?:判断|确定|评估|确认)|不好说|也许|未必|不一定"
)
_INTERJECTION = re.compile(
    r"\b(?P<deny>not |isn't |n't )?(?:(?P<yes>yes|yeah|yep|yup|affirmative|definitely yes|correct(?=[.,!;]|\s*$)"
    r"|true(?=[.,!;]|\s*$)|positive(?=[.,!;]|\s*$))"
    r"|(?P<no>no(?=\s*(?:[,.;:!?\n)\]\"'—–-]|$|there\b|it\b|the\b|this\b|that\b|they\b|i\b|we\b|these\b|those\b"
    r"|neither\b))|nope|incorrect(?=[.,!;]|\s*$)|false(?=[.,!;]|\s*$)|negative(?=[.,!;]|\s*$)|none(?=\s*(?:[,.;]"
    r"|$|of\b|(?:is|are|was|were|seen|detected|observed)\b))))\b"
)
_STATED_NO = re.compile(
    r"\bi (?:strongly |highly )?doubt\b"
    r"|\bno\b|\b(?:probably|likely|possibly|certainly|definitely|absolutely|really) not\b"
    r"|\bnot (?:very |at all )?(?:likely|probable)\b"
    r"|\bnot (?:be |been |clearly |definitely |currently )?(?:seen|present|visible|visualized|visualised"
    r"|detected|observed|identified|found|noted|evident|shown|demonstrated|appreciated|involved|affected|there"
    r"|have|has|exist|any)\b"
    r"|\b(?:isn't|aren't|wasn't|weren't|doesn't|don't|hasn't) (?:be |been |any |an? )?(?:seen|present|visible"
    r"|detected|observed|identified|found|noted|evident|shown|there|have|any|exist|show|contain)\b"
    r"|\b(?:there|it|this) (?:isn't|aren't|wasn't|is not|are not|was not)\b|\bwithout\b|\babsent\b|\babsence\b"
    r"|\bnegative\b|\bfree of\b|\bnone\b|\bnothing\b|\bneither\b|\blacks?\b|\bnever\b"
    r"|\b(?:does|do|did) not\b|\b(?:doesn't|don't|didn't)\b|\bcannot be (?:seen|found|identified)\b|\b(?:has"
    r"|have) been (?:excluded|ruled out)\b|\b(?:is|are|was|were) (?:excluded|ruled out)\b|\bunlikely\b"
)
_STATED_YES = re.compile(
    r"\b(?:there(?:'s| is| are| was| were| exists?)|(?:is|are|was|were|be) (?:also |clearly |definitely "
    r"|indeed )?(?:seen|present|visible|visualized|visualised|detected|observed|identified|found|noted|evident"
    r"|shown|demonstrated)"
    r"|(?:shows?|demonstrates?|reveals?|contains?|has|have|exhibits?|indicates?|suggests?|displays?)|evidence of"
    r"|consistent with|compatible with|positive for|possibl[ye]|probabl[ye]|likely|suspicious for|suspected)\b"
    r"|\b(?:seen|present|visible|observed|detected|identified|noted)\s*(?:[.,;]|$)"
)
_CONTRADICTED = re.compile(
    r"\b(?:(?:not|isn't) (?:true|correct|right|accurate|the case)|untrue|false|wrong|incorrect)(?: to say)? that\b"
)
_CHINESE_NO = re.compile(
    r"未见|未見|未发现|未發現|未看到|未显示|未顯示|未检出|未提示|没有|沒有|没|沒|不存在|不是|不对|不對|不正确"
    r"|不正確|不可见|不会|不能|不可以|不见|看不到|见不到|并非|並非|并无|並無|错|錯|否|阴性|陰性|假|无|無|未|不|非"
)
_CHINESE_YES = re.compile(
    r"是|对|對|有|可见|可見|存在|正确|正確|阳性|陽性|能|可以|会|會|见|見|发现|發現|显示|顯示|提示|真|确实|確實|考虑"
)
_CHINESE_DOUBT = re.compile(
    r"不除外|不排除|不能除外|不能排除|未能排除|未排除|无法排除|無法排除|不无可能|无疑|無疑|毫无疑问|没错|沒錯|不错"
    r"|不是没有|不是沒有|并非没有|並非沒有|不是不|并非不|未尝不|无不|不是无"
)
_CHINESE_LIST = re.compile(r"[、和或及与/]")
_DENIED_WORD = re.compile(r"\s*(?:不是|并非|並非|不为|非)\s*[\"“'「]?(\w+)")
"""`不是是`: a word of yes or no that is itself denied."""
_CHINESE_IGNORED = re.compile(
    r"有没有|有沒有|是不是|是否|有无|有無|对不对|能否|能不能|非常|没关系|对于|對於|对比|对称|对照|有些|有点|不仅"
    r"|不但|不规则|不均匀?|不清|不一|不同|无论|错位"
)
_CLAUSE = re.compile(r"[,，.。;；!！?？\n]|但是?|然而|不过")
_OPEN_QUESTION = re.compile(
    r"^\s*(?:please\s+)?(?:where|what|which|how (?:many|much|large|big|long|severe)|who|when|why|in (?:what"
    r"|which)|on (?:what|which)|list|name|describe)\b|什么|什麼|哪|多少|几|怎|为何|如何|请描述",
    re.IGNORECASE,
)
_ALSO_CONTENT = frozenset(
    map(
        normalise,
        (
            "无",
            "無",
            "没有",
            "沒有",
            "none",
            "absent",
            "present",
            "seen",
            "visible",
            "detected",
            "right",
            "能",
            "会",
            "y",
            "n",
        ),
    )
)
"""Words that answer open questions too: what is wrong? none; on which side? right."""


def word_polarity(text: str) -> bool | None:
    """Yes or no where the whole text is a wording of it, else None."""
    return said_polarity(normalise(text))


def said_polarity(said: str) -> bool | None:
    """Yes or no as in `word_polarity`, for text that is normalised already."""
    return True if said in YES else False if said in NO else None


@lru_cache(maxsize=4096)
def yes_no_choices(answer: str, question: str = "") -> tuple[str, ...]:
    """The pair of choices that a reference is one of, yes first, or nothing where it is neither yes nor no.

    Args:
        answer: the reference.
        question: what was asked; `none` or `right` does not close a question that asks what or where.
    """
    said = normalise(answer)
    pair = next((pair for pair in PAIRS if said in (normalise(pair[0]), normalise(pair[1]))), ())
    if said in _ALSO_CONTENT and (_OPEN_QUESTION.search(question) or said in ("right", "y", "n", "能", "会")):
        return ()
    return pair


def find_polarity(answer: str) -> bool | None:
    """What an answer to a closed question says: True for yes, False for no, None for neither or both.

    An announced decision counts before all else, then plain words of yes and no, then what the sentence states: `no nodule
    is seen`, `未见结节`, `cannot be excluded`.
    """
    text = visible_answer(answer)
    whole = word_polarity(text)
    if whole is not None:
        return whole
    for spans in (decisions(text), conclusions(text)):
        for start, end in reversed(spans):
            said = _stated(text[start:end])
            if said is not None:
                return said
    return _stated(text)


def _stated(text: str) -> bool | None:
    whole = word_polarity(text)
    if whole is not None:
        return whole
    spelled = spell(text)
    if has_chinese(spelled):
        latin = _interjected(NO_DENIAL.sub(" ", spelled)) if re.search("[a-z]", spelled) else None
        return latin if latin is not None else _chinese(spelled)
    return _english(spelled)


def _interjected(plain: str) -> bool | None:
    said = {bool(match["yes"]) != bool(match["deny"]) for match in _INTERJECTION.finditer(plain)}
    return said.pop() if len(said) == 1 else None


def _english(spelled: str) -> bool | None:
    if contradicted := _CONTRADICTED.search(spelled):
        said = _english(spelled[contradicted.end() :])
        return None if said is None else not said
    doubled = re.search(
        r"cannot be|can't be|(?:cannot|can't|could not|couldn't) (?:\w+ly )?(?:exclude|rule (?:it |this |that )?out)"
        r"|not (?:be )?(?:excluded|ruled out)"
        r"|could not be excluded|not (?:unlikely|improbable)|not absent|not without"
        r"|not negative|no absence|no (?:doubt|question)|without (?:a |any )?doubt",
        spelled,
    )
    plain = NO_DENIAL.sub(" ", spelled)
    found = {bool(match["yes"]) != bool(match["deny"]) for match in _INTERJECTION.finditer(plain)}
    if found:
        return found.pop() if len(found) == 1 else None
    if _UNSURE.search(plain):
        return None
    if doubled and plain != spelled:
        return True
    return _first_clause(plain, _STATED_NO, _STATED_YES)


def _first_clause(text: str, no: re.Pattern[str], yes: re.Pattern[str]) -> bool | None:
    """What the clauses state together: None where one affirms and another denies."""
    said = []
    for clause in re.split(r"[.;!?\n]|\bbut\b|\bhowever\b", text):
        if no.search(clause):
            said.append(False)
        elif yes.search(clause):
            said.append(True)
    return said[0] if said and len(set(said)) == 1 else None


def _chinese(spelled: str) -> bool | None:
    """Clauses that are nothing but yes or no count before those that state something; None where they differ."""
    if _UNSURE.search(spelled):
        return None
    plainly: set[bool] = set()
    stated: set[bool | None] = set()
    for clause in _CLAUSE.split(spelled):
        whole, denied = word_polarity(clause), _DENIED_WORD.match(clause)
        if whole is None and denied is not None:
            whole = None if (word := word_polarity(denied[1])) is None else not word
        listed = [word_polarity(part) for part in _CHINESE_LIST.split(clause) if part.strip()]
        if whole is not None:
            plainly.add(whole)
        elif None not in listed:
            plainly.update(one for one in listed if one is not None)
        stated.add(_chinese_clause(clause))
    found: set[bool | None] = set(plainly) if plainly else stated - {None}
    return found.pop() if len(found) == 1 else None


def _chinese_clause(clause: str) -> bool | None:
    plain = _CHINESE_IGNORED.sub("", _CHINESE_DOUBT.sub("", clause))
    no, yes = _CHINESE_NO.search(plain), _CHINESE_YES.search(plain)
    if _CHINESE_DOUBT.search(clause):
        return True
    if no and (not yes or no.start() <= yes.start()):
        return False
    return True if yes else None
