r"""`unimed`: the 2D benchmark of Uni-Med (arXiv 2409.17508) as MedM-VL 2D reported it, from `eval_unimed.py`.

Its text normalisation is that of the VQA challenge (Antol et al., ICCV 2015) with two slips that are kept: `(?!<=\d)`
is no look-behind, and re.UNICODE (32) is passed as the number of full stops to take out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.measures import Measure, MetricOptions, texts_of, whole
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.tally import mean_tally
from medmvl.tasks.metrics.tokens import split_coco
from medmvl.tasks.protocols.base import Protocol, kept, some

ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
FULL_STOPS_TAKEN_OUT = 32
_SINGLE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd "
    "how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock "
    "oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's "
    "something'd something'll that's there'd there're there's they'd they'll they're they've 'twas "
    "wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll "
    "who's who've why'll why're why's won't would've wouldn't you'd you'll you're you've y'all"
)
_DOUBLE = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've "
    "something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've"
)
CONTRACTIONS = {word.replace("'", ""): word for word in _SINGLE.split()} | {
    "somebody'd": "somebodyd", "yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've",
    "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at",
}  # fmt: skip
for _word in _DOUBLE.split():  # one of the two marks is missing
    _first, _second, _third = _word.split("'")
    CONTRACTIONS[f"{_first}{_second}'{_third}"] = CONTRACTIONS[f"{_first}'{_second}{_third}"] = _word

_FULL_STOP = re.compile(r"(?!<=\d)(\.)(?!\d)")
_DIGIT_COMMA = re.compile(r"(\d)(\,)(\d)")
_BOX = re.compile(r"\{<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>\}")


def normalize_word(text: str) -> str:
    """Text as the VQA challenge compares it: digits for number words, no articles, most punctuation gone."""
    cleaned = text
    for mark in PUNCTUATION:
        apart = mark + " " in text or " " + mark in text or _DIGIT_COMMA.search(text) is not None
        cleaned = cleaned.replace(mark, "" if apart else " ")
    cleaned = _FULL_STOP.sub("", cleaned, count=FULL_STOPS_TAKEN_OUT)
    words = [DIGITS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES).replace(",", "")


def unimed_f1(answer: str, reference: str) -> float:
    """Token F1 in which a word that both have counts as often as the answer says it, in recall as well."""
    given, wanted = Counter(normalize_word(answer).split()), Counter(normalize_word(reference).split())
    hits = sum(count for word, count in given.items() if word in wanted)
    if not hits:
        return 0.0
    missed = sum(count for word, count in wanted.items() if word not in given)
    precision, recall = hits / sum(given.values()), hits / (hits + missed)
    return 2 * precision * recall / (precision + recall)


def unimed_iou(answer: str, box: tuple[float, ...], size: tuple[float, float]) -> float:
    """IoU in pixels with one pixel added to every side; 0 where the answer does not begin with a box.

    Args:
        answer: `{<x1><y1><x2><y2>}`, 0 to 100.
        box: the truth, `(x0, y0, x1, y1)` in pixels.
        size: width and height in pixels.
    """
    said = answer.replace("<unk>", "").replace(" ", "").strip()
    if not _BOX.match(said):
        return 0.0
    numbers = [int(number) for number in re.findall(r"\d+", said)[:4]]
    given = [number / 100 * size[place % 2] for place, number in enumerate(numbers)]
    shared = _side(max(given[0], box[0]), min(given[2], box[2])) * _side(
        max(given[1], box[1]), min(given[3], box[3])
    )
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (given, box)]
    union = sum(areas) - shared
    return shared / union if union else 0.0


def _side(low: float, high: float) -> float:
    return max(0.0, high - low + 1)


def _mean(name: str, score: Callable[[str, str], float], records: Sequence[Record]) -> Measure:
    return whole(name, mean_tally(score(record.answer, record.references[0]) for record in records))


def _bleu(records: Sequence[Record], order: int) -> Measure:
    """Mean of nltk's unsmoothed sentence BLEU over normalised words."""
    answers, references = [record.answer for record in records], [record.references[:1] for record in records]
    tally = bleu(answers, references, order, lambda text: normalize_word(text).split())
    return Measure(f"bleu-{order}", tally, tuple(range(len(tally))), len(tally), "nltk_norm", per_sample=True)


def _classification(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    return [_mean("accuracy", lambda a, b: float(normalize_word(a) == normalize_word(b)), records)]


def _questions(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    inside = _mean("accuracy", lambda a, b: float(normalize_word(b) in normalize_word(a)), records)
    return [*(_bleu(records, order) for order in (1, 2, 3, 4)), _mean("token_f1", unimed_f1, records), inside]


def _all_questions(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Open and closed questions as one, which is the number of its table."""
    places, chosen = kept(records, lambda record: record.form in ("open", "closed", "choice"))
    return [
        some(found.name, found.tally, places, len(records), note=found.note, per_sample=found.per_sample)
        for found in _questions(chosen, options)
    ]


def _identify(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    return [_bleu(records, 1), _mean("token_f1", unimed_f1, records), *_classification(records, options)]


def _report(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    places, chosen = kept(records, lambda record: bool(record.answer and record.references[0]))
    answers, references = texts_of(chosen)
    first = [texts[:1] for texts in references]
    return [
        some(
            f"bleu-{order}",
            bleu(answers, first, order, split_coco, coco=True),
            places,
            len(records),
            note="coco_no_norm",
        )
        for order in (1, 2, 3, 4)
    ]


def _refer(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    overlaps = [_overlap(record) for record in records]
    return [
        whole("iou", mean_tally(overlaps)),
        whole("acc@0.5", mean_tally(float(overlap > 0.5) for overlap in overlaps)),
    ]


def _overlap(record: Record) -> float:
    """In the record's pixels; where it names none, the reference's own 0 to 100 stand for them."""
    if record.box is not None and record.image_size is not None:
        return unimed_iou(record.answer, record.box, record.image_size)
    numbers = re.findall(r"\d+", record.references[0])[:4]
    return unimed_iou(record.answer, tuple(map(float, numbers)), (100.0, 100.0)) if len(numbers) == 4 else 0.0


UNIMED = Protocol(
    name="unimed",
    title="Uni-Med's 2D benchmark as MedM-VL 2D reported it",
    source="MSIIP/MedM-VL, scripts/eval/unimed/eval_unimed.py",
    scorers={
        "class": _classification, "closed": _questions, "open": _questions, "choice": _questions,
        "identify": _identify, "report": _report, "refer": _refer,
    },
    pooled=_all_questions,
    quirks=(
        "open and closed questions are scored together by sentence BLEU-1 of normalised words",
        "accuracy of questions is a substring test: `no` is found in `normal` and `nodule`",
        "token F1 counts a shared word as often as the answer repeats it, in recall as well",
        "reports: pairs with an empty side are dropped; corpus BLEU with pycocoevalcap's epsilons",
        "boxes: one pixel is added to every side before IoU; acc@0.5 asks for more than 0.5",
        "here, without Java: nltk's Treebank words instead of Stanford's",
    ),
)  # fmt: skip
