"""Who may ask, and what becomes of an upload: no identity on disk, gone when its time is over."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.serving.intake import read_one
from medmvl.serving.settings import Limits, ServeSettings, owner_of
from medmvl.serving.store import NotFoundError, QuotaError, Study, StudyStore
from medmvl.serving.stored_image import load_image, save_image


def received(store: StudyStore, data: bytes) -> Path:
    path = store.incoming() / "upload"
    path.write_bytes(data)
    return path


def take(store: StudyStore, data: bytes) -> Study:
    path = received(store, data)
    try:
        return store.adopt("me", read_one(path, "", store.limits))
    finally:
        store.discard(path.parent)


def scan() -> bytes:
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


def test_others_need_a_key() -> None:
    ServeSettings().check()
    with pytest.raises(UserError, match="give a key"):
        ServeSettings(host="0.0.0.0").check()
    with pytest.raises(UserError, match="fewer than 16"):
        ServeSettings(keys=("short",)).check()
    keys = ("k" * 16, "l" * 16)
    assert owner_of(f"Bearer {keys[0]}", keys) != owner_of(f"Bearer {keys[1]}", keys)
    assert (
        owner_of("Bearer x", keys) is None and owner_of(None, keys) is None and owner_of(None, ()) == "local"
    )


def test_an_upload_keeps_pixels_and_geometry_but_no_identity(tmp_path: Path) -> None:
    store = StudyStore(Limits(), tmp_path)
    study = take(store, scan())
    assert store.folder.stat().st_mode & 0o777 == 0o700
    header = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    stored = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    for secret in (str(header.PatientName), str(header.PatientID), str(header.StudyInstanceUID)):
        assert secret and secret.encode() not in stored and secret not in str(study)
    assert [path.name for path in store.folder.iterdir()] == [f"{study.id}.npz"]
    assert store.load("me", study.id).units == "HU"
    with pytest.raises(NotFoundError):
        store.load("you", study.id)
    store.close()
    assert not store.folder.exists()


def test_images_survive_the_store_whole(tmp_path: Path) -> None:
    image = MedicalImage(
        array=np.arange(24, dtype=np.int16).reshape(2, 3, 4), kind="volume", units="HU", source_format="dicom",
        affine=np.eye(4), axcodes=("S", "P", "L"), acquired_axcodes=("R", "S", "P"), spacing_mm=(1.0, 2.0, 3.0),
        modality="CT", slice_positions_mm=(0.0, 1.5), warnings=("gaps are uneven",),
    )  # fmt: skip
    save_image(image, tmp_path / "x.npz")
    found = load_image(tmp_path / "x.npz")
    assert np.array_equal(found.array, image.array) and np.array_equal(found.affine, image.affine)
    for field in dataclasses.fields(image):
        if field.name not in ("array", "affine"):
            assert getattr(found, field.name) == getattr(image, field.name)


def test_uploads_expire_and_are_counted(tmp_path: Path) -> None:
    store = StudyStore(Limits(file_seconds=0.3, files_per_key=1), tmp_path)
    study = take(store, scan())
    with pytest.raises(QuotaError):
        take(store, scan())
    time.sleep(0.4)
    with pytest.raises(NotFoundError):
        store.get("me", study.id)
    assert list(store.folder.iterdir()) == []


def test_errors_of_reading_name_no_path(tmp_path: Path) -> None:
    store = StudyStore(Limits(voxels=10), tmp_path)
    with pytest.raises(UserError, match="at most 10"):
        take(store, scan())
    for junk in (b"", b"junk" * 10, scan()[:2000]):
        with pytest.raises(UserError) as error:
            take(StudyStore(Limits(), tmp_path), junk)
        assert str(tmp_path) not in str(error.value) and "the upload" in str(error.value)
