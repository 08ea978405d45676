"""Samples in shards: the same pixels, an order that stays near, exact resuming, and damage that names itself."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medmvl.cli.main import main
from medmvl.data.sampler import SHARDS_TOGETHER, epoch_order
from medmvl.data.sources import open_data
from medmvl.datasets import shards, writing_shards
from medmvl.datasets.shards import index_of
from medmvl.datasets.writing_shards import write_shards
from medmvl.errors import ReadError, UserError
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.data.test_sampler import GROUPS, Data
from tests.factories import dicom as make
from tests.factories.commands import run
from tests.factories.ranks import train_with_a_kill
from tests.factories.training import command, losses, recipe, stage, write_recipe

RNG = np.random.default_rng(0)


def sample(name: str, kind: str, path: str, **more: Any) -> dict[str, Any]:
    question = {"type": "text", "text": "What is seen?"}
    blocks = [{"type": kind, kind: path, **more.pop("block", {})}, question]
    messages = [{"role": "user", "content": blocks}, {"role": "assistant", "content": f"Finding {name}."}]
    return {"id": name, "messages": messages, **more}


def write_data(folder: Path, patients: int = 12) -> Path:
    """Images, a DICOM series and a header with pixels next to it; two samples per image."""
    folder.mkdir()
    lines = []
    for number in range(patients):
        Image.fromarray(RNG.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / f"{number}.png")
        of = {"patient": f"p{number}"}
        lines += [sample(f"{number}{letter}", "image", f"{number}.png", **of) for letter in "ab"]
    make.ct_series(folder / "series", make.stored_volume(4))
    lines.append(sample("ct", "volume", "series", patient="ct"))
    RNG.integers(-5, 900, (3, 4, 5)).astype(np.int16).tofile(folder / "scan.raw")
    (folder / "scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
        "ElementDataFile = scan.raw\n"
    )
    lines.append(sample("pair", "volume", "scan.mhd", patient="pair", block={"units": "HU"}))
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    other = sample("v", "image", "v.png", patient="v")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "v.png")
    (folder / "validation.jsonl").write_text(json.dumps(other))
    return folder


def test_scans_of_every_kind_are_the_same_in_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    assert run("data", "shards", data, out, "--size", 0.001) == 0
    assert "26 samples" in capsys.readouterr().out and out.stat().st_mode & 0o077 == 0
    plain, sharded = open_data(data / "train.jsonl"), open_data(out / "train.jsonl")
    assert [s.id for s in plain.samples] == [s.id for s in sharded.samples]
    for before, after in zip(plain.samples, sharded.samples, strict=True):
        assert after.messages[-1] == before.messages[-1] and after.patient == before.patient
        assert sharded.load.exists(after.visuals[0])
        first, second = plain.load(before.visuals[0]), sharded.load(after.visuals[0])
        np.testing.assert_array_equal(first.array, second.array)
        assert (first.units, first.spacing_mm, first.axcodes) == (
            second.units,
            second.spacing_mm,
            second.axcodes,
        )
    assert run("data", "check", out) == 0
    with tarfile.open(sorted(out.glob("train-*.tar"))[0]) as tar:  # as other readers of WebDataset see it
        names = tar.getnames()
        line = tar.extractfile("000000.jsonl").read().decode().splitlines()[0]  # type: ignore[union-attr]
    assert json.loads(line)["messages"][0]["content"][0]["image"] in names
    shown = " ".join(str(path) for path in out.rglob("*"))
    assert "series" not in shown and "IM0001" not in shown


def test_what_shares_a_patient_lies_in_one_shard_and_never_in_two_splits(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    assert run("data", "shards", data, out, "--size", 0.001) == 0
    homes: dict[str, set[str]] = {}
    for one in open_data(out / "train.jsonl").samples:
        homes.setdefault(str(one.patient), set()).add(one.visuals[0].path.partition("!")[0])
    assert all(len(shards) == 1 for shards in homes.values()) and len(set.union(*homes.values())) > 5
    with (data / "validation.jsonl").open("a") as file:
        file.write("\n" + json.dumps(sample("again", "image", "v.png", patient="p3")))
    train, validation = (open_data(data / f"{name}.jsonl") for name in ("train", "validation"))
    splits = {"train": (train.samples, train.load), "validation": (validation.samples, validation.load)}
    with pytest.raises(UserError, match=r"patient: 1.*medmvl data split"):
        write_shards(splits, tmp_path / "divided", 1000)


def test_the_same_command_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, whole, killed = write_data(tmp_path / "data"), tmp_path / "whole", tmp_path / "killed"
    assert run("data", "shards", data, whole, "--size", 0.001) == 0
    packed, left = writing_shards._packed, 7

    def dying(path: Path) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return packed(path)

    monkeypatch.setattr(writing_shards, "_packed", dying)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["data", "shards", str(data), str(killed), "--size", "0.001"])
    there = {path: path.stat().st_mtime_ns for path in killed.glob("*.tar")}
    assert there and not (killed / "train.jsonl").exists()
    monkeypatch.setattr(writing_shards, "_packed", packed)
    assert run("data", "shards", data, killed, "--size", 0.001) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in there.items())
    files = sorted(path.name for path in whole.iterdir())
    assert files == sorted(path.name for path in killed.iterdir())
    for name in files:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda shard: shard.write_bytes(shard.read_bytes()[:-700]), "is cut off"),
        (lambda shard: shard.write_bytes(b"\1" * shard.stat().st_size), "is damaged"),
        (lambda shard: shard.unlink(), "cannot be read"),
        (lambda shard: index_of(shard).write_text("{"), "is damaged"),
    ],
)
def test_a_damaged_shard_names_itself(tmp_path: Path, harm: Any, told: str) -> None:
    data, out = write_data(tmp_path / "data", 3), tmp_path / "out"
    assert run("data", "shards", data, out) == 0
    harm(out / "train-00000.tar")
    source = open_data(out / "train.jsonl")
    with pytest.raises(ReadError, match=f"train-00000.*{told}"):
        source.load(source.samples[0].visuals[0])
    assert run("data", "check", out) == 2


def sharded(sizes: list[int], per_shard: int, weights: list[float] | None = None) -> Data:
    total = sum(sizes)
    lengths = np.random.default_rng(0).integers(5, 500, total)
    shards = [number // per_shard for number in range(total)]
    return Data(sizes, weights or [1.0] * len(sizes), list(lengths), [n // 3 for n in range(total)], shards)


@pytest.mark.parametrize("group", GROUPS)
def test_an_epoch_shows_all_and_stays_within_few_shards(group: Any) -> None:
    mixture, batch = sharded([6000], 100), 2
    orders = [epoch_order(mixture, seed=1, epoch=epoch, batch_size=batch, group=group) for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sorted(order) == list(range(6000))
        near = [len({mixture.shards[index] for index in order[at : at + 100]}) for at in range(0, 6000, 100)]
        assert max(near) <= 2 * SHARDS_TOGETHER
    if group == "length":
        pairs = np.array(mixture.lengths)[np.array(orders[0]).reshape(-1, batch)]
        assert np.abs(np.diff(pairs)).mean() < 20  # without groups: 165


def test_sources_are_mixed_each_by_its_weight() -> None:
    mixture = sharded([400, 100], 50, [1.0, 2.0])
    mixture.shards[400:] = [-1] * 100
    order = np.array(epoch_order(mixture, seed=0, epoch=0, batch_size=4, group="none"))
    assert len(order) == 600 and (order >= 400).sum() == 200
    halves = [(part >= 400).mean() for part in np.array_split(order, 2)]
    assert abs(halves[0] - halves[1]) < 0.15


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    assert run("data", "shards", data, out, "--size", 0.002) == 0
    document = recipe(stage(max_steps=6, save_steps=1), train=[{"path": str(out / "train.jsonl")}])
    del document["data"]["validation"]
    train(parse_recipe(document, "shards"), tmp_path / "whole")
    read, left = shards._read, 10

    def failing(shard: Path, member: shards.Member) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise ReadError(f"the shard {shard} cannot be read")
        return read(shard, member)

    monkeypatch.setattr(shards, "_read", failing)
    stopped = tmp_path / "stopped"
    with pytest.raises(UserError, match=r"train-\d+.tar cannot be read"):
        train(parse_recipe(document, "shards"), stopped)
    assert list(stopped.glob("stages/*/checkpoints/checkpoint-*"))
    monkeypatch.setattr(shards, "_read", read)
    train(parse_recipe(document, "shards"), stopped)
    assert losses(stopped) == losses(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_killed_with_its_readers_goes_on_exactly(tmp_path: Path) -> None:
    """SIGKILL of a training whose two worker processes read shards ahead of it, in the middle of an epoch."""
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    assert run("data", "shards", data, out, "--size", 0.002) == 0
    reading = stage(max_steps=9, save_steps=2, num_workers=2)
    document = recipe(reading, train=[{"path": str(out / "train.jsonl")}])
    del document["data"]["validation"]
    file = write_recipe(tmp_path / "recipe.yaml", document)
    train_with_a_kill(file, tmp_path, step=5)
    name = "stages/01-instruct/model/model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out"
    assert run("data", "shards", data, out, "--size", 0.002) == 0
    document = recipe(stage(max_steps=4), train=[{"path": str(out / "train.jsonl")}])
    del document["data"]["validation"]
    train(parse_recipe(document, "shards"), tmp_path / "one")
    file = write_recipe(tmp_path / "recipe.yaml", document)
    arguments = command(file, "--out", tmp_path / "two", processes=2)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
