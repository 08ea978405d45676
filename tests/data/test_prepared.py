"""The cache of processed pixels: private, limited, and never an answer to another question."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmvl.data.prepared import PIXELS_VERSION, PreparedCache, cache_key, default_cache_dir, settings_digest
from medmvl.datasets.loader import BlockLoader
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import ImageBlock, VolumeBlock
from tests.factories import dicom
from tests.factories.data import VOLUME_BLOCK, image_file, processor, volume
from tests.factories.imaging import nifti_file


@pytest.fixture(scope="module")
def tiny() -> MedMVLProcessor:
    return processor()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_reads_it(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    image_file(tmp_path / "Smith_John.png")
    cache = PreparedCache(tmp_path / "cache")
    cache.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="Smith_John.png"))
    (entry,) = cache.entries()
    assert mode(cache.folder) == 0o700
    assert mode(entry) == 0o600
    assert "Smith" not in entry.name
    assert b"Smith" not in entry.read_bytes()


def test_the_key_follows_file_declaration_and_settings(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    load = BlockLoader(tmp_path)
    settings = settings_digest(tiny)
    file = volume(tmp_path / "v.npy")
    block = VolumeBlock.model_validate({**VOLUME_BLOCK, "volume": "v.npy"})
    first = cache_key(load, block, settings)
    assert cache_key(load, block, settings) == first
    other = settings_digest(processor(volume_processor={"size": [8, 16, 16], "windows": ["lung"]}))
    assert cache_key(load, block, other) != first
    assert cache_key(load, block.model_copy(update={"units": "arbitrary"}), settings) != first
    assert cache_key(load, block.model_copy(update={"volume": "v.npy#time=1"}), settings) != first
    os.utime(file, ns=(1, 1))
    assert cache_key(load, block, settings) != first


def test_scans_of_equal_size_and_time_that_change_names_are_noticed(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    """As where two patients' files were mixed up, came out of one archive, and are put right."""
    load = PreparedCache(tmp_path / "cache").wrap(BlockLoader(tmp_path), tiny)
    blocks = [ImageBlock(image=f"{name}.png") for name in "ab"]
    for seed, name in enumerate("ab"):
        image_file(tmp_path / f"{name}.png", seed=seed)
        content = (tmp_path / f"{name}.png").read_bytes()
        (tmp_path / f"{name}.png").write_bytes(content.ljust(4096, b"\0"))
        os.utime(tmp_path / f"{name}.png", ns=(10**18, 10**18))
    before = [load(block).pixels for block in blocks]
    assert not torch.equal(*before)
    wait_for_another_time(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    (tmp_path / "b.png").rename(tmp_path / "a.png")
    (tmp_path / "c.png").rename(tmp_path / "b.png")
    assert torch.equal(load(blocks[0]).pixels, before[1])
    assert torch.equal(load(blocks[1]).pixels, before[0])


def wait_for_another_time(file: Path) -> None:
    """Until the clock that files are dated by has gone on since `file` was."""
    probe = file.with_name("probe")
    probe.touch()
    while probe.stat().st_ctime_ns == file.stat().st_ctime_ns:
        probe.chmod(0o600)


def test_a_changed_file_is_read_anew_and_a_damaged_entry_is_replaced(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    load = PreparedCache(tmp_path / "cache").wrap(BlockLoader(tmp_path), tiny)
    block = ImageBlock(image="a.png")
    image_file(tmp_path / "a.png", seed=0)
    first = load(block).pixels
    (entry,) = PreparedCache(tmp_path / "cache").entries()
    entry.write_bytes(entry.read_bytes()[:100])
    assert torch.equal(load(block).pixels, first)
    image_file(tmp_path / "a.png", seed=1)
    assert not torch.equal(load(block).pixels, first)


def test_the_least_recently_used_go_first(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    unlimited = PreparedCache(tmp_path / "cache")
    load = unlimited.wrap(BlockLoader(tmp_path), tiny)
    for number in range(3):
        image_file(tmp_path / f"{number}.png", number)
        load(ImageBlock(image=f"{number}.png"))
    for entry, moment in zip(unlimited.entries(), (10, 20, 30), strict=True):
        os.utime(entry, (moment, moment))
    oldest = unlimited.entries()[0]
    limited = PreparedCache(tmp_path / "cache", limit=unlimited.num_bytes())
    image_file(tmp_path / "new.png", 9)
    limited.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="new.png"))
    assert limited.num_bytes() <= limited.limit
    assert oldest not in limited.entries()
    assert len(limited.entries()) == 3


def test_clear_and_place(tmp_path: Path, tiny: MedMVLProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "mine"))
    cache = PreparedCache(default_cache_dir())
    image_file(tmp_path / "a.png")
    cache.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="a.png"))
    assert cache.clear() == 1
    assert cache.entries() == []


def test_models_with_other_connectors_share_pixels_and_count_their_own_tokens(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    other = processor(image_connector={"type": "spatial_pooling", "factors": [1, 2, 2]})
    image_file(tmp_path / "a.png")
    block = ImageBlock(image="a.png")
    cache = PreparedCache(tmp_path / "cache")
    first = cache.wrap(BlockLoader(tmp_path), tiny)(block)
    second = cache.wrap(BlockLoader(tmp_path), other)(block)
    assert len(cache.entries()) == 1
    assert torch.equal(first.pixels, second.pixels)
    assert (
        second.num_tokens
        == other.process_visual(BlockLoader(tmp_path)(block)).num_tokens
        == first.num_tokens // 4
    )


def test_many_writes_count_the_folder_once(
    tmp_path: Path, tiny: MedMVLProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PreparedCache(tmp_path / "cache")
    counted: list[int] = []
    count = cache.num_bytes
    monkeypatch.setattr(cache, "num_bytes", lambda: counted.append(1) or count())
    load = cache.wrap(BlockLoader(tmp_path), tiny)
    for number in range(20):
        image_file(tmp_path / f"{number}.png", number)
        load(ImageBlock(image=f"{number}.png"))
    assert len(counted) == 1 and cache._total == count()


VALUES: dict[str, tuple[float, ...]] = {
    "a.png": (-0.2626, 0.2358, -0.4571, -0.0204, -0.2883, -0.2006, -0.4196, 0.0045, -0.621),
    "b.dcm": (-0.0, 0.5853, 0.7748, 0.5184, 0.2667, 0.0144, -0.2407, -0.4921, -0.7461),
    "c.nii.gz": (-0.5842, 0.381, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0),
    "d": (-0.2892, 0.3586, -0.5919, -0.2369, 0.1455, -0.3159, -0.5897, -0.2074, -0.1062),
    "e.npy": (-0.2847, 0.1856, -0.2679, 0.0871, -0.1492, -0.0481, -0.0595, -0.1834, 0.0303),
}
"""Mean, deviation and seven values of what `PIXELS_VERSION` makes of each of `files_to_prepare`, to four digits."""


def files_to_prepare(folder: Path) -> list[ImageBlock | VolumeBlock]:
    """One file of each way to become pixels: colour, inverted grey, oblique slices, a series, a bare array."""
    ramp = np.arange(7 * 19 * 23).reshape(7, 19, 23)
    Image.fromarray(np.stack([ramp[0] % 251, ramp[1] % 199, ramp[2] % 83], axis=-1).astype(np.uint8)).save(
        folder / "a.png"
    )
    inverted = dicom.dataset((ramp[0] * 9).astype(np.uint16), "DX", PhotometricInterpretation="MONOCHROME1")
    dicom.save(inverted, folder / "b.dcm")
    affine = np.array([[-0.9, 0.1, 0.2, 3.0], [0.1, -0.8, 0.1, 5.0], [0.2, 0.1, 2.5, -7.0], [0, 0, 0, 1]])
    nifti_file(folder / "c.nii.gz", (ramp.T % 1400 - 1000).astype(np.int16), affine)
    for number, pixels in enumerate(ramp):
        tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelSpacing": [0.7, 0.8], "SliceThickness": 3}
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 3.0 * number]}
        one = dicom.dataset((pixels % 1500).astype(np.uint16), **tags, **place, InstanceNumber=number + 1)
        dicom.save(one, folder / "d" / f"{number}.dcm")
    np.save(folder / "e.npy", (ramp % 900 - 700).astype(np.int16))
    return [
        ImageBlock(image="a.png"), ImageBlock(image="b.dcm"), VolumeBlock(volume="c.nii.gz", units="HU"),
        VolumeBlock(volume="d"), VolumeBlock.model_validate({**VOLUME_BLOCK, "volume": "e.npy"}),
    ]  # fmt: skip


def values_of(pixels: torch.Tensor) -> list[float]:
    flat = pixels.double().flatten()
    places = torch.linspace(0, len(flat) - 1, 9)[1:-1].long()
    return [round(float(value), 4) for value in (flat.mean(), flat.std(), *flat[places])]


def test_other_pixels_need_another_version(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    """Where this fails on purpose: raise `PIXELS_VERSION` and put the new values here; prepared scans are then made again."""
    load = BlockLoader(tmp_path)
    found = {
        block.path: values_of(tiny.process_visual(load(block)).pixels) for block in files_to_prepare(tmp_path)
    }
    assert PIXELS_VERSION == 2
    assert found == {name: pytest.approx(values, abs=2e-3) for name, values in VALUES.items()}


def test_the_key_follows_the_version_and_no_source_text(
    tmp_path: Path, tiny: MedMVLProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_file(tmp_path / "a.png")
    ask = (BlockLoader(tmp_path), ImageBlock(image="a.png"), settings_digest(tiny))
    opened: list[str] = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **more: opened.append(self.name) or real(self, *args, **more)
    )
    first = cache_key(*ask)
    assert set(opened) <= {"a.png"}
    monkeypatch.setattr("medmvl.data.prepared.PIXELS_VERSION", 3)
    assert cache_key(*ask) != first
