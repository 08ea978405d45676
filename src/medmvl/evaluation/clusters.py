"""Clusters: the patients, or the coarsest identity known, that intervals resample as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medmvl.schema import Sample


class Identified(Protocol):
    """Identity of a sample as far as the data give it."""

    @property
    def patient(self) -> str | None:
        """Pseudonym of the patient."""
        ...

    @property
    def study(self) -> str | None:
        """Pseudonym of the study."""
        ...

    @property
    def image_group(self) -> str | None:
        """Group of images that belong together."""
        ...


def clusters_of(samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """The coarsest identity that all samples have, and each sample's: patient, study, image group, or the sample."""
    return coarsest_identity(samples) or ("sample", [sample.id for sample in samples])


def coarsest_identity(items: Sequence[Identified]) -> tuple[str, list[str]] | None:
    """The first of patient, study and image group that all items have, and its value per item; None where there is none."""
    found = {
        "patient": [item.patient for item in items],
        "study": [item.study for item in items],
        "image group": [item.image_group for item in items],
    }
    for name, values in found.items():
        known = [value for value in values if value is not None]
        if len(known) == len(items):
            return name, known
    return None


def limit_clusters(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """The samples of the first `limit` patients (or the next finer identity known)."""
    _, clusters = clusters_of(samples)
    kept = set(list(dict.fromkeys(clusters))[:limit])
    return [sample for sample, cluster in zip(samples, clusters, strict=True) if cluster in kept]
