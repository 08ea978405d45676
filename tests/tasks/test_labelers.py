"""Labelers: phantoms exactly, rules with denial and doubt, a classifier of the user's."""

from pathlib import Path

import pytest

from medmvl.errors import UserError
from medmvl.phantoms import iter_patient_samples, make_patient
from medmvl.tasks.labelers import (
    CHEXPERT_FINDINGS,
    CT_RATE_FINDINGS,
    ClassifierLabeler,
    PhantomLabeler,
    find_labeler,
)

# The order of the challenge's label columns.
CT_RATE_NAMES = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis",
    "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Consolidation", "Bronchiectasis", "Interlobular septal thickening",
)  # fmt: skip


@pytest.mark.parametrize("preset", ["tiny", "chest"])
def test_a_phantoms_report_gives_back_its_labels(preset: str) -> None:
    labeler, read = PhantomLabeler(), 0
    for index in range(6 if preset == "chest" else 20):
        for sample in iter_patient_samples(make_patient(3, index, preset)):
            assert sample.target is not None
            if not sample.target.question_type.endswith("_report"):
                continue
            report = labeler.read(sample.target.answers[0])
            assert report.unread == ()
            kinds = {name: value for name, value in sample.labels.items() if "/" not in name}
            assert {name: report.labels[name] for name in kinds} == kinds
            if sample.target.question_type == "ct_report":  # an X-ray's report names the side of a lobe only
                places = {name for name, value in sample.labels.items() if "/" in name and value}
                assert {name for name in report.labels if "/" in name} == places
            read += 1
    assert read >= 20


def test_a_phantom_report_may_err_and_ramble() -> None:
    report = PhantomLabeler().read("no nodule. Nodule in the left lower  lobe. The liver is fine. 心脏不大。")
    assert report.labels["nodule"] == 1 and report.labels["nodule/left lower lobe"] == 1
    assert report.labels["cardiomegaly"] == 0
    assert report.unread == ("The liver is fine.",)


def present(name: str, text: str) -> set[str]:
    return {label for label, value in find_labeler(name).label([text])[0].items() if value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No pleural effusion, consolidation or nodule is seen.", set()),
        ("Pericardial or pleural effusion was not detected.", set()),
        ("There is a 5 mm nodule in the right upper lobe.", {"Lung nodule"}),
        ("No effusion but a nodule in the left lung.", {"Lung nodule"}),
        ("No pleural effusion, there is a nodule.", {"Lung nodule"}),
        ("No change in the nodule of 3.5 mm.", {"Lung nodule"}),
        ("Consolidation cannot be excluded.", {"Consolidation"}),
        ("The heart is not enlarged. Heart size is normal.", set()),
        ("The cardiothoracic ratio is increased in favour of the heart.", {"Cardiomegaly"}),
        (
            "Calcific plaques in the aorta and coronary arteries.",
            {"Arterial wall calcification", "Coronary artery wall calcification"},
        ),
        ("Calcification of the coronary arteries.", {"Coronary artery wall calcification"}),
        ("Hypodense nodule in the left thyroid lobe.", set()),
        ("Pathologically enlarged lymph nodes were not observed in the mediastinum.", set()),
        (
            "Bilateral peribronchial thickening, mosaic attenuation and tubular bronchiectasis.",
            {"Peribronchial thickening", "Mosaic attenuation pattern", "Bronchiectasis"},
        ),
        ("Sternotomy sutures are seen. Sliding type hiatal hernia.", {"Medical material", "Hiatal hernia"}),
        (
            "Ground-glass opacities with interlobular septal thickening.",
            {"Lung opacity", "Interlobular septal thickening"},
        ),
        ("双肺未见实变，右肺上叶可见结节。", {"Lung nodule"}),
        ("无胸腔积液及心包积液。", set()),
        ("主动脉壁钙化，肺气肿。", {"Arterial wall calcification", "Emphysema"}),
        ("", set()),
    ],
)
def test_ct_rate_rules(text: str, expected: set[str]) -> None:
    assert present("ct-rate", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lungs are clear without pneumothorax.", {"No Finding"}),
        ("Right picc line in place. No effusion.", {"No Finding", "Support Devices"}),
        ("Possible left lower lobe pneumonia.", {"Pneumonia"}),
        ("Small left effusion with adjacent atelectasis.", {"Pleural Effusion", "Atelectasis"}),
        ("The mediastinum is widened. Healed rib fractures.", {"Enlarged Cardiomediastinum", "Fracture"}),
        ("Massive cardiomegaly with pulmonary edema.", {"Cardiomegaly", "Edema"}),
        ("Pericardial effusion.", {"No Finding"}),
        ("Previously seen pneumothorax has resolved.", {"No Finding"}),
        ("No pneumothorax, small pleural effusion.", {"Pleural Effusion"}),
        ("No pneumothorax, pleural effusion, or large consolidation.", {"No Finding"}),
        ("No pneumothorax, pleural effusion, consolidation.", {"No Finding"}),
        ("No new, large nodule.", {"No Finding"}),
        ("No pleural effusion with new nodule.", {"Lung Lesion"}),
        ("Left effusion without pneumothorax, stable nodule.", {"Pleural Effusion", "Lung Lesion"}),
        ("Without contrast, the mass enhances.", {"Lung Lesion"}),
        ("He denies pain, pleural effusion is seen.", {"Pleural Effusion"}),
        ("The nodule is not calcified.", {"Lung Lesion"}),
        ("The nodule is no longer clearly visible.", {"No Finding"}),
        ("The heart is not enlarged.", {"No Finding"}),
        ("Pleural effusion: none. Pneumothorax: no. Nodule: 5 mm.", {"Lung Lesion"}),
        ("Pneumothorax (-), consolidation negative.", {"No Finding"}),
        ("骨折未见移位。", {"Fracture"}),
        ("Interval removal of the endotracheal tube.", {"No Finding"}),
        ("The chest tube has been removed.", {"No Finding"}),
        ("Cannot rule out pneumonia.", {"Pneumonia"}),
        ("INDICATION: pneumonia. FINDINGS: No effusion.", {"No Finding"}),
        ("History of pneumonia. Evaluate for pneumothorax.", {"No Finding"}),
        ("Consolidation? No.", {"No Finding"}),
        ("New nodule not seen on prior.", {"Lung Lesion"}),
        ("No priors, effusion noted.", {"Pleural Effusion"}),
        ("原胸腔积液已吸收。", {"No Finding"}),
        ("气胸未见。", {"No Finding"}),
        ("未见气胸，左侧胸腔积液。", {"Pleural Effusion"}),
    ],
)
def test_chexpert_rules(text: str, expected: set[str]) -> None:
    assert present("chexpert", text) == expected


def test_names_are_those_of_the_data_sets() -> None:
    assert find_labeler("ct-rate").names == CT_RATE_NAMES
    assert len(find_labeler("chexpert").names) == 14


@pytest.mark.parametrize("rules", [CT_RATE_FINDINGS, CHEXPERT_FINDINGS], ids=["ct-rate", "chexpert"])
def test_a_denied_or_doubted_finding_is_told_from_a_present_one(rules: tuple[object, ...]) -> None:
    labeler = find_labeler("ct-rate" if rules is CT_RATE_FINDINGS else "chexpert")
    explain = labeler.explain  # type: ignore[attr-defined]
    for text, mention in (
        ("Consolidation in the left lung", "present"), ("Suspected consolidation", "uncertain"),
        ("No consolidation", "absent"), ("Consolidation is not seen", "absent"),
    ):  # fmt: skip
        assert explain(text)["Consolidation"].mention == mention
    # one clear mention is stronger than a denial elsewhere
    assert (
        explain("No consolidation on the right. Consolidation on the left.")["Consolidation"].mention
        == "present"
    )


def test_a_classifier_folder_labels(tmp_path: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {"[PAD]": 0, "[UNK]": 1, "nodule": 2, "effusion": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=16, id2label={0: "Lung nodule", 1: "Pleural effusion"},
        problem_type="multi_label_classification",
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    labeler = find_labeler(str(tmp_path))
    assert labeler.names == ("Lung nodule", "Pleural effusion")
    texts = ["nodule", "effusion effusion nodule", "nodule " * 40]
    for text, labels in zip(texts, labeler.label(texts), strict=True):
        ids = torch.tensor([[words[word] for word in text.split()][:16]])
        expected = (model(ids).logits[0].sigmoid() > 0.5).float().tolist()
        assert list(labels.values()) == expected


def test_what_is_no_labeler_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="phantoms, ct-rate, chexpert"):
        find_labeler("radbert")
    with pytest.raises(UserError, match="no Hugging Face sequence classifier"):
        ClassifierLabeler(tmp_path).label(["x"])
