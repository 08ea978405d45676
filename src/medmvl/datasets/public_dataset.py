"""A public data set: its licence, the layout it is published in, and the story of its conversion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from medmvl.atomic_files import atomic_write, write_json, write_text
from medmvl.datasets.gathering.collection import Collection, ConvertOptions, summary_of
from medmvl.datasets.splits import SPLIT_NAMES, patient_groups, split_groups
from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.messages import first_of
from medmvl.outputs import whole_folder
from medmvl.tasks.benchmark import Benchmark

AS_PUBLISHED = "as published, less training samples that share an image or patient with a later part"
OFFICIAL = "exactly as published: what is in both halves stays in both"
DEFAULT_FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
STRICTEST_FIRST = ("test", "validation", "train")


@dataclass(frozen=True, kw_only=True)
class PublicDataset:
    """The card of a public data set, how its layout is read, and the tasks it has."""

    name: str
    title: str
    licence: str
    """Conditions the user must mind; printed and written next to the data."""
    url: str
    layout: str
    """Files expected in the raw folder."""
    size: str
    """Official numbers of images and questions or reports."""
    split: str
    """Which split is written by default, in words."""
    gather: Callable[[Collection], None]
    tasks: tuple[Benchmark, ...] = ()
    """Tasks that ask about it; `data` of each is `name`."""
    as_published: bool = True
    """True where the published split is the default; False: a new one by image."""

    def convert(
        self,
        raw: Path,
        out: Path,
        options: ConvertOptions | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> JsonObject:
        """Write `train.jsonl`, `validation.jsonl`, `test.jsonl` and `dataset.json`; return the latter.

        Args:
            raw: folder in the published layout; it is only read.
            out: a new or empty folder, or one that this very call made, which is then left as it is.
            options: see ConvertOptions.
            progress: called with the number of records done.

        Raises:
            UserError: where the layout is another, or records are bad and `skip_bad` is off.
        """
        options = options or ConvertOptions()
        if not raw.is_dir():
            raise UserError(f"{raw}: not a folder; expected {self.layout}")

        def write(folder: Path) -> None:
            found = Collection(raw, out, folder, options, progress)
            self.gather(found)
            _refuse_bad(found, raw, self.layout)
            self._write(found)

        request = {"command": f"convert {self.name}", "raw": str(raw.absolute()), "options": asdict(options)}
        whole_folder(out, request, write, private=True)
        summary: JsonObject = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
        return summary

    def _write(self, found: Collection) -> None:
        parts, how = self._divide(found)
        _write_lines(found, parts)
        summary: JsonObject = {
            "source": self.title,
            "name": self.name,
            "license": self.licence,
            "url": self.url,
            "split": how,
            "splits": {name: summary_of(found.entries, indices) for name, indices in parts.items()},
            "left_out": {"bad": len(found.bad), "leaks": how.get("left_out", 0)},
            "notes": dict(sorted(found.notes.items())),
            "inputs": found.tables,
            "files_sha256": _digest_of_digests(found.digests),
        }
        found.close()
        if found.bad:
            write_text(found.folder / "left_out.txt", "\n".join(found.bad) + "\n")
        write_json(found.folder / "dataset.json", summary)

    def _divide(self, found: Collection) -> tuple[dict[str, list[int]], JsonObject]:
        """Return the indices of each split, and how they came about."""
        groups = patient_groups(found.samples(), found.identity)
        official = [entry.split for entry in found.entries]
        wanted = found.options.split
        if wanted in ("published", "official") and not any(official):
            raise UserError(f"{self.name}: the files in {found.raw} name no published split; ask for shares")
        if wanted is None:
            wanted = "published" if self.as_published and any(official) else DEFAULT_FRACTIONS
        if not isinstance(wanted, str):
            parts = split_groups(groups, wanted, found.options.seed)
            how = {"by": "image and patient", "fractions": dict(wanted), "seed": found.options.seed}
            return parts, how
        if wanted == "official":
            parts = {
                name: [i for i, split in enumerate(official) if (split or "train") == name]
                for name in SPLIT_NAMES
            }
            parts = {name: part for name, part in parts.items() if part}
            return parts, {"by": OFFICIAL, "left_out": 0, "shared": _num_shared(parts, groups)}
        parts, left_out = keep_published(groups, official)
        return parts, {"by": "as published", "left_out": left_out}


def keep_published(groups: Sequence[int], official: Sequence[str | None]) -> tuple[dict[str, list[int]], int]:
    """The published split, without training samples that share a patient, study or file with a later split.

    A group that is in several splits stays in the strictest one (test, then validation, then train); its
    other samples are left out, so that the test set is the published one.

    Args:
        groups: group of each sample; see `splits.patient_groups`.
        official: the published split of each sample; None counts as train.

    Returns:
        Indices of each split, and how many samples were left out.
    """
    rank = {name: number for number, name in enumerate(STRICTEST_FIRST)}
    named = [split or "train" for split in official]
    strictest: dict[int, str] = {}
    for group, split in zip(groups, named, strict=True):
        strictest[group] = min(split, strictest.get(group, split), key=rank.__getitem__)
    parts: dict[str, list[int]] = {name: [] for name in SPLIT_NAMES}
    for index, (group, split) in enumerate(zip(groups, named, strict=True)):
        if strictest[group] == split:
            parts[split].append(index)
    kept = sum(map(len, parts.values()))
    return {name: part for name, part in parts.items() if part}, len(named) - kept


def _num_shared(parts: Mapping[str, list[int]], groups: Sequence[int]) -> int:
    """Training samples that share an image, study or patient with a later split."""
    later = {groups[i] for name, part in parts.items() if name != "train" for i in part}
    return sum(groups[i] in later for i in parts.get("train", ()))


def _refuse_bad(found: Collection, raw: Path, layout: str) -> None:
    total = len(found.bad) + len(found.entries)
    if not total:
        raise UserError(f"{raw}: nothing was found in it; expected {layout}")
    if found.bad and (not found.options.skip_bad or not found.entries):
        shown = first_of(found.bad, separator="\n  ")
        raise UserError(
            f"{raw}: {len(found.bad)} of {total} records cannot be used (--skip-bad leaves them out):\n"
            f"  {shown}"
        )


def _write_lines(found: Collection, parts: Mapping[str, list[int]]) -> None:
    where = {index: name for name, indices in parts.items() for index in indices}
    with ExitStack() as stack:
        files = {name: stack.enter_context(atomic_write(found.folder / f"{name}.jsonl")) for name in parts}
        for index, line in enumerate(found.lines()):
            if index in where:
                files[where[index]].write(line)


def _digest_of_digests(digests: Mapping[str, str]) -> str | None:
    if not digests:
        return None
    text = "\n".join(f"{digest} {name}" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()
