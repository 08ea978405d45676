"""The table of public data sets: their licences, the layout they are published in, official numbers and splits."""

from __future__ import annotations

from medmvl.data.convert import (
    ct_rate,
    iu_xray,
    m3d,
    medmnist,
    medpix,
    mimic_cxr,
    omnimedvqa,
    path_vqa,
    pmc_vqa,
    rad_3d,
    sa_med2d,
    slake,
    text_only,
    vqa_med,
    vqa_rad,
)
from medmvl.data.convert.public import PublicDataset

PUBLISHED = "as published, less training samples that share a picture or patient with a later part"


def _vqa_med(year: int, size: str) -> PublicDataset:
    return PublicDataset(
        name=f"vqa-med-{year}",
        title=f"VQA-Med {year} (ImageCLEF)",
        licence="pictures from MedPix: for research, by the terms of ImageCLEF",
        url=f"https://github.com/abachaa/VQA-Med-{year}",
        layout="question files (image|question|answer lines) and picture folders of train, validation and test",
        size=size,
        split=PUBLISHED,
        gather=vqa_med.gather,
    )


DATASETS = (
    PublicDataset(
        name="vqa-rad",
        title="VQA-RAD",
        licence="CC0 1.0",
        url="https://osf.io/89kps",
        layout="'VQA_RAD Dataset Public.json' with 'VQA_RAD Image Folder/', or data/*.parquet of Hugging Face",
        size="315 pictures, 2,248 questions; published test: 451",
        split="a new one by picture: the published test shares 203 pictures with training",
        gather=vqa_rad.gather,
        as_published=False,
    ),
    PublicDataset(
        name="slake",
        title="SLAKE",
        licence="CC BY 4.0",
        url="https://www.med-vqa.com/slake",
        layout="train.json, validate.json, test.json, imgs/<picture>/{source.jpg,detection.json}",
        size="642 pictures, 14,028 questions (7,033 English, 6,995 Chinese)",
        split="every picture where the English part puts it, in both languages and for boxes",
        gather=slake.gather,
    ),
    PublicDataset(
        name="path-vqa",
        title="PathVQA",
        licence="MIT for the questions; pictures are from textbooks and a digital library",
        url="https://huggingface.co/datasets/flaviagiammarino/path-vqa",
        layout="data/*.parquet of Hugging Face, or images/ and qas/*/{train,val,test}_qa.pkl",
        size="5,004 pictures; 19,654 / 6,259 / 6,719 questions",
        split=PUBLISHED,
        gather=path_vqa.gather,
    ),
    PublicDataset(
        name="pmc-vqa",
        title="PMC-VQA",
        licence="CC BY-SA 4.0 for the questions; each figure has the licence of its article",
        url="https://huggingface.co/datasets/RadGenome/PMC-VQA",
        layout="train_2.csv, test_2.csv with figures/ (version 2), or train.csv, test.csv with images/",
        size="149,075 pictures, 226,946 questions (version 1)",
        split=PUBLISHED,
        gather=pmc_vqa.gather,
    ),
    _vqa_med(2019, "4,200 pictures, 15,292 questions; test: 500"),
    _vqa_med(2020, "5,000 pictures and questions: 4,000 / 500 / 500"),
    _vqa_med(2021, "5,500 pictures and questions: 4,500 / 500 / 500"),
    PublicDataset(
        name="omnimedvqa",
        title="OmniMedVQA, open-access part",
        licence="for research; each of its 42 sources keeps its own licence, several of them non-commercial",
        url="https://huggingface.co/datasets/foreverbeliever/OmniMedVQA",
        layout="QA_information/Open-access/*.json and Images/",
        size="82,059 pictures, 88,996 questions",
        split="all of it is test",
        gather=omnimedvqa.gather,
    ),
    PublicDataset(
        name="iu-xray",
        title="IU-Xray (Indiana University chest X-rays)",
        licence="CC BY-NC-ND 4.0: non-commercial, no derivatives",
        url="https://openi.nlm.nih.gov",
        layout="indiana_reports.csv and indiana_projections.csv with images/, or annotation.json with images/, "
        "or ecgen-radiology/*.xml with NLMCXR_png/",
        size="7,470 pictures, 3,955 reports",
        split="of annotation.json (R2Gen) where it is there, else a new one by report",
        gather=iu_xray.gather,
    ),
    PublicDataset(
        name="mimic-cxr",
        title="MIMIC-CXR-JPG with the reports of MIMIC-CXR",
        licence="PhysioNet Credentialed Health Data License 1.5.0: training required, never share or send to "
        "third-party services",
        url="https://physionet.org/content/mimic-cxr-jpg",
        layout="mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz, files/p10/p10000032/s50414267/*.jpg and "
        "s50414267.txt beside, or below mimic-cxr-reports/files/",
        size="377,110 pictures, 227,835 studies, 65,379 patients",
        split="the official one, by patient",
        gather=mimic_cxr.gather,
    ),
    PublicDataset(
        name="medmnist",
        title="MedMNIST v2, 2D sets with one category a picture",
        licence="CC BY 4.0; DermaMNIST: CC BY-NC 4.0",
        url="https://medmnist.com",
        layout="dermamnist_224.npz, organsmnist_224.npz and others, any size",
        size="DermaMNIST 7,007 / 1,003 / 2,005; OrganSMNIST 13,932 / 2,452 / 8,827",
        split=PUBLISHED,
        gather=medmnist.gather,
    ),
    PublicDataset(
        name="sa-med2d",
        title="SA-Med2D-20M as named boxes, in the form of Uni-Med",
        licence="CC BY-NC-SA 4.0",
        url="https://doi.org/10.6084/m9.figshare.27265386",
        layout="images/<modality>/*.png and {train,test}/<modality>/*.json with [{name: [x, y, width, height]}]",
        size="as published by Uni-Med",
        split=PUBLISHED,
        gather=sa_med2d.gather,
    ),
    PublicDataset(
        name="ct-rate",
        title="CT-RATE",
        licence="CC BY-NC-SA 4.0: non-commercial; accept its terms before the download",
        url="https://huggingface.co/datasets/ibrahimhamamci/CT-RATE",
        layout="dataset/{train_fixed,valid_fixed}/train_1/train_1_a/*.nii.gz, radiology_text_reports/, "
        "multi_abnormality_labels/, metadata/, vqa/",
        size="train 47,149 volumes, 24,128 studies, 20,000 patients; validation 3,039 / 1,564 / 1,304",
        split="train as published; the published validation part is test",
        gather=ct_rate.gather,
    ),
    PublicDataset(
        name="m3d",
        title="M3D-Cap and M3D-VQA",
        licence="Apache-2.0 by its card; scans and texts are from Radiopaedia, whose non-commercial terms apply",
        url="https://huggingface.co/datasets/GoodBaiBai88/M3D-Cap",
        layout="M3D_Cap_npy/M3D_Cap.json with its .npy and .txt files, M3D-VQA/M3D_VQA_{train,val,test}.csv",
        size="120,092 volumes with captions (test1k: 1,000), 509,755 questions",
        split=PUBLISHED + "; all volumes of a case together",
        gather=m3d.gather,
    ),
    PublicDataset(
        name="3d-rad",
        title="3D-RAD",
        licence="CC BY-NC-SA 4.0, as CT-RATE, from which its volumes are",
        url="https://huggingface.co/datasets/Tang-xiaoxiao/3D-RAD",
        layout="3DRAD/{train,test}/Task*/*.csv and Images/**/*.npy (or CT-RATE's .nii.gz); CT-RATE's metadata/ "
        "dates prior studies",
        size="136,195 training and 33,965 test questions",
        split=PUBLISHED,
        gather=rad_3d.gather,
    ),
    PublicDataset(
        name="medpix",
        title="MedPix captions (RadFM's MPx-Single)",
        licence="MedPix: for research and teaching, by the terms of the US National Library of Medicine",
        url="https://huggingface.co/datasets/chaoyi-wu/RadFM_data_csv",
        layout="MedPix_single_train.csv, MedPix_single_test.csv and images/",
        size="as published by RadFM",
        split=PUBLISHED,
        gather=medpix.gather,
    ),
    PublicDataset(
        name="medqa",
        title="MedQA, US part, text only",
        licence="MIT",
        url="https://github.com/jind11/MedQA",
        layout="questions/US/{train,dev,test}.jsonl",
        size="10,178 / 1,272 / 1,273 questions",
        split=PUBLISHED,
        gather=text_only.gather_medqa,
    ),
    PublicDataset(
        name="pubmedqa",
        title="PubMedQA, labelled part, text only",
        licence="MIT",
        url="https://github.com/pubmedqa/pubmedqa",
        layout="{train,dev,test}_set.json",
        size="450 / 50 / 500 questions",
        split=PUBLISHED,
        gather=text_only.gather_pubmedqa,
    ),
)

CONVERTERS: dict[str, PublicDataset] = {dataset.name: dataset for dataset in DATASETS}
"""Name on the command line to the data set."""
