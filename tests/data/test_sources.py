"""Sources: where paths start, what filters keep, what a digest stands for, and phantoms made once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from medmvl.data.sources import DataSource, LoadedSource, load_source
from medmvl.errors import ReadError, SampleError
from medmvl.schema import ImageBlock, VolumeBlock
from tests.factories.data import dataset, image_file, llava_record, volume, write_json_file


def load(folder: Path, **fields: Any) -> LoadedSource:
    return load_source(DataSource.model_validate(fields), folder, folder / "cache")


def test_paths_start_from_the_data_file(tmp_path: Path) -> None:
    dataset(tmp_path / "d")
    source = load(tmp_path, path="d/train.jsonl")
    shapes = {source.load(block).kind for one in source.samples for block in one.visuals}
    assert shapes == {"image", "volume"}


def test_roots_absolute_paths_and_selectors(tmp_path: Path) -> None:
    write_json_file(tmp_path / "d.json", [llava_record()])
    image_file(tmp_path / "images" / "a.png")
    source = load(tmp_path, path="d.json", image_root="images", volume_root="volumes")
    assert source.load(source.samples[0].visuals[0]).shape == (20, 24)  # type: ignore[arg-type]
    absolute = str(tmp_path / "elsewhere.png")
    assert source.load.reference(ImageBlock(image=absolute)) == absolute
    found = source.load.reference(VolumeBlock(volume="ct#series=2"))
    assert found == str(tmp_path / "volumes" / "ct#series=2")
    (tmp_path / "volumes" / "ct").mkdir(parents=True)
    assert source.load.exists(VolumeBlock(volume="ct#series=2"))
    assert not source.load.exists(VolumeBlock(volume="mr#series=2"))


def test_a_source_declares_what_files_do_not_say_and_a_block_knows_better(tmp_path: Path) -> None:
    write_json_file(tmp_path / "d.json", [llava_record()])
    volume(tmp_path / "v.npy")
    source = load(tmp_path, path="d.json", volumes={"units": "HU", "modality": "CT"})
    assert source.load(VolumeBlock(volume="v.npy")).units == "HU"
    assert source.load(VolumeBlock(volume="v.npy", units="BQML")).units == "BQML"
    assert load(tmp_path, path="d.json").load(VolumeBlock(volume="v.npy")).units == "arbitrary"


def test_a_volume_is_not_taken_for_an_image(tmp_path: Path) -> None:
    write_json_file(tmp_path / "d.json", [llava_record()])
    volume(tmp_path / "v.npy")
    image_file(tmp_path / "a.png")
    source = load(tmp_path, path="d.json")
    with pytest.raises(ReadError, match="asked for as an image, but it holds a volume"):
        source.load(ImageBlock(image="v.npy"))
    with pytest.raises(ReadError, match="asked for as a volume, but it holds an image"):
        source.load(VolumeBlock(volume="a.png"))


def test_filters_and_limit(tmp_path: Path) -> None:
    dataset(tmp_path, patients=2, questions=3)
    assert len(load(tmp_path, path="train.jsonl").samples) == 8
    zh = load(tmp_path, path="train.jsonl", languages=["zh"])
    assert [one.id for one in zh.samples] == ["s990", "s991"]
    question_types = load(tmp_path, path="train.jsonl", question_types=["effusion"], limit=4)
    assert [one.id for one in question_types.samples] == ["s0", "s1", "s2", "s10"]
    assert [one.id for one in load(tmp_path, path="train.jsonl", limit=1).samples] == ["s0"]
    with pytest.raises(SampleError, match=r"none of its 8 samples has question_types \['nodule'\]"):
        load(tmp_path, path="train.jsonl", question_types=["nodule"])


def test_a_source_may_leave_out_what_there_is_to_see(tmp_path: Path) -> None:
    dataset(tmp_path)
    seeing, unseen = (
        load(tmp_path, path="train.jsonl"),
        load(tmp_path, path="train.jsonl", no_image=True),
    )
    assert any(sample.visuals for sample in seeing.samples)
    assert list(unseen.samples) == [sample.to_no_image() for sample in seeing.samples]
    assert unseen.samples[0:2] == [unseen.samples[0], unseen.samples[1]]
    assert unseen.digest != seeing.digest


def test_digests_tell_data_apart(tmp_path: Path) -> None:
    path = dataset(tmp_path)
    first = load(tmp_path, path="train.jsonl").digest
    assert load(tmp_path, path="train.jsonl", weight=3).digest == first
    assert load(tmp_path, path="train.jsonl", limit=2).digest != first
    path.write_text(path.read_text().replace("Yes.", "No."))
    assert load(tmp_path, path="train.jsonl").digest != first


def test_a_source_has_one_origin_and_a_sound_weight() -> None:
    for fields in (
        {},
        {"path": "a", "phantoms": {"patients": 1}},
        {"path": "a", "weight": 0},
        {"path": "a", "x": 1},
    ):
        with pytest.raises(ValidationError):
            DataSource.model_validate(fields)


def test_phantoms_are_made_once_and_splits_share_no_patient(tmp_path: Path) -> None:
    fields = {"preset": "tiny", "patients": 10}
    train = load(tmp_path, phantoms=fields)
    made = sorted(file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.np*"))
    test = load(tmp_path, phantoms={**fields, "split": "test"})
    assert made == sorted(file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.np*"))
    assert not {one.patient for one in train.samples} & {one.patient for one in test.samples}
    block = next(block for one in test.samples for block in one.visuals if isinstance(block, VolumeBlock))
    image = test.load(block)
    assert image.units == "HU"
    assert np.ptp(image.array) > 500


def test_a_sample_of_an_older_version_is_told_the_new_name_of_its_key(tmp_path: Path) -> None:
    dataset(tmp_path)
    file = tmp_path / "train.jsonl"
    file.write_text(file.read_text().replace('"question_type"', '"kind"'))
    with pytest.raises(SampleError, match=r"target\.kind: this key is called 'question_type' now"):
        load(tmp_path, path="train.jsonl").samples[0]
