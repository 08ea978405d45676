"""Patients that a model was trained on: hashes of pseudonyms that travel with it, so that an evaluation on them says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.data.views import file_of
from medmvl.datasets.records import SampleFile
from medmvl.errors import UserError
from medmvl.schema import Sample

FILE = "trained_on.json"
VERSION = 1


@dataclass(frozen=True)
class TrainedOn:
    """The patients of all training data, of the stages and models before, too."""

    hashes: frozenset[str] = frozenset()
    """One per patient, or per study, image group or sample where the data name no patient."""
    sources: tuple[str, ...] = ()
    """Digests of the training data."""
    complete: bool = True
    """True where everything is known; not so where a model was trained elsewhere before."""
    keys: frozenset[str] = frozenset()
    """Names of the keys that made the pseudonyms, where the data say them."""

    @classmethod
    def of(cls, sources: Sequence[tuple[str, Sequence[Sample]]], keys: Iterable[str] = ()) -> TrainedOn:
        """What training on sources, each with its digest, adds.

        A file is read once: samples that are chosen from it, or shown without images, have no other patients.
        """
        hashes: set[str] = set()
        whole: set[Path] = set()
        for _, samples in sorted(sources, key=lambda source: not isinstance(source[1], SampleFile)):
            file = file_of(samples)
            if isinstance(file, SampleFile) and file.path in whole:
                continue
            if isinstance(samples, SampleFile):
                whole.add(samples.path)
            hashes.update(hash_of(sample) for sample in samples)
        return cls(frozenset(hashes), tuple(digest for digest, _ in sources), keys=frozenset(keys))

    @classmethod
    def read(cls, model: Path) -> TrainedOn | None:
        """What a model's folder says; None where it says nothing.

        Raises:
            UserError: the file is damaged or of another version.
        """
        file = model / FILE
        if not file.is_file():
            return None
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["version"] != VERSION:
                raise UserError(f"{file}: version {found['version']}; this release reads {VERSION}")
            keys = frozenset(found.get("keys", ()))
            return cls(frozenset(found["hashes"]), tuple(found["sources"]), bool(found["complete"]), keys)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{file}: damaged; delete it, and evaluations will not know the training patients"
            ) from None

    def write(self, model: Path) -> None:
        """Write the file into a model's folder."""
        record = {
            "version": VERSION, "complete": self.complete, "sources": list(self.sources), "hashes": sorted(self.hashes),
            "keys": sorted(self.keys),
        }  # fmt: skip
        write_json(model / FILE, record)

    def __or__(self, other: TrainedOn) -> TrainedOn:
        """Both together."""
        sources = tuple(dict.fromkeys((*self.sources, *other.sources)))
        complete = self.complete and other.complete
        return TrainedOn(self.hashes | other.hashes, sources, complete, self.keys | other.keys)

    def cannot_know(self, key: str | None) -> bool:
        """Whether data whose pseudonyms are of a key have patients who would not be known again."""
        return key is not None and bool(self.keys) and key not in self.keys

    def shared(self, samples: Iterable[Sample]) -> tuple[int, int]:
        """How many of the patients of `samples` were trained on, and how many there are."""
        asked = {hash_of(sample) for sample in samples}
        return len(asked & self.hashes), len(asked)


def hash_of(sample: Sample) -> str:
    """Hash of the coarsest identity a sample has; without one, of its id and its words."""
    for name in ("patient", "study", "image_group"):
        if value := getattr(sample, name):
            return _hashed(name, value)
    return _hashed("sample", sample.id, *(message.text for message in sample.messages))


def _hashed(*values: str) -> str:
    return hashlib.sha256("\0".join(values).encode("utf-8", "surrogatepass")).hexdigest()[:16]
