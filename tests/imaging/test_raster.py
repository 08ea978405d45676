"""Images keep their depth, stand upright, and bombs are refused before they are decoded."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging import read
from tests.factories.imaging import numbered

GREY = numbered((8, 12), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp", "webp"])
def test_eight_bit_images(tmp_path, suffix):
    colour = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)
    Image.fromarray(colour).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    image = read(tmp_path / f"a.{suffix}")
    assert np.array_equal(image.array, colour)
    assert (image.kind, image.units, image.affine, image.source_format) == ("image", "display", None, suffix)


def test_jpeg_is_near(tmp_path):
    smooth = np.linspace(0, 255, 96).reshape(8, 12).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=98)
    image = read(tmp_path / "a.jpg")
    assert image.shape == (8, 12)
    assert np.abs(image.array.astype(int) - smooth).max() < 8


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_stays_sixteen_bit(tmp_path, suffix):
    deep = numbered((8, 12), np.uint16) * 600
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}")
    assert np.array_equal(image.array, deep)
    assert image.array.dtype == np.uint16
    assert image.units == "arbitrary"


def test_palette_cmyk_alpha_and_bits_become_plain(tmp_path):
    colour = Image.fromarray(np.stack([GREY, GREY, 255 - GREY], axis=-1))
    colour.quantize(16).save(tmp_path / "p.png")
    colour.convert("RGBA").save(tmp_path / "a.png")
    colour.convert("CMYK").save(tmp_path / "c.tiff")
    for name in ("p.png", "a.png", "c.tiff"):
        assert read(tmp_path / name).shape == (8, 12, 3)
    Image.fromarray(GREY > 40).save(tmp_path / "bits.png")
    assert np.array_equal(read(tmp_path / "bits.png").array, (GREY > 40) * 255)
    assert np.array_equal(read(tmp_path / "a.png").array, np.asarray(colour))


def test_the_camera_s_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path / "a.png").array, np.rot90(GREY, -1))


@pytest.mark.parametrize("suffix", ["tiff", "webp", "png"])
def test_pages_are_chosen(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    options = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:], **options)
    with pytest.raises(AmbiguousSourceError, match="#frame=2"):
        read(tmp_path / f"a.{suffix}")
    assert (read(f"{tmp_path}/a.{suffix}#frame=2").array == 200).all()
    with pytest.raises(ReadError, match="only 2"):
        read(f"{tmp_path}/a.{suffix}#frame=3")


def test_a_bomb_is_refused_before_decoding(tmp_path):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100000)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ReadError, match="before decoding"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "bmp", "webp"])
def test_a_cut_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError):
        read(path)


@pytest.mark.real_data
def test_real_x_rays(real_data):
    for name in ("00000001_000.png", "00027426_000.png"):
        image = read(real_data / "xray_png" / name)
        assert (image.kind, image.shape, image.units) == ("image", (512, 512), "display")
        assert np.array_equal(image.array, np.asarray(Image.open(real_data / "xray_png" / name).convert("L")))
