"""The reader knows images, head and abdomen: synonyms agree, neighbours do not."""

import pytest

from medmvl.tasks.answers import find_choice
from medmvl.tasks.judge import read_answer

MODALITY, PLANE, VIEW = "What imaging modality is used?", "What plane is this?", "Which view is this?"
WEIGHTING, ORGAN, FINDING = "What is the MRI weighting?", "What organ is shown?", "What abnormality is seen?"
PLACE, SEX, CONTRAST = "Where is the lesion?", "What is the patient's sex?", "Was contrast used?"
SAME = [
    (MODALITY, "CAT scan", "CT"), (MODALITY, "chest x ray", "CXR"), (MODALITY, "ultrasonography", "US"),
    (MODALITY, "CT with contrast", "contrast-enhanced CT"), (MODALITY, "NCCT", "non contrast CT"),
    (MODALITY, "MR angiography", "MRA"), (MODALITY, "核磁", "磁共振"), (MODALITY, "mammogram", "mammography"),
    (MODALITY, "diffusion weighted imaging", "DWI"), (MODALITY, "PET-CT", "PET/CT"),
    (PLANE, "transverse", "axial"), (PLANE, "axial plane", "axial"), (PLANE, "frontal", "coronal"),
    (PLANE, "lateral", "sagittal"), (PLANE, "PA", "posteroanterior"), (PLANE, "横断面", "轴位"), (PLANE, "横断位", "axial"),
    (VIEW, "AP view", "anteroposterior"), (VIEW, "lateral view", "lateral"),
    (WEIGHTING, "T2", "T2-weighted"), (WEIGHTING, "FLAIR", "T2 FLAIR"), (WEIGHTING, "T1WI", "T1 weighted image"),
    (ORGAN, "womb", "uterus"), (ORGAN, "large intestine", "colon"), (ORGAN, "belly", "abdomen"),
    (FINDING, "cardiac enlargement", "cardiomegaly"), (FINDING, "air in the pleural space", "pneumothorax"),
    (FINDING, "SDH", "subdural hematoma"), (FINDING, "gallstones", "cholelithiasis"), (FINDING, "bleed", "hemorrhage"),
    (FINDING, "kidney stone", "nephrolithiasis"), (FINDING, "swelling", "edema"), (FINDING, "PE", "pulmonary embolus"),
    (FINDING, "AAA", "abdominal aortic aneurysm"), (FINDING, "SBO", "small bowel obstruction"),
    (FINDING, "inflamed appendix", "appendicitis"), (FINDING, "脑梗死", "脑梗塞"), (FINDING, "diverticula", "diverticulosis"),
    (PLACE, "RUQ", "right upper quadrant"), (PLACE, "cerebellar", "cerebellum"), (PLACE, "behind the heart", "retrocardiac"),
    (PLACE, "left cerebral hemisphere", "left hemisphere"), (PLACE, "frontal lobe", "frontal lobes"),
    (SEX, "woman", "female"), (CONTRAST, "without contrast", "no"), (CONTRAST, "with contrast", "yes"),
]  # fmt: skip
OTHER = [
    (MODALITY, "CT without contrast", "CT with contrast"), (MODALITY, "MRA", "CTA"), (MODALITY, "PET", "CT"),
    (PLANE, "axial", "coronal"), (PLANE, "AP", "PA"), (VIEW, "lateral", "AP"),
    (WEIGHTING, "T1", "T2"), (WEIGHTING, "T1 with contrast", "T1 without contrast"),
    (FINDING, "epidural hematoma", "subdural hematoma"), (FINDING, "SDH", "SAH"),
    (FINDING, "cholelithiasis", "nephrolithiasis"), (FINDING, "ischemic stroke", "hemorrhagic stroke"),
    (FINDING, "hyperthyroidism", "hypothyroidism"), (PLACE, "frontal lobe", "temporal lobe"),
    (PLACE, "cerebellum", "cerebrum"), (PLACE, "RUQ", "RLQ"), (PLACE, "left ovary", "left kidney"),
    (SEX, "man", "female"), (CONTRAST, "without contrast", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "reference"), SAME)
def test_synonyms_agree(question: str, answer: str, reference: str) -> None:
    assert read_answer(question, answer, reference).verdict == "right"
    assert read_answer(question, reference, answer).verdict == "right"


@pytest.mark.parametrize(("question", "answer", "reference"), OTHER)
def test_neighbours_do_not(question: str, answer: str, reference: str) -> None:
    assert read_answer(question, answer, reference).verdict != "right"
    assert read_answer(question, reference, answer).verdict != "right"


def test_a_vertebra_is_no_sequence() -> None:
    assert read_answer("Which vertebra is fractured?", "T2", "T2").verdict == "right"
    assert read_answer("Which vertebra is fractured?", "T2", "T1").verdict == "wrong"


@pytest.mark.parametrize(
    ("answer", "choices", "said"),
    [
        ("transverse", ("Axial", "Coronal", "Sagittal"), "Axial"),
        ("a frontal section", ("axial", "coronal", "sagittal"), "coronal"),
        ("lateral", ("left lateral", "axial"), None),
        ("CTA", ("MRA", "CT angiography"), "CT angiography"),
    ],
)
def test_planes_and_modalities_name_their_choice(
    answer: str, choices: tuple[str, ...], said: str | None
) -> None:
    assert find_choice(answer, choices) == said
