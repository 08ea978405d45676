"""The data set: what it yields, what it knows without pixels, what it refuses, and what it keeps in memory."""

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from medmvl.data.dataset import SampleDataset
from medmvl.data.prepared import PreparedCache
from medmvl.data.sources import DataSource, LoadedSource, load_source
from medmvl.errors import SampleError, UserError
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import write_samples
from tests.factories.data import dataset, image_file, processor, sample


@pytest.fixture(scope="module")
def tiny() -> MedMVLProcessor:
    return processor()


@pytest.fixture
def source(tmp_path: Path) -> LoadedSource:
    dataset(tmp_path)
    return load(tmp_path)


def load(folder: Path, **more: Any) -> LoadedSource:
    return load_source(DataSource.model_validate({"path": "train.jsonl", **more}), folder, folder)


def test_every_sample_has_the_length_that_was_promised(source: LoadedSource, tiny: MedMVLProcessor) -> None:
    data = SampleDataset([source], tiny)
    assert [len(data[index].input_ids) for index in range(len(data))] == data.lengths
    batch = tiny.collate([data[0], data[1], data[len(data) - 2], data[len(data) - 1]])
    assert len(batch["pixel_values"]) == 1  # two questions, one image
    assert len(batch["pixel_values_volumes"]) == 1


def test_sources_follow_one_another(source: LoadedSource, tiny: MedMVLProcessor, tmp_path: Path) -> None:
    data = SampleDataset([source, load(tmp_path, languages=["zh"], weight=2)], tiny)
    assert data.sizes == [14, 2]
    assert data.weights == [1, 2]
    assert [data.sample(index).id for index in (0, 13, 14, -1)] == ["s0", "s991", "s990", "s991"]
    with pytest.raises(IndexError):
        data[16]


def test_study_keys_are_equal_where_the_files_are(source: LoadedSource, tiny: MedMVLProcessor) -> None:
    keys = SampleDataset([source, source], tiny).study_keys
    assert len(set(keys[0:3])) == 1
    assert keys[0] != keys[3]
    assert keys[:13] == keys[14:27]
    assert keys[13] != keys[27]  # text alone has nothing to share


def test_a_missing_or_broken_file_names_the_sample(
    source: LoadedSource, tiny: MedMVLProcessor, tmp_path: Path
) -> None:
    (tmp_path / "images" / "0.png").unlink()
    (tmp_path / "images" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    data = SampleDataset([source], tiny)
    for index, name in ((0, "s0"), (3, "s10")):
        with pytest.raises(SampleError, match=f"train.jsonl: sample '{name}'"):
            data[index]


def test_a_sample_without_an_answer_is_an_error_only_in_training(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    write_samples(tmp_path / "train.jsonl", [sample(0, answer=None), sample(1, answer="  ")])
    data = SampleDataset([load(tmp_path)], tiny)
    for index in (0, 1):
        with pytest.raises(SampleError, match=f"sample 's{index}': no assistant turn"):
            data[index]
    asked = SampleDataset([load(tmp_path)], tiny, supervised=False)[0]
    assert asked.labels is None


def test_too_long_is_an_error_or_is_counted_and_listed(
    tmp_path: Path, tiny: MedMVLProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [sample(number, answer="Yes. " * (1 + 20 * (number % 2))) for number in range(4)]
    write_samples(tmp_path / "train.jsonl", samples)
    source = load(tmp_path)
    short = min(SampleDataset([source], tiny).lengths)
    with pytest.raises(SampleError, match=f"sample 's1'.*more than max_length {short + 5}"):
        SampleDataset([source], tiny, max_length=short + 5)[1]
    with caplog.at_level(logging.WARNING):
        data = SampleDataset([source], tiny, max_length=short + 5, drop_too_long=True)
    assert (len(data), data.sizes, len(data.lengths), len(data.study_keys)) == (2, [2], 2, 2)
    assert [data.sample(index).id for index in range(2)] == ["s0", "s2"]
    assert len(data.dropped) == 2
    assert "left out 2 of 4" in caplog.text
    assert "s3" in caplog.text
    with pytest.raises(UserError, match="needs a max_length"):
        SampleDataset([source], tiny, drop_too_long=True)


def test_worker_processes_yield_the_same(source: LoadedSource, tiny: MedMVLProcessor) -> None:
    data = SampleDataset([source], tiny)
    copy: SampleDataset = pickle.loads(pickle.dumps(data))
    for index in (0, 12):
        assert torch.equal(copy[index].visuals[0].pixels, data[index].visuals[0].pixels)
        assert torch.equal(copy[index].labels, data[index].labels)


def test_memory_keeps_the_last_scans_within_its_limit(
    source: LoadedSource, tiny: MedMVLProcessor, tmp_path: Path
) -> None:
    data = SampleDataset([source], tiny)
    first = data[0].visuals[0].pixels
    image_file(tmp_path / "images" / "0.png", seed=99)
    assert data[1].visuals[0].pixels is first  # no second look at the file
    small = SampleDataset([source], tiny, memory_bytes=first.nbytes)
    small[0], small[3]
    assert small._cache.num_bytes == first.nbytes
    assert not torch.equal(small[0].visuals[0].pixels, first)


def test_prepared_pixels_equal_fresh_ones(
    source: LoadedSource, tiny: MedMVLProcessor, tmp_path: Path
) -> None:
    fresh = SampleDataset([source], tiny)
    prepared = PreparedCache(tmp_path / "cache")
    for _ in range(2):
        data = SampleDataset([source], tiny, memory_bytes=0, prepared=prepared)
        for index in (0, 12):
            for mine, other in zip(data[index].visuals, fresh[index].visuals, strict=True):
                assert torch.equal(mine.pixels, other.pixels)
                assert (mine.matrix == other.matrix).all()
                assert (mine.grid, mine.notes, mine.source) == (other.grid, other.notes, other.source)
    assert len(prepared.entries()) == 2
