"""OmniMedVQA (Hu et al., CVPR 2024), open-access part: 88,996 multiple choice questions, all of them test.

Layout (huggingface.co/datasets/foreverbeliever/OmniMedVQA): `QA_information/Open-access/<set>.json`, records
with `question_id`, `question_type`, `question`, `gt_answer`, `image_path`, `option_A` ... `option_D`,
`modality_type`; images at `image_path` below the folder. The restricted part has no images.
"""

from __future__ import annotations

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, lettered, options_of, question
from medmvl.datasets.gathering.readers import below, iter_json, text_field
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

TABLES = "QA_information/Open-access"


def gather(found: Collection) -> None:
    """Take every question of the open-access part."""
    tables = sorted((found.raw / TABLES).glob("*.json"))
    if not tables:
        raise UserError(f"{found.raw}: expected {TABLES}/*.json and Images/")
    for path in tables:
        for number, record in enumerate(iter_json(found.table(path))):
            with found.record(f"{path.name}, question {number + 1}"):
                _take(found, record, f"omnimedvqa-{path.stem}-{number:06d}")


def _take(found: Collection, record: JsonMapping, id: str) -> None:
    options = options_of(record, "option_{}")
    truth = text_field(record, "gt_answer")
    if truth not in options:
        raise UserError(f"the answer {truth!r} is none of its {len(options)} options")
    name = text_field(record, "image_path")
    question_type = text_field(record, "question_type").lower().replace(" ", "_")
    sample = question(
        id,
        [ImageBlock(image=found.image(below(found.raw, name)))],
        f"{text_field(record, 'question')}\n{lettered(options)}",
        LETTERS[options.index(truth)],
        question_type=question_type,
        choices=tuple(LETTERS[: len(options)]),
        more_answers=(truth,),
        image_group=name,
        task="omnimedvqa",
    )
    found.add(sample, "test")


OMNIMEDVQA = Benchmark(
    name="omnimedvqa", title="OmniMedVQA, multiple choice, open-access part", data="omnimedvqa",
    prompts={"en": "{question}\nAnswer with the letter of the right option."}, protocol="medevalkit",
)  # fmt: skip

DATASET = PublicDataset(
    name="omnimedvqa",
    title="OmniMedVQA, open-access part",
    licence="for research; each of its 42 sources keeps its own licence, several of them non-commercial",
    url="https://huggingface.co/datasets/foreverbeliever/OmniMedVQA",
    layout="QA_information/Open-access/*.json and Images/",
    size="82,059 images, 88,996 questions",
    split="all of it is test",
    gather=gather,
    tasks=(OMNIMEDVQA,),
)
