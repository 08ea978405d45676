"""Questions: the truth in both languages, balanced, phrased apart from the answer, boxes, labels."""

import re
from collections import Counter, defaultdict

import pytest

from medmvl.phantoms import PRESETS, iter_patient_samples, make_patient
from medmvl.phantoms.questions import QUESTIONS
from medmvl.phantoms.source import load
from medmvl.phantoms.streams import BLOCK
from medmvl.phantoms.text import PLACES
from medmvl.schema import VolumeBlock, dump_sample, parse_sample


@pytest.fixture(scope="module")
def samples():
    patients = [make_patient(0, index, "tiny") for index in range(BLOCK)]
    return [(patient, sample) for patient in patients for sample in iter_patient_samples(patient)]


@pytest.fixture(scope="module")
def chest_samples():
    from dataclasses import replace

    preset = replace(PRESETS["chest"], ct_shape=(32, 48, 48), xray_shape=(32, 32))
    patients = [make_patient(0, index, preset) for index in range(12)]
    return [(patient, sample) for patient in patients for sample in iter_patient_samples(patient)]


def test_every_kind_is_balanced_in_each_language(samples):
    answers = defaultdict(Counter)
    for _, sample in samples:
        if sample.target.choices:
            answers[sample.target.question_type, sample.language][sample.target.answers[0]] += 1
    question_types = {question_type for question_type, _ in answers}
    assert question_types == {
        "ct_nodule", "ct_nodule_lobe", "ct_effusion", "ct_effusion_side", "ct_cardiomegaly",
        "xray_effusion", "xray_effusion_side", "xray_cardiomegaly",
    }  # fmt: skip
    for (question_type, language), counts in answers.items():
        assert len(set(counts.values())) == 1, (question_type, language, counts)


def test_the_words_of_a_question_say_nothing_about_its_answer(samples):
    answers = defaultdict(Counter)
    for _, sample in samples:
        if sample.target.choices:
            answers[sample.target.question_type, sample.messages[0].text][sample.target.answers[0]] += 1
    for question, counts in answers.items():
        assert len(counts) > 1 and len(set(counts.values())) == 1, (question, counts)
    phrasings = Counter(question_type for question_type, _ in answers)
    assert all(number > 2 for number in phrasings.values()), phrasings  # of two languages


def test_the_answer_is_the_truth_in_both_languages(samples):
    for patient, sample in samples:
        nodule = patient.finding("nodule")
        if sample.target.question_type == "ct_nodule":
            assert (
                sample.target.answers[0]
                == {"en": ("no", "yes"), "zh": ("否", "是")}[sample.language][nodule is not None]
            )
        if sample.target.question_type == "ct_nodule_lobe":
            assert sample.target.answers[0] == PLACES[nodule.place][sample.language]
        assert sample.messages[-1].text == sample.target.answers[0]


def test_sides_and_lobes_are_asked_only_where_there_is_one(samples):
    asked = {(p.index, s.target.question_type) for p, s in samples}
    for patient in {p.index: p for p, _ in samples}.values():
        for finding_type, question in (("nodule", "ct_nodule_lobe"), ("effusion", "xray_effusion_side")):
            assert ((patient.index, question) in asked) == (patient.finding(finding_type) is not None)


def test_phrasings_vary_and_do_not_follow_the_answer(samples):
    texts = defaultdict(set)
    for _, sample in samples:
        if sample.target.question_type == "ct_effusion" and sample.language == "en":
            texts[sample.target.answers[0]].add(sample.messages[0].text)
    assert len(texts["yes"]) >= 3
    assert len(texts["yes"] & texts["no"]) >= 3


def test_visual_comes_first_and_belongs_to_the_view(samples):
    for _, sample in samples:
        first, second = sample.messages[0].content
        assert isinstance(first, VolumeBlock) == sample.target.question_type.startswith("ct_")
        assert second.type == "text"
        assert sample.image_group.endswith("ct" if isinstance(first, VolumeBlock) else "xray")


def test_labels_and_boxes_agree_with_the_findings(samples, chest_samples):
    for patient, sample in (*samples, *chest_samples):
        assert {box.label for box in sample.boxes} <= {finding.finding_type for finding in patient.findings}
        for name, value in sample.labels.items():
            finding_type, _, place = name.partition("/")
            finding = patient.finding(finding_type)
            assert value == float(finding is not None and place in ("", finding.place))


def test_reports_name_what_is_there(samples):
    for patient, sample in samples:
        if sample.target.question_type == "ct_report" and sample.language == "en":
            nodule = patient.finding("nodule")
            text = sample.messages[-1].text
            assert (nodule.place in text) if nodule else ("No nodule" in text)
        if sample.target.question_type == "ct_report" and sample.language == "zh":
            assert not re.search("[A-Za-z{}]", sample.messages[-1].text)


def test_chest_asks_all_its_questions(chest_samples):
    question_types = {sample.target.question_type for _, sample in chest_samples}
    preset = PRESETS["chest"]
    expected = {f"ct_{name}" for name in preset.ct_questions} | {
        f"xray_{name}" for name in preset.xray_questions
    }
    assert question_types == expected
    for preset in PRESETS.values():
        assert set(preset.ct_questions) | set(preset.xray_questions) <= set(QUESTIONS)


def test_multiple_choice_letters_point_at_the_truth(chest_samples):
    seen = 0
    for patient, sample in chest_samples:
        if sample.target.question_type == "ct_nodule_lobe_choice":
            listed = dict(re.findall(r"\(([A-E])\) (.+?)(?= \(|[.。]$)", sample.messages[0].text))
            assert (
                listed[sample.target.answers[0]] == PLACES[patient.finding("nodule").place][sample.language]
            )
            assert sample.target.choices == ("A", "B", "C", "D", "E")
            seen += 1
    assert seen > 4


def test_longitudinal_questions_show_the_dated_prior(chest_samples):
    changes = [(p, s) for p, s in chest_samples if s.target.question_type.endswith("_change")]
    assert changes
    for patient, sample in changes:
        current, prior = sample.visuals
        assert current.days_before_current is None
        assert prior.days_before_current == patient.prior.days_before
        assert str(patient.prior.days_before) in sample.messages[0].text


def test_samples_survive_json_and_references_load(samples):
    for _, sample in samples[:30]:
        assert parse_sample(dump_sample(sample), "here") == sample
    patient, sample = samples[0]
    image = load(sample.visuals[0])
    assert image.shape == patient.preset.ct_shape
