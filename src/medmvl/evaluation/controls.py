"""Controls: what a score is worth without looking. The majority answer, no image, another patient's image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medmvl.schema import ImageBlock, Sample, TextBlock, VolumeBlock
from medmvl.tasks import Group, group_of, target_of

Scan = tuple[ImageBlock | VolumeBlock, ...]
"""All a sample shows: an image, a volume, or several that belong together."""


def majority_answers(samples: Iterable[Sample]) -> dict[Group, str]:
    """The most frequent reference answer of every group; the first seen among equals.

    A group never mixes languages, types of question, or 2D with 3D. Samples without a known answer do not
    count.
    """
    counts: dict[Group, Counter[str]] = {}
    for sample in samples:
        target = target_of(sample)
        if target is not None:
            counts.setdefault(group_of(sample), Counter())[target.answers[0]] += 1
    return {group: counter.most_common(1)[0][0] for group, counter in counts.items()}


@dataclass(frozen=True)
class SwappedImages:
    """Samples that show another patient's images, and the ids of those for which there was no other patient."""

    samples: tuple[Sample, ...]
    impossible: tuple[str, ...] = ()


def swap_images(samples: Sequence[Sample], seed: int = 0) -> SwappedImages:
    """Show every sample the images of another patient: a seeded derangement of the scans.

    Scans change places only within a task and with their like: as many images and volumes, of the same
    declared modality, orientation and time order. Samples that share a patient, a study, an image group or a
    file count as one patient, so nobody ever gets an image of their own. Where one patient has more than
    half of the scans of a kind, some donors give theirs more than once; where there is one patient only, the
    sample is listed as impossible. Samples without images have none to change and are left out.
    """
    seen = [sample for sample in samples if sample.visuals]
    patients = _same_patients(seen)
    strata: dict[Hashable, dict[Scan, str]] = {}
    for sample in seen:
        strata.setdefault(_stratum(sample), {})[sample.visuals] = patients[sample.id]
    donors = {key: _derange(scans, seed) for key, scans in strata.items()}
    swapped, impossible = [], []
    for sample in seen:
        donor = donors[_stratum(sample)].get(sample.visuals)
        if donor is None:
            impossible.append(sample.id)
        else:
            swapped.append(_showing(sample, donor))
    return SwappedImages(tuple(swapped), tuple(impossible))


def _stratum(sample: Sample) -> tuple[Hashable, ...]:
    """What two samples must share to change images."""
    places = tuple(
        (block.type, block.modality, block.axcodes, bool(block.days_before_current))
        for block in sample.visuals
    )
    return (sample.task, *places)


def _derange(patient_of: dict[Scan, str], seed: int) -> dict[Scan, Scan]:
    """A donor of another patient for every scan that has one.

    With the scans sorted by patient, stepping on by the largest patient's number of scans never stays with
    a patient, as long as nobody has more than half of them.
    """
    rng = np.random.default_rng(seed)
    scans = list(patient_of)
    shuffled = [scans[i] for i in rng.permutation(len(scans))]
    rank = {patient: i for i, patient in enumerate(dict.fromkeys(patient_of[scan] for scan in shuffled))}
    ordered = sorted(shuffled, key=lambda scan: rank[patient_of[scan]])
    step = max(Counter(patient_of.values()).values())
    donors: dict[Scan, Scan] = {}
    for place, scan in enumerate(ordered):
        around = (ordered[(place + step + more) % len(ordered)] for more in range(len(ordered)))
        donor = next((other for other in around if patient_of[other] != patient_of[scan]), None)
        if donor is not None:
            donors[scan] = donor
    return donors


def _same_patients(samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id to the patient it is about, as far as shared identities and files tell."""
    parents: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    for sample in samples:
        shared = [(name, getattr(sample, name)) for name in ("patient", "study", "image_group")]
        shared += [("file", block.path) for block in sample.visuals]
        for key in shared:
            if key[1] is not None:
                parents[root(key)] = root(("sample", sample.id))
    return {sample.id: str(root(("sample", sample.id))) for sample in samples}


def _showing(sample: Sample, donor: Scan) -> Sample:
    """The sample with the donor's images in place of its own, without its boxes."""
    blocks = iter(donor)
    messages = tuple(
        message.model_copy(
            update={
                "content": tuple(
                    block if isinstance(block, TextBlock) else next(blocks) for block in message.content
                )
            }
        )
        for message in sample.messages
    )
    return sample.model_copy(update={"messages": messages, "boxes": ()})
