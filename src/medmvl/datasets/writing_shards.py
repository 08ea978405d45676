"""Samples and scans into shards: tar files in WebDataset's layout, with an index each (`medmvl.datasets.shards`).

What shares a patient, a study or a file lies in one shard, once. A shard is written whole or not at all, and one that is there
with the same content is passed over: the same command goes on where it was stopped. `NAME.jsonl` is an ordinary data file whose
paths lead into the shards; copies of its samples lie next to their scans in the shards, for other readers of WebDataset.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medmvl.atomic_files import atomic_write, write_json
from medmvl.datasets.loader import PHANTOM_SCHEME, BlockLoader, states_of
from medmvl.datasets.pseudonyms import keys_go_on
from medmvl.datasets.shards import IN_SHARD, index_of
from medmvl.datasets.splits import given_splits, patient_groups
from medmvl.errors import UserError
from medmvl.imaging.partners import files_of, header_of
from medmvl.outputs import continued_folder
from medmvl.schema import Sample, dump_sample, write_samples

Progress = Callable[[int, int], None]
_BLOCK = 512
"""Bytes of a header of tar, and what the length of a member is rounded up to."""


@dataclass
class Plan:
    """One shard before it is written: its groups of samples, and the files of each."""

    name: str
    groups: list[list[Sample]] = field(default_factory=list)
    num_bytes: int = 0


@dataclass
class Written:
    """What was done."""

    shards: int = 0
    made: int = 0
    """Shards that were not there yet."""
    num_bytes: int = 0
    samples: dict[str, int] = field(default_factory=dict)


def write_shards(
    splits: dict[str, tuple[Sequence[Sample], BlockLoader]],
    out: Path,
    num_bytes: int,
    progress: Progress | None = None,
) -> Written:
    """Write the samples of each split and their scans into shards of about `num_bytes`.

    Args:
        splits: samples and how their files are read, by the name of the split.
        out: a folder, owner only where it is made here.
        num_bytes: size of a shard; one group of samples may make a larger one.
        progress: called with the number of shards that are done, and of all.

    Raises:
        BusyError: another process writes `out`.
        UserError: a patient, study or file is in two splits, a sample is of a phantom, or a file is missing.
    """
    _refuse_divided(splits)
    with continued_folder(out):
        return _write_missing(splits, out, num_bytes, progress)


def _write_missing(
    splits: dict[str, tuple[Sequence[Sample], BlockLoader]],
    out: Path,
    num_bytes: int,
    progress: Progress | None,
) -> Written:
    plans = {name: _plans(name, *source, num_bytes) for name, source in splits.items()}
    total, done = sum(map(len, plans.values())), Written()
    for name, shards in plans.items():
        rewritten: list[Sample] = []
        for plan in shards:
            samples, made = _write_shard(out, plan, splits[name][1])
            rewritten += samples
            done.shards, done.made = done.shards + 1, done.made + made
            done.num_bytes += (out / f"{plan.name}.tar").stat().st_size
            if progress is not None:
                progress(done.shards, total)
        done.samples[name] = write_samples(out / f"{name}.jsonl", rewritten)
    about = keys_go_on(*(load.folder for _, load in splits.values()))
    counts = {name: {"samples": n} for name, n in done.samples.items()}
    write_json(out / "dataset.json", {**about, "splits": counts})
    return done


def _refuse_divided(splits: dict[str, tuple[Sequence[Sample], BlockLoader]]) -> None:
    samples = [sample for part, _ in splits.values() for sample in part]
    try:
        given_splits(samples, [name for name, (part, _) in splits.items() for _ in part])
    except UserError as error:
        reason = str(error).partition(": a patient")[0].partition("the column of splits ")[2]
        raise UserError(
            f"the data files divide what must stay together: {reason}. Split again: medmvl data split"
        ) from None


def _plans(name: str, samples: Sequence[Sample], load: BlockLoader, num_bytes: int) -> list[Plan]:
    """Groups in the order of their first samples, as many in a shard as fit."""
    groups: dict[int, list[Sample]] = {}
    for number, sample in zip(patient_groups(samples, load.reference), samples, strict=True):
        groups.setdefault(number, []).append(sample)
    plans: list[Plan] = []
    for group in groups.values():
        size = sum(_size(path) for path in _references(group, load))
        if not plans or (plans[-1].num_bytes and plans[-1].num_bytes + size > num_bytes):
            plans.append(Plan(f"{name}-{len(plans):05}"))
        plans[-1].groups.append(group)
        plans[-1].num_bytes += size
    return plans


def _references(group: Sequence[Sample], load: BlockLoader) -> list[Path]:
    """The files and folders of a group's blocks, each once."""
    found = {}
    for sample in group:
        for block in sample.visuals:
            if block.path.startswith(PHANTOM_SCHEME):
                raise UserError(
                    f"sample {sample.id!r} shows a phantom that is no file: write phantoms first (medmvl phantoms)"
                )
            path = Path(load.reference(block).partition("#")[0])
            if not path.exists():
                raise UserError(f"sample {sample.id!r}: there is no file {path}")
            found[path] = True
    return list(found)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_of(path))


def _write_shard(out: Path, plan: Plan, load: BlockLoader) -> tuple[list[Sample], bool]:
    """The samples with paths into the shard, and whether it was written now."""
    samples: list[Sample] = []
    entries: list[tuple[str, Path | str]] = []
    for number, group in enumerate(plan.groups):
        names = {path: f"{number:06}.{at}{_suffix(path)}" for at, path in enumerate(_references(group, load))}
        inside = [_renamed(sample, load, names, "") for sample in group]
        samples += [_renamed(sample, load, names, f"{plan.name}{IN_SHARD}") for sample in group]
        entries.append((f"{number:06}.jsonl", "\n".join(map(dump_sample, inside)) + "\n"))
        entries += [(name, path) for path, name in names.items()]
    digest, shard = _digest(entries), out / f"{plan.name}.tar"
    if _is_there(shard, digest):
        return samples, False
    members: dict[str, tuple[int, int, int]] = {}
    index_of(shard).unlink(missing_ok=True)
    with (
        atomic_write(shard, mode=0o600) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in entries:
            body = content.encode() if isinstance(content, str) else _packed(content)
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(body), 0o600
            members[name] = (tar.offset + _BLOCK, len(body), zlib.crc32(body))
            tar.addfile(header, io.BytesIO(body))
    write_json(index_of(shard), {"bytes": shard.stat().st_size, "content": digest, "members": members})
    index_of(shard).chmod(0o600)
    return samples, True


def _renamed(sample: Sample, load: BlockLoader, names: dict[Path, str], before: str) -> Sample:
    """The sample with the members in place of its files, and the source's declarations in its blocks."""

    def moved(block: Any) -> Any:
        if block.type == "text":
            return block
        path, mark, selector = load.reference(block).partition("#")
        place = before + names[Path(path)] + mark + selector
        return block.model_copy(update={block.type: place, **load.declarations(block)})

    messages = tuple(m.model_copy(update={"content": tuple(map(moved, m.content))}) for m in sample.messages)
    return sample.model_copy(update={"messages": messages})


def _suffix(path: Path) -> str:
    """The extension of a member: of its only file, or that of the archive which holds its files."""
    return "".join(path.suffixes[-2:]).lower() if _is_single(path) and len(path.suffix) < 9 else ".zip"


def _is_single(path: Path) -> bool:
    return path.is_file() and files_of(path) == (path,)


def _packed(path: Path) -> bytes:
    """The bytes of a file, or an archive of all files that belong to it, uncompressed and without names of slices."""
    if _is_single(path):
        return path.read_bytes()
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, file in _named_files(path):
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
    return body.getvalue()


def _named_files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        yield from ((f"{number:06}", file) for number, file in enumerate(files_of(path)))
        return
    folder = header_of(path).parent  # a header names its pixels
    yield from ((file.relative_to(folder).as_posix(), file) for file in files_of(path))


def _digest(entries: list[tuple[str, Path | str]]) -> str:
    shown = [(name, part if isinstance(part, str) else states_of(part)) for name, part in entries]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def _is_there(shard: Path, digest: str) -> bool:
    try:
        stored = json.loads(index_of(shard).read_text(encoding="utf-8"))
        return bool(stored["content"] == digest and stored["bytes"] == shard.stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False
