"""3D-RAD (Gai et al., NeurIPS 2025, arXiv 2506.11147): six tasks about CT-RATE volumes, 136,195 + 33,965 questions.

Layout (huggingface.co/datasets/Tang-xiaoxiao/3D-RAD; github.com/Tang-xiaoxiao/3D-RAD): tables
`3DRAD/{train,test}/Task6_Longitudinal_Temporal_Diagnosis/b.csv` with `VolumeName`, `Question`, `Answer`,
`QuestionType`, `AnswerChoice`, `Choice A` ... `Choice D` ("-" for none), and prepared volumes
`Images/**/train_1_a_1.npy`, or CT-RATE's own `.nii.gz` anywhere below. Longitudinal questions also get the
volumes of up to two prior studies of the patient that are there; with CT-RATE's `metadata/*.csv` they are dated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, options_of
from medmvl.datasets.gathering.readers import iter_csv, text_field
from medmvl.datasets.public.ct_rate import identity_of, patient_of, read_part, root_of, study_of
from medmvl.datasets.public.m3d import with_choices
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.schema import Message, Sample, Target, TextBlock, VolumeBlock
from medmvl.tasks.benchmark import Benchmark

FOLDERS = {
    "Image_Observation": "observation", "Anomaly_Detection": "anomaly", "Medical_Computation": "computation",
    "Existence_Detection": "existence", "Static_Temporal_Diagnosis": "static",
    "Longitudinal_Temporal_Diagnosis": "longitudinal",
}  # fmt: skip
MAX_PRIORS = 2
SUFFIXES = (".npy", ".nii.gz")


def gather(found: Collection) -> None:
    """Take every question of the six tasks."""
    tables = [path for path in sorted(found.raw.rglob("Task*/*.csv")) if _split_of(path) is not None]
    if not tables:
        raise UserError(f"{found.raw}: expected 3DRAD/train/Task1_Image_Observation/*.csv and so on")
    scans = _Scans(found)
    for path in tables:
        split = _split_of(path)
        name = path.relative_to(found.raw).as_posix()
        for number, row in enumerate(iter_csv(found.table(path))):
            with found.record(f"{name}, row {number + 1}"):
                id = f"3d_rad-{split}-{path.parent.name[:5].lower()}-{path.stem.replace(' ', '_')}-{number:06d}"
                found.add(_sample(scans, row, id, _kind_of(path)), split)


def _split_of(path: Path) -> str | None:
    return next((part for part in reversed(path.parts) if part in ("train", "test")), None)


def _kind_of(path: Path) -> str:
    name = path.parent.name.partition("_")[2]
    if name not in FOLDERS:
        raise UserError(f"{path}: expected the folder of one of {', '.join(FOLDERS)}")
    return FOLDERS[name]


class _Scans:
    """Volumes by name, and what came before them."""

    def __init__(self, found: Collection) -> None:
        self.found = found
        self.files: dict[str, Path] = {}
        for suffix in reversed(SUFFIXES):  # prepared arrays are preferred
            for path in sorted(found.raw.rglob(f"*{suffix}")):
                self.files[_same(path.name.removesuffix(suffix))] = path
        self.studies: dict[str, dict[str, list[str]]] = {}
        """Patient to studies to volumes."""
        for name in self.files:
            if len(name.split("_")) == 4:
                study = study_of(name)
                self.studies.setdefault(patient_of(study), {}).setdefault(study, []).append(name)
        self.dates: dict[str, date] = {}
        root = root_of(found.raw)
        if (root / "metadata").is_dir():
            for part in ("train", "valid"):
                self.dates |= read_part(found, root, part).dates

    def block(self, name: str, days: int | None = None) -> VolumeBlock:
        """The volume of a name without its ending."""
        if name not in self.files:
            raise ReadError(f"there is no volume {name}.npy or {name}.nii.gz")
        path = self.files[name]
        units = "HU" if path.name.endswith(".nii.gz") else None
        return VolumeBlock(
            volume=self.found.volume(path), modality="CT", units=units, days_before_current=days
        )

    def priors(self, name: str) -> list[tuple[str, int | None]]:
        """Up to two volumes of the studies just before, the latest last, with the days between where known."""
        study = study_of(name)
        studies = self.studies.get(patient_of(study), {})
        earlier = sorted((other for other in studies if _order(other) < _order(study)), key=_order)
        return [(min(studies[other]), self._days(other, study)) for other in earlier[-MAX_PRIORS:]]

    def _days(self, earlier: str, study: str) -> int | None:
        if earlier in self.dates and study in self.dates:
            return max(0, (self.dates[study] - self.dates[earlier]).days)
        return None


def _sample(scans: _Scans, row: Mapping[str, str], id: str, question_type: str) -> Sample:
    name = _same(text_field(row, "VolumeName").removesuffix(".nii.gz"))
    asked, answer = text_field(row, "Question"), text_field(row, "Answer")
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = (answer,)
    if text_field(row, "QuestionType").lower().startswith("close"):
        letter, options = text_field(row, "AnswerChoice").upper(), options_of(row, "Choice {}")
        if letter not in LETTERS[: len(options)] or len(letter) != 1:
            raise UserError(f"the choice {letter!r} is none of the letters of its {len(options)} options")
        asked, choices = with_choices(asked, options), tuple(LETTERS[: len(options)])
        accepted = (f"{letter}. {answer}", letter, answer)
    return Sample(
        id=id,
        messages=(
            Message(role="user", content=(*_shown(scans, name, question_type), TextBlock(text=asked))),
            Message(role="assistant", content=(TextBlock(text=accepted[0]),)),
        ),
        language="en",
        task="3d_rad",
        target=Target(question_type=question_type, answers=accepted, choices=choices),
        **identity_of(name),
    )


def _shown(scans: _Scans, name: str, question_type: str) -> list[VolumeBlock | TextBlock]:
    """The volume; for longitudinal questions, what came before it, each said to be so."""
    priors = scans.priors(name) if question_type == "longitudinal" else []
    if question_type == "longitudinal" and not priors:
        scans.found.note("longitudinal questions whose prior volumes are not there")
    shown: list[VolumeBlock | TextBlock] = []
    for earlier, days in priors:
        said = "date unknown" if days is None else f"{days} days before"
        shown += [TextBlock(text=f"Earlier CT ({said}): "), scans.block(earlier, days)]
    return [*shown, *([TextBlock(text="Current CT: ")] if priors else []), scans.block(name)]


def _same(name: str) -> str:
    """The test volumes are CT-RATE's valid ones."""
    return f"valid_{name.removeprefix('test_')}" if name.startswith("test_") else name


def _order(study: str) -> tuple[int, str]:
    letter = study.rsplit("_", 1)[1]
    return len(letter), letter


RAD_3D = Benchmark(name="3d-rad", title="3D-RAD, all six tasks", data="3d-rad", protocol="3d-rad")
RAD_3D_OBSERVATION = Benchmark(
    name="3d-rad-observation", title="3D-RAD 1, image observation", data="3d-rad", question_types=("observation",),
    protocol="3d-rad",
)  # fmt: skip
RAD_3D_ANOMALY = Benchmark(
    name="3d-rad-anomaly", title="3D-RAD 2, anomaly detection", data="3d-rad", question_types=("anomaly",),
    protocol="3d-rad",
)  # fmt: skip
RAD_3D_COMPUTATION = Benchmark(
    name="3d-rad-computation", title="3D-RAD 3, medical computation", data="3d-rad",
    question_types=("computation",), protocol="3d-rad",
)  # fmt: skip
RAD_3D_EXISTENCE = Benchmark(
    name="3d-rad-existence", title="3D-RAD 4, existence detection", data="3d-rad", question_types=("existence",),
    protocol="3d-rad",
)  # fmt: skip
RAD_3D_STATIC = Benchmark(
    name="3d-rad-static", title="3D-RAD 5, static temporal diagnosis", data="3d-rad", question_types=("static",),
    protocol="3d-rad",
)  # fmt: skip
RAD_3D_LONGITUDINAL = Benchmark(
    name="3d-rad-longitudinal", title="3D-RAD 6, longitudinal temporal diagnosis, with prior volumes",
    data="3d-rad", question_types=("longitudinal",), protocol="3d-rad",
)  # fmt: skip

DATASET = PublicDataset(
    name="3d-rad",
    title="3D-RAD",
    licence="CC BY-NC-SA 4.0, as CT-RATE, from which its volumes are",
    url="https://huggingface.co/datasets/Tang-xiaoxiao/3D-RAD",
    layout="3DRAD/{train,test}/Task*/*.csv and Images/**/*.npy (or CT-RATE's .nii.gz); CT-RATE's metadata/ "
    "dates prior studies",
    size="136,195 training and 33,965 test questions",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(
        RAD_3D,
        RAD_3D_OBSERVATION,
        RAD_3D_ANOMALY,
        RAD_3D_COMPUTATION,
        RAD_3D_EXISTENCE,
        RAD_3D_STATIC,
        RAD_3D_LONGITUDINAL,
    ),
)
