"""From a patient to samples: each type of question is a row of `QUESTIONS`, about CT or X-ray, in two languages.

Phrasings come from a stream of their own, so a question never reveals its answer. A side or lobe is asked only
of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medmvl.phantoms import text
from medmvl.phantoms.findings import FINDINGS
from medmvl.phantoms.patient import CHANGES, Patient
from medmvl.phantoms.render import DrawnFinding
from medmvl.schema import Box, ImageBlock, Message, Sample, Target, TextBlock, VolumeBlock

View = Literal["ct", "xray"]


@dataclass(frozen=True)
class Study:
    """One image of a patient, as samples refer to it."""

    view: View
    block: VolumeBlock | ImageBlock
    drawn: tuple[DrawnFinding, ...]
    prior: VolumeBlock | ImageBlock | None = None


@dataclass(frozen=True)
class Dialogue:
    """One question with its answer."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    with_prior: bool = False


Ask = Callable[[Patient, View, str, np.random.Generator], Dialogue | None]


def make_samples(patient: Patient, study: Study) -> Iterator[Sample]:
    """Yield every question of the patient's preset about one study, in each language."""
    names = patient.preset.ct_questions if study.view == "ct" else patient.preset.xray_questions
    for name in names:
        for language in text.LANGUAGES:
            rng = patient.stream(f"{study.view}/{name}/{language}")
            dialogue = QUESTIONS[name](patient, study.view, language, rng)
            if dialogue is not None and not (dialogue.with_prior and study.prior is None):
                yield _sample(patient, study, name, language, dialogue)


def labels_of(patient: Patient, view: View) -> dict[str, float]:
    """Return 1 or 0 for each finding asked about, and for each place of it (`"nodule/right upper lobe"`)."""
    labels = {}
    for finding_type in asked_findings(patient, view):
        finding = patient.finding(finding_type)
        labels[finding_type] = float(finding is not None)
        places = [place for place in FINDINGS[finding_type].places if place]
        for place in places:
            labels[f"{finding_type}/{place}"] = float(finding is not None and finding.place == place)
    return labels


def asked_findings(patient: Patient, view: View) -> tuple[str, ...]:
    """Return the finding types that a preset asks about in a view, in the order of the preset."""
    names = patient.preset.ct_questions if view == "ct" else patient.preset.xray_questions
    return tuple(finding_type for finding_type in patient.preset.findings if finding_type in names)


def _sample(patient: Patient, study: Study, name: str, language: str, dialogue: Dialogue) -> Sample:
    question_type = f"{study.view}_{name}"
    visuals = [study.block]
    if dialogue.with_prior and study.prior is not None:
        visuals.append(study.prior)
    asked = Message(role="user", content=(*visuals, TextBlock(text=dialogue.question)))
    answered = Message(role="assistant", content=(TextBlock(text=dialogue.answer),))
    return Sample(
        id=f"{patient.pseudonym}/{question_type}/{language}",
        messages=(asked, answered),
        patient=patient.pseudonym,
        study=f"{patient.pseudonym}/current",
        image_group=f"{patient.pseudonym}/{study.view}",
        task=f"phantoms-{patient.preset.name}",
        language="en" if language == "en" else "zh",
        target=Target(question_type=question_type, answers=(dialogue.answer,), choices=dialogue.choices),
        labels=labels_of(patient, study.view),
        boxes=tuple(_box(study, drawn) for drawn in study.drawn),
    )


def _box(study: Study, drawn: DrawnFinding) -> Box:
    b = drawn.box
    coordinates = (b[0], b[1], b[2], b[3], b[4], b[5]) if study.view == "ct" else (b[0], b[1], b[2], b[3])
    return Box(coordinates=coordinates, label=drawn.finding.finding_type)


def _pick(phrasings: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrasings[int(rng.integers(len(phrasings)))]


def _fill(
    phrasings: text.Phrasings, finding_type: str, view: View, language: str, rng: np.random.Generator
) -> str:
    name = text.FINDING_NAMES[finding_type][language] if finding_type else ""
    return _pick(phrasings[language], rng).format(name=name, study=text.STUDY_NAMES[view][language])


def presence(finding_type: str) -> Ask:
    """Ask whether a finding is there."""

    def ask(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue:
        choices = text.YES_NO[language]
        answer = choices[0] if patient.finding(finding_type) is not None else choices[1]
        name = text.FINDING_NAMES[finding_type][language]
        if language == "en" and finding_type in text.COUNTABLE:
            name = f"{text.COUNTABLE[finding_type]} {name}"
        phrasings = text.PRESENCE_QUESTIONS[language]
        question = phrasings[patient.wording_of(finding_type) % len(phrasings)]
        return Dialogue(question.format(name=name, study=text.STUDY_NAMES[view][language]), answer, choices)

    return ask


def place(finding_type: str, phrasings: text.Phrasings, *, side: bool = False, letters: bool = False) -> Ask:
    """Ask where a finding is (its side only, where `side`); with `letters`, as shuffled multiple choice."""

    def ask(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue | None:
        finding = patient.finding(finding_type)
        if finding is None:
            return None
        places = ("right", "left") if side else FINDINGS[finding_type].places
        answer = text.PLACES[finding.side if side else finding.place][language]
        choices = tuple(text.PLACES[name][language] for name in places)
        number = patient.wording_of(finding_type, len(FINDINGS[finding_type].places)) % len(
            phrasings[language]
        )
        question = phrasings[language][number].format(
            name=text.FINDING_NAMES[finding_type][language], study=text.STUDY_NAMES[view][language]
        )
        return (
            _as_letters(question, answer, choices, language, rng)
            if letters
            else Dialogue(question, answer, choices)
        )

    return ask


def _as_letters(
    question: str, answer: str, choices: tuple[str, ...], language: str, rng: np.random.Generator
) -> Dialogue:
    shuffled = [choices[i] for i in rng.permutation(len(choices)).tolist()]
    letters = "ABCDEFGH"[: len(shuffled)]
    listed = text.CHOICE_SEPARATOR[language].join(
        text.CHOICE[language].format(letter=letter, text=choice)
        for letter, choice in zip(letters, shuffled, strict=True)
    )
    question += text.CHOICES_INTRODUCTION[language].format(choices=listed)
    return Dialogue(question, letters[shuffled.index(answer)], tuple(letters))


def size(finding_type: str) -> Ask:
    """Ask how large a finding is, in the unit of its type."""

    def ask(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue | None:
        finding = patient.finding(finding_type)
        if finding is None:
            return None
        question = _fill(text.SIZE_QUESTIONS[finding.size_name], finding_type, view, language, rng)
        return Dialogue(question, text.SIZE_ANSWERS[finding.size_name][language].format(size=finding.size))

    return ask


def cardiothoracic_ratio(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue:
    """Ask for the ratio, of every patient."""
    name = "cardiothoracic_ratio"
    question = _fill(text.SIZE_QUESTIONS[name], "cardiomegaly", view, language, rng)
    return Dialogue(
        question, text.SIZE_ANSWERS[name][language].format(size=patient.anatomy.cardiothoracic_ratio)
    )


def findings_list(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue:
    """Ask openly what is abnormal."""
    question = _fill(text.LIST_QUESTIONS, "", view, language, rng)
    names = [
        text.FINDING_NAMES[finding_type][language]
        for finding_type in asked_findings(patient, view)
        if patient.finding(finding_type) is not None
    ]
    return Dialogue(question, text.SEPARATOR[language].join(names) or text.NOTHING[language])


def report(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue:
    """Ask for a report: a sentence for each finding, and for absent ones that are always mentioned."""
    sentences = []
    for finding_type in asked_findings(patient, view):
        finding = patient.finding(finding_type)
        if finding is not None:
            where = finding.side if view == "xray" and finding.side else finding.place
            sentence = _pick(text.PRESENT_SENTENCES[finding_type][language], rng)
            if where in ("right", "left") and FINDINGS[finding_type].places != ("right", "left"):
                sentence = sentence.replace("{place}", {"en": "{place} lung", "zh": "{place}肺"}[language])
            sentences.append(sentence.format(place=text.PLACES[where][language]))
        elif finding_type in text.ABSENT_SENTENCES:
            sentences.append(_pick(text.ABSENT_SENTENCES[finding_type][language], rng))
    joined = (" " if language == "en" else "").join(sentences)
    return Dialogue(_fill(text.REPORT_QUESTIONS, "", view, language, rng), joined)


def change(patient: Patient, view: View, language: str, rng: np.random.Generator) -> Dialogue | None:
    """Ask how one finding compares with the prior study."""
    if patient.prior is None:
        return None
    changes = [
        (finding_type, what)
        for finding_type, what in patient.prior.changes
        if finding_type in asked_findings(patient, view)
    ]
    if not changes:
        return None
    finding_type, what = changes[int(rng.integers(len(changes)))]
    question = _pick(text.CHANGE_QUESTIONS[language], rng).format(
        name=text.FINDING_NAMES[finding_type][language], days=patient.prior.days_before
    )
    choices = tuple(text.CHANGES[name][language] for name in CHANGES)
    return Dialogue(question, text.CHANGES[what][language], choices, with_prior=True)


QUESTIONS: dict[str, Ask] = {
    **{finding_type: presence(finding_type) for finding_type in FINDINGS},
    "nodule_lobe": place("nodule", text.LOBE_QUESTIONS),
    "nodule_lobe_choice": place("nodule", text.LOBE_QUESTIONS, letters=True),
    "nodule_size": size("nodule"),
    "effusion_side": place("effusion", text.SIDE_QUESTIONS),
    "effusion_side_choice": place("effusion", text.SIDE_QUESTIONS, letters=True),
    "effusion_volume": size("effusion"),
    "cardiothoracic_ratio": cardiothoracic_ratio,
    "pneumothorax_side": place("pneumothorax", text.SIDE_QUESTIONS),
    "consolidation_lobe": place("consolidation", text.LOBE_QUESTIONS),
    "consolidation_lobe_choice": place("consolidation", text.LOBE_QUESTIONS, letters=True),
    "consolidation_side": place("consolidation", text.SIDE_QUESTIONS, side=True),
    "calcification_site": place("calcification", text.SITE_QUESTIONS),
    "atelectasis_lobe": place("atelectasis", text.LOBE_QUESTIONS),
    "findings": findings_list,
    "change": change,
    "report": report,
}
