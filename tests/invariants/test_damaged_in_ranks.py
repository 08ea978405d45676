"""A damaged compressed file ends a training of several processes with one message, which names sample and file."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.factories import dicom as make
from tests.factories.ranks import train_in_ranks
from tests.factories.training import recipe, stage, write_recipe

SAMPLES = 8
PLACES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "first rank": ((0,), {}),
    "a process that reads for the second": ((6,), {"num_workers": 1}),
    "both": (tuple(range(SAMPLES)), {}),
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series in JPEG 2000; of `damaged`, one slice lost the middle of its stream."""
    folder = tmp_path_factory.mktemp("scans")
    for name in ("whole", "damaged"):
        make.ct_series(folder / name, make.stored_volume(8, 32, 32), BitsStored=16)
        for path in (folder / name).iterdir():
            slice_ = pydicom.dcmread(path)
            slice_.compress(pydicom.uid.JPEG2000Lossless, generate_instance_uid=False)
            slice_.save_as(path)
    one = sorted((folder / "damaged").iterdir())[3]
    content = bytearray(one.read_bytes())
    stream = content.rindex(b"\xff\x4f\xff\x51")
    content[stream + 60 : stream + 200] = bytes(140)
    one.write_bytes(content)
    return folder


def write_data(scans: Path, damaged: tuple[int, ...]) -> Path:
    lines = []
    for number in range(SAMPLES):
        asked = [
            {"type": "volume", "volume": "damaged" if number in damaged else "whole"},
            {"type": "text", "text": f"Is it {number}?"},
        ]
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": "Yes."}]
        lines.append(json.dumps({"id": str(number), "messages": messages}))
    path = scans / "train.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "holds_store"), [*((place, True) for place in PLACES), ("first rank", False)]
)
def test_one_rank_tells_it_and_all_end(
    tmp_path: Path, scans: Path, place: str, holds_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    notes = Path(tempfile.mkdtemp(dir="/tmp"))  # sockets lie in it, and their paths must be short
    monkeypatch.setattr(tempfile, "tempdir", str(notes))
    damaged, settings = PLACES[place]
    document = recipe(stage(max_steps=2, **settings))
    document["data"] = {"train": [{"path": str(write_data(scans, damaged))}]}
    file = write_recipe(tmp_path / "recipe.yaml", document)
    codes = train_in_ranks([file, "--out", tmp_path / "run"], 2, tmp_path / "logs", holds_store=holds_store)
    assert codes == [2, 2]
    said = "".join((tmp_path / "logs" / str(rank)).read_text() for rank in range(2))
    assert said.count("Error: ") == 1 and "Traceback" not in said, said
    (message,) = [line for line in said.replace("\r", "\n").splitlines() if "Error: " in line]
    assert f"sample '{damaged[0]}'" in message or len(damaged) > 1
    assert str(scans / "damaged") in message and "IM0004" in message
    assert not (tmp_path / "run" / ".lock").exists()
    assert not list(notes.glob("medmvl-ended-*"))
    shutil.rmtree(notes)


@pytest.mark.slow
def test_one_process_tells_what_its_readers_met_in_their_words(
    tmp_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    said = []
    for workers in (0, 2):
        document = recipe(stage(max_steps=2, num_workers=workers))
        document["data"] = {"train": [{"path": str(write_data(scans, (3,)))}]}
        file = write_recipe(tmp_path / f"{workers}.yaml", document)
        run = [file, "--out", tmp_path / f"run{workers}"]
        assert train_in_ranks(run, 1, tmp_path / "logs") == [2]
        said.append((tmp_path / "logs" / "0").read_text().rpartition("Error: ")[2])
    assert said[0] == said[1] and "sample '3'" in said[0]
