"""Text metrics against published libraries; values of pycocoevalcap 1.2 and rouge 1.0.1 are written down here."""

import nltk.translate.bleu_score as nltk_bleu
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from medmvl.errors import MissingExtraError, UserError
from medmvl.tasks.metrics import words
from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.chrf import chrf
from medmvl.tasks.metrics.cider import cider
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.rouge import coco_rouge_l, package_rouge, rouge
from medmvl.tasks.metrics.tokens import find_tokenizer, split_13a, split_coco, split_treebank, split_zh

ANSWERS = [
    "there is a small nodule in the right upper lobe", "no pleural effusion is seen", "the heart is enlarged",
    "mild emphysema in both upper lungs with bullae", "no abnormality",
]  # fmt: skip
TRUTHS = [
    "a small nodule is seen in the right upper lobe", "there is no pleural effusion",
    "the heart is not enlarged", "emphysema with bullae in both upper lungs",
    "consolidation of the left lower lobe",
]  # fmt: skip
ONE = [[text] for text in TRUTHS]
TWO = [[TRUTHS[n], TRUTHS[(n + 1) % 5]] for n in range(5)]

WORDS = ("no", "nodule", "in", "the", "left", "lung", "right", "effusion", ".")
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9)


def test_bleu_rouge_and_cider_equal_pycocoevalcap() -> None:
    """Values of pycocoevalcap 1.2 (`Bleu(4)`, `Rouge()`, `Cider()`) on these texts."""
    published = (0.7209589816793289, 0.6052883731119328, 0.5122155837704214, 0.3911752940287289)
    for order, value in enumerate(published, 1):
        assert bleu(ANSWERS, ONE, order, str.split, coco=True).corpus() == pytest.approx(value, abs=1e-12)
    assert bleu(ANSWERS, TWO, 4, str.split, coco=True).corpus() == pytest.approx(
        0.40206328369038896, abs=1e-12
    )
    assert coco_rouge_l(ANSWERS, ONE).each() == pytest.approx(
        [0.8, 0.6, 0.8714285714285713, 0.6747787610619468, 0.0]
    )
    assert cider(ANSWERS, ONE, str.split).each() == pytest.approx(
        [5.7260196655533155, 3.9736870951811154, 4.474524574919126, 5.245876636549407, 0.0]
    )
    assert cider(ANSWERS, TWO, str.split).corpus() == pytest.approx(1.666175242028905)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=4), st.integers(1, 4))
def test_bleu_equals_sacrebleu_and_nltk(pairs: list[tuple[list[str], list[str]]], order: int) -> None:
    answers, truths = [" ".join(a) for a, _ in pairs], [" ".join(b) for _, b in pairs]
    ours = bleu(answers, [[truth] for truth in truths], order, str.split).corpus()
    theirs = sacrebleu.metrics.BLEU(max_ngram_order=order, smooth_method="none", tokenize="none")
    assert ours == pytest.approx(theirs.corpus_score(answers, [truths]).score / 100, abs=1e-9)
    if min(len(a) for a, _ in pairs) < order:
        return  # nltk counts one n-gram in a text that has none
    weights = [1 / order] * order
    again = nltk_bleu.corpus_bleu([[b] for _, b in pairs], [a for a, _ in pairs], weights=weights)
    assert ours == pytest.approx(again, abs=1e-9)


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=4))
def test_chrf_equals_sacrebleu(pairs: list[tuple[list[str], list[str]]]) -> None:
    answers, truths = [" ".join(a) for a, _ in pairs], [" ".join(b) for _, b in pairs]
    ours = chrf(answers, [[truth] for truth in truths])
    assert ours.corpus() == pytest.approx(sacrebleu.corpus_chrf(answers, [truths]).score / 100, abs=1e-9)
    alone = [sacrebleu.sentence_chrf(a, [b]).score / 100 for a, b in zip(answers, truths, strict=True)]
    assert ours.each() == pytest.approx(alone, abs=1e-9)


def test_chinese_bleu_equals_sacrebleu_zh() -> None:
    answers, truths = (
        ["右肺上叶可见结节，CT值约30。", "未见胸腔积液"],
        ["右肺上叶结节，CT值30。", "无胸腔积液"],
    )
    theirs = sacrebleu.corpus_bleu(answers, [truths], tokenize="zh", smooth_method="none").score / 100
    assert bleu(answers, [[t] for t in truths], 4, split_zh).corpus() == pytest.approx(theirs)
    # white space tokens would see one unknown word and give 0
    assert bleu(answers, [[t] for t in truths], 1, str.split).corpus() == 0
    assert rouge(answers, [[t] for t in truths], "rouge-l").corpus() > 0.7
    # rouge-score by itself drops Chinese
    assert RougeScorer(["rougeL"]).score(truths[1], answers[1])["rougeL"].fmeasure == 0


@given(sentences, sentences)
def test_english_rouge_is_rouge_score(answer: list[str], truth: list[str]) -> None:
    a, b = " ".join(answer).title() + " 1.5-mm", " ".join(truth) + " 1.5 mm"
    theirs = RougeScorer(["rouge2"]).score(b, a)["rouge2"].fmeasure
    assert rouge([a], [[b]], "rouge-2").corpus() == pytest.approx(theirs)


def test_rouge_by_hand_and_of_several_references_the_best() -> None:
    # unigrams: 2 of 3 given and 2 of 4 wanted; longest common subsequence "small nodule"
    assert rouge(["small left nodule"], [["one small lung nodule"]], "rouge-1").corpus() == pytest.approx(
        4 / 7
    )
    assert rouge(["small left nodule"], [["one small lung nodule"]], "rouge-2").corpus() == 0
    assert rouge(["small left nodule"], [["x", "small left nodule"]], "rouge-l").corpus() == 1


@pytest.mark.parametrize(
    ("answer", "truth", "published"),
    [  # values of rouge 1.0.1, `Rouge().get_scores(answer.lower(), truth.lower())`, F of 1, 2 and L
        (
            "Small nodule. no effusion is seen. heart is normal",
            "No effusion. The heart is normal. a nodule is seen",
            (0.823529406782007, 0.4705882303114187, 0.823529406782007),
        ),
        ("left lung", "right lung", (0.4999999950000001, 0.0, 0.4999999950000001)),
        ("the the lung is clear", "the lung is clear the lung", (0.999999995, 0.749999995, 0.999999995)),
    ],
)
def test_the_rouge_package_is_reproduced(answer: str, truth: str, published: tuple[float, ...]) -> None:
    kinds = ("rouge-1", "rouge-2", "rouge-l")
    assert [package_rouge(answer, truth, kind) for kind in kinds] == pytest.approx(published, abs=1e-9)


def test_meteor_equals_the_formula_of_the_paper() -> None:
    """Banerjee and Lavie 2005 with nltk's alpha 0.9, beta 3, gamma 0.5, counted by hand."""
    tally = meteor(["the lung nodules grew", ""], [["the lung nodule grew slowly"], ["x"]], split_treebank)
    # exact: the, lung, grew; stem: nodules. 4 matches in one chunk; precision 4/4, recall 4/5
    fmean = 1 * 0.8 / (0.9 * 1 + 0.1 * 0.8)
    assert tally.each() == pytest.approx([fmean * (1 - 0.5 * (1 / 4) ** 3), 0.0])
    assert meteor_stages() in ("exact+stem", "exact+stem+wordnet")


def test_tokenizers() -> None:
    assert split_13a("No nodule, 3.5 mm.") == ["No", "nodule", ",", "3.5", "mm", "."]
    assert split_treebank("No nodule. Heart isn't large.") == [
        "No", "nodule", ".", "Heart", "is", "n't", "large", ".",
    ]  # fmt: skip
    # words of pycocoevalcap 1.2's PTBTokenizer (Stanford CoreNLP 3.4.1) on these texts
    text = "There is a 3.5-mm nodule (RUL), stable; no effusion and/or pneumothorax."
    assert " ".join(split_coco(text)) == (
        "there is a 3.5-mm nodule -lrb- rul -rrb- stable no effusion and/or pneumothorax"
    )
    assert split_coco("The heart isn't enlarged. Lungs: clear!") == (
        ["the", "heart", "is", "n't", "enlarged", "lungs", "clear"]
    )
    assert split_zh("右肺CT") == ["右", "肺", "CT"]
    with pytest.raises(UserError, match="known tokenizers: words, 13a"):
        find_tokenizer("words2")


def test_jieba_is_missed_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    with pytest.raises(MissingExtraError, match="pip install jieba"):
        find_tokenizer("jieba")("右肺")


@given(sentences)
def test_equal_texts_are_worth_everything_and_nothing_is_worth_nothing(text: list[str]) -> None:
    joined = " ".join(text)
    assert bleu([joined], [[joined]], 1, str.split).corpus() == pytest.approx(1)
    assert chrf([joined], [[joined]]).corpus() == pytest.approx(1)
    assert rouge([joined], [[joined]], "rouge-1").corpus() == (1 if words(joined) else 0)
    for tally in (bleu([""], [[joined]], 1, str.split), chrf([""], [[joined]])):
        assert tally.corpus() == 0


def test_a_corpus_value_is_not_the_mean_of_its_samples() -> None:
    tally = bleu(["a b c d", "a x"], [["a b c d"], ["a b"]], 1, str.split)
    assert tally.corpus() == pytest.approx(5 / 6)
    assert tally.sample_mean() == pytest.approx((1 + 0.5) / 2)
    # a resample that draws the second sample twice
    assert float(tally.value(tally.rows[[0, 1, 1]].sum(0))) == pytest.approx(6 / 8)
