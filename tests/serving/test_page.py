"""The page's routes: a visitor's studies are that visitor's, what is shown is what was read, strangers' pages are refused."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmvl.engine import Engine
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.write import write_nifti
from medmvl.phantoms import make_patient, render_ct, write_dataset
from medmvl.serving.api import create_app
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.stored_image import plane_of
from medmvl.serving.views import corners_mm, pixels_nifti
from tests.factories.engine import tiny_engine
from tests.factories.server import running

KEY = "a-key-of-the-whole-ward"


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine: Engine = tiny_engine()
    return engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with running(create_app(engine, ServeSettings(page=True))) as address:
        yield address


@pytest.fixture
def visitor(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get("/").raise_for_status()
        yield client


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_dataset(folder, preset="tiny", patients=2, seed=0, format="dicom")
    return folder


@pytest.fixture(scope="module")
def series(scans: Path) -> list[Path]:
    """The folders of two patients' CTs."""
    return sorted({path.parent for path in scans.rglob("*.dcm") if len(list(path.parent.glob("*"))) > 3})[:2]


def zipped(files: dict[str, bytes]) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stored.getvalue()


def upload(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post("/page/studies", files={"file": ("upload", data)})


def taken(client: httpx.Client, data: bytes) -> dict[str, Any]:
    response = upload(client, data)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def as_nifti(content: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(content)


def test_every_series_of_an_upload_becomes_a_study_and_broken_files_are_named(
    visitor: httpx.Client, series: list[Path]
) -> None:
    files = {
        f"{folder.name}-{file.name}": file.read_bytes() for folder in series for file in folder.iterdir()
    }
    broken = dict(files)
    broken["broken"] = next(iter(files.values()))[:1200]
    found = taken(visitor, zipped(broken))
    shapes = [study["shape"] for study in found["studies"]]
    assert shapes == [list(read(folder).shape) for folder in series]
    assert len(found["bad"]) == 1 and "left out" in found["bad"][0] and "/" not in found["bad"][0]
    held = visitor.get("/page/studies").json()["studies"]
    assert [study["id"] for study in held] == [study["id"] for study in found["studies"]]


def test_files_without_dicom_are_taken_one_by_one(visitor: httpx.Client, tmp_path: Path) -> None:
    image = render_ct(make_patient(0, 0, "tiny"))
    write_nifti(image, tmp_path / "a.nii.gz")
    png = io.BytesIO()
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(png, format="PNG")
    found = taken(
        visitor,
        zipped({"a.nii.gz": (tmp_path / "a.nii.gz").read_bytes(), "b.png": png.getvalue(), "c.txt": b"no"}),
    )
    assert sorted(study["kind"] for study in found["studies"]) == ["image", "volume"]
    assert len(found["bad"]) == 1


@pytest.mark.parametrize("data", [b"", b"nothing that is an image", zipped({"note.txt": b"hello"})])
def test_what_holds_no_image_is_refused_in_words(visitor: httpx.Client, data: bytes) -> None:
    response = upload(visitor, data)
    assert response.status_code == 400
    assert "the upload" in response.json()["error"]["message"]


def test_what_is_shown_is_what_was_read(visitor: httpx.Client, series: list[Path]) -> None:
    image = read(series[0])
    study = taken(visitor, zipped({file.name: file.read_bytes() for file in series[0].iterdir()}))["studies"][
        0
    ]
    content = visitor.get(f"/page/studies/{study['id']}/pixels.nii").content
    shown = as_nifti(content)
    assert np.array_equal(np.asanyarray(shown.dataobj), image.array.transpose(2, 1, 0))
    assert image.affine is not None
    for voxel in ((0, 0, 0), (3, 2, 1)):
        there = shown.affine @ (*voxel[::-1], 1)
        assert np.allclose(there, image.affine @ (*voxel, 1), atol=1e-4)
    for tag in (b"PatientName", b"Phantom", b"PHANTOM"):
        assert tag not in content
    small = visitor.get(f"/page/studies/{study['id']}/thumbnail.png")
    assert max(Image.open(io.BytesIO(small.content)).size) <= 128
    about = visitor.get(f"/page/studies/{study['id']}/about").json()
    assert about["plane"] == "axial" and about["oriented"] and about["units"] == "HU"


def test_large_volumes_are_thinned_where_the_screen_is_small(visitor: httpx.Client) -> None:
    study = visitor.post("/page/example", json={"kind": "volume"}).json()["studies"][0]
    route = f"/page/studies/{study['id']}/pixels.nii"
    whole, thin = (
        as_nifti(visitor.get(route).content),
        as_nifti(visitor.get(f"{route}?max_voxels=8000").content),
    )
    assert np.prod(thin.shape) <= 8_000 < np.prod(whole.shape)
    assert np.array_equal(np.asanyarray(thin.dataobj)[1, 1, 1], np.asanyarray(whole.dataobj)[3, 3, 3])
    assert np.allclose(thin.affine @ (1, 1, 1, 1), whole.affine @ (3, 3, 3, 1), atol=1e-3)


@pytest.mark.parametrize("kind", ["volume", "image"])
def test_what_the_model_sees_lies_where_it_was_cut_out(
    visitor: httpx.Client, engine: Engine, kind: str
) -> None:
    study = visitor.post("/page/example", json={"kind": kind}).json()["studies"][0]
    seen = as_nifti(visitor.get(f"/page/studies/{study['id']}/seen.nii").content)
    whole = as_nifti(visitor.get(f"/page/studies/{study['id']}/pixels.nii").content)
    settings = engine.processor.volume_processor if kind == "volume" else engine.processor.image_processor
    assert settings is not None
    assert seen.shape[:3][::-1] == ((1,) if kind == "image" else ()) + tuple(settings.size)
    assert seen.get_data_dtype() == np.uint8 and np.asanyarray(seen.dataobj).max() > 100
    middle = lambda image: image.affine @ (*[(count - 1) / 2 for count in image.shape[:3]], 1)  # noqa: E731
    assert np.abs(middle(seen) - middle(whole)).max() < 1.5 * max(whole.header.get_zooms()[:3])


def test_boxes_of_an_answer_are_corners_in_the_body(visitor: httpx.Client) -> None:
    study = visitor.post("/page/example", json={"kind": "volume"}).json()["studies"][0]
    whole = as_nifti(visitor.get(f"/page/studies/{study['id']}/pixels.nii").content)
    answer = "at [0.25, 0.5, 0.75, 0.5, 0.75, 1.0]; in the image [0.1, 0.1, 0.2, 0.2]"
    boxes = visitor.post("/page/boxes", json={"text": answer, "study": study["id"]}).json()["boxes"]
    assert len(boxes) == 1
    width, height, depth = whole.shape
    first, last = (np.linalg.inv(whole.affine) @ (*corner, 1) for corner in boxes[0])
    assert np.allclose(first[:3], (width * 0.25, height * 0.5, depth * 0.75), atol=1e-3)
    assert np.allclose(last[:3], (width * 0.5 - 1, height * 0.75 - 1, depth - 1), atol=1e-3)


def test_images_are_laid_into_the_body_where_it_is_known() -> None:
    frontal = MedicalImage(
        array=np.zeros((4, 6), np.uint8), kind="image", units="display", source_format="png",
        axcodes=("I", "L"), spacing_mm=(2.0, 1.0),
    )  # fmt: skip
    shown = as_nifti(pixels_nifti(frontal, 2**20))
    assert nib.aff2axcodes(shown.affine)[:2] == ("L", "I") and shown.shape == (6, 4, 1)
    assert plane_of(frontal) == "coronal"
    assert corners_mm(frontal, (0.5, 0.0), (1.0, 0.5)) == [[0.0, 0.0, -4.0], [-2.0, 0.0, -6.0]]
    unknown = MedicalImage(
        array=np.full((4, 6, 3), (1, 2, 3), np.uint8), kind="image", units="display", source_format="png"
    )
    colours = as_nifti(pixels_nifti(unknown, 2**20))
    assert plane_of(unknown) == "axial" and tuple(np.asanyarray(colours.dataobj)[0, 0, 0]) == (1, 2, 3)


def test_visitors_see_nothing_of_one_another(address: str, visitor: httpx.Client) -> None:
    study = visitor.post("/page/example", json={"kind": "image"}).json()["studies"][0]["id"]
    question = {
        "model": "medmvl", "max_tokens": 2,
        "messages": [{"role": "user", "content": [
            {"type": "file", "file": {"file_id": study}}, {"type": "text", "text": "Is the heart enlarged?"},
        ]}],
    }  # fmt: skip
    assert visitor.post("/v1/chat/completions", json=question).status_code == 200
    with httpx.Client(base_url=address) as other:
        assert other.get("/page/studies").status_code == 403  # no cookie yet
        other.get("/")
        assert other.cookies["medmvl_visitor"] != visitor.cookies["medmvl_visitor"]
        assert other.get("/page/studies").json() == {"studies": []}
        for route in ("pixels.nii", "seen.nii", "thumbnail.png", "about"):
            assert other.get(f"/page/studies/{study}/{route}").status_code == 404
        assert other.delete(f"/page/studies/{study}").status_code == 404
        assert other.post("/page/boxes", json={"text": "", "study": study}).status_code == 404
        assert other.post("/v1/chat/completions", json=question).status_code == 404
    assert visitor.delete(f"/page/studies/{study}").status_code == 200
    assert visitor.get(f"/page/studies/{study}/about").status_code == 404


def test_one_key_shared_by_visitors_holds_no_more_than_one_key_may(engine: Engine) -> None:
    limits = Limits(bytes_per_key=1000)
    with running(create_app(engine, ServeSettings(page=True, keys=(KEY,), limits=limits))) as address:
        assert httpx.get(f"{address}/").status_code == 200
        files = httpx.get(f"{address}/page/static/page.css")
        assert files.status_code == 200 and files.headers["cache-control"] == "no-cache"
        assert httpx.get(f"{address}/page/about").status_code == 401
        answers = []
        for _ in range(2):
            with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {KEY}"}) as client:
                client.get("/")
                answers.append(client.post("/page/example", json={"kind": "image"}).status_code)
    assert answers == [200, 429]


def test_pages_of_other_addresses_may_not_ask(address: str, visitor: httpx.Client) -> None:
    foreign = {"Origin": "http://evil.example"}
    assert visitor.post("/page/example", json={"kind": "image"}, headers=foreign).status_code == 403
    assert visitor.get("/v1/models", headers=foreign).status_code == 403
    assert visitor.get("/v1/models", headers={"Origin": address}).status_code == 200


def test_the_page_runs_its_own_scripts_alone_and_its_cookie_is_out_of_their_reach(address: str) -> None:
    response = httpx.get(f"{address}/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "http" not in policy
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert "http://" not in response.text and "https://" not in response.text


def test_a_server_without_the_page_has_none(engine: Engine) -> None:
    with running(create_app(engine, ServeSettings())) as address:
        assert httpx.get(f"{address}/").status_code == 404
        assert httpx.get(f"{address}/page/about").status_code == 404
