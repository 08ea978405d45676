"""CT-SpatialVQA (MICCAI 2026): where things lie in chest CT, asked about CT-RATE's validation scans; all of it is test.

Layout: one JSON Lines file with `case_id` (`valid_1_a_1.nii.gz`), `image_path`, `question`, `answer` next to the scans,
in CT-RATE's own folders (`valid_fixed/valid_1/valid_1_a/`) or side by side in `valid_fixed/`, as `image_path` says.
Checked in `3D_VLM_Spatial/qa_generation_v2/spatial_qa_filtered_full_nifti.jsonl` of github.com/Mashrafi27/CT-SpatialVQA:
the fields, the names of cases, the paths. That repository names no licence. Its answers were judged by three LLMs.
Not checked: whether a later release differs, and how it holds the six spatial categories, which that file lacks; a
`category`, a text or a list, is taken where there is one. Judged by `reader`, since answers are sentences.
"""

from __future__ import annotations

from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, iter_json, text_field
from medmvl.datasets.public.ct_rate import identity_of, patient_of, root_of, study_of
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import VolumeBlock
from medmvl.tasks.benchmark import Benchmark


def gather(found: Collection) -> None:
    """Take every question of the one table."""
    tables = sorted(found.raw.glob("*.jsonl"))
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables) or "none"
        raise UserError(
            f"{found.raw}: expected one .jsonl file of questions next to the scans, found {names}"
        )
    for number, record in enumerate(iter_json(found.table(tables[0]))):
        with found.record(f"{tables[0].name}, question {number + 1}"):
            _take(found, record, f"ct_spatialvqa-{number:05d}")


def _take(found: Collection, record: JsonMapping, id: str) -> None:
    case = text_field(record, "case_id").removesuffix(".nii.gz")
    volume = f"{case}.nii.gz"
    said = record.get("category") or []
    if not isinstance(said, str | list):
        raise UserError(f"expected a text or a list as category, found {type(said).__name__}")
    path = _scan(found.raw, volume, record.get("image_path"))
    units = "HU" if "valid_fixed" in path.parts else None
    block = VolumeBlock(volume=found.volume(path), units=units, modality="CT")
    sample = question(
        id,
        [block],
        text_field(record, "question"),
        text_field(record, "answer"),
        question_type="open",
        categories=(said,) if isinstance(said, str) else tuple(map(str, said)),
        task="ct_spatialvqa",
        **identity_of(volume),
    )
    found.add(sample, "test")


def _scan(raw: Path, volume: str, named: object) -> Path:
    """The scan in CT-RATE's folders, next to the others, or where the table says; `valid_fixed` holds Hounsfield units."""
    study = study_of(volume)
    nested = f"{patient_of(study)}/{study}/{volume}"
    folder = root_of(raw) / "valid_fixed"
    places = [below(folder, nested), below(folder, volume)]
    if isinstance(named, str) and Path(named).name == volume and not Path(named).is_absolute():
        places.append(below(raw, named))
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise ReadError(
            f"the scan is missing: neither valid_fixed/{nested} nor valid_fixed/{volume} is there"
        )
    return found


CT_SPATIALVQA = Benchmark(
    name="ct-spatialvqa", title="CT-SpatialVQA, positions in chest CT", data="ct-spatialvqa", protocol="reader",
)  # fmt: skip

DATASET = PublicDataset(
    name="ct-spatialvqa",
    title="CT-SpatialVQA",
    licence="none is stated for the questions; the scans are CT-RATE's: CC BY-NC-SA 4.0, non-commercial",
    url="https://github.com/Mashrafi27/CT-SpatialVQA",
    layout="one .jsonl file with case_id, question, answer, and valid_fixed/ of CT-RATE",
    size="9,077 questions about 1,601 scans",
    split="all of it is test",
    gather=gather,
    tasks=(CT_SPATIALVQA,),
)
