"""What headers say about length, sides, depth and files is converted, warned about, or refused by its name."""

import gzip
import io
import struct
import warnings
import zipfile
from contextlib import suppress

import imagecodecs
import nibabel as nib
import nrrd
import numpy as np
import pytest
import tifffile
from PIL import Image

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging import read
from medmvl.imaging.limits import at_most
from medmvl.imaging.unzipping import ArchiveLimits
from tests.factories import truth
from tests.factories.dicom import ct_series, stored_volume
from tests.factories.imaging import numbered


def nifti(path, sform=None, qform=None, codes=(1, 1), array=None):
    image = nib.Nifti1Image(numbered((3, 4, 5)) if array is None else array, np.eye(4))
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    nib.save(image, path)
    return path


STEPS = np.diag([0.7, 0.8, 5.0, 1.0])


@pytest.mark.parametrize(
    ("qform", "codes", "said"),
    [
        (np.diag([-0.7, 0.8, 5.0, 1.0]), (1, 1), "sides"),
        (np.diag([-0.7, 0.8, 5.0, 1.0]), (4, 1), "sides"),
        (np.diag([0.7, 0.8, 2.5, 1.0]), (2, 1), "size"),
        (np.diag([1.0, 1.0, 1.0, 1.0]) @ truth.affine(20)[:, [2, 1, 0, 3]], (1, 1), "disagree"),
        (STEPS + np.eye(4)[:, [3, 1, 2, 0]] * np.array([[0, 0, 0, 40.0]]), (1, 1), "place"),
        (STEPS, (1, 1), None),
        (truth.affine(4)[:, [2, 1, 0, 3]] * [-1, -1, 1, 1], (4, 1), None),
    ],
)
def test_sform_and_qform_that_disagree_are_told(tmp_path, qform, codes, said):
    image = read(nifti(tmp_path / "a.nii", STEPS, qform, codes))
    told = [warning for warning in image.warnings if "disagree" in warning]
    assert (said is not None) == bool(told)
    assert said is None or (said in told[0] and "the sform was taken" in told[0])
    assert image.spacing_mm == pytest.approx((5.0, 0.8, 0.7))


def test_sform_alone_is_held_against_pixdim(tmp_path):
    nifti(tmp_path / "a.nii", STEPS, None, (1, 0))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3f", data, 80, 1.0, 1.0, 1.0)
    (tmp_path / "a.nii").write_bytes(data)
    image = read(tmp_path / "a.nii")
    assert any("pixdim says 1 x 1 x 1" in warning for warning in image.warnings)
    nifti(tmp_path / "b.nii", STEPS, STEPS, (0, 0))
    image = read(tmp_path / "b.nii")
    assert image.affine is None
    assert any("code 0" in warning for warning in image.warnings)


@pytest.mark.parametrize("codes", truth.orders()[::5])
def test_a_colour_slice_lies_as_the_grey_one(tmp_path, codes):
    """One voxel is marked: the colour slice shows it where the grey one has it, in every order of the file."""
    held = truth.stored(codes, "u1")
    one = np.zeros((*held.array.shape[:2], 1), np.uint8)
    one[0, 1, 0] = 200
    colour = np.zeros(one.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"] = one
    nib.save(nib.Nifti1Image(colour, held.affine), tmp_path / "colour.nii")
    nib.save(nib.Nifti1Image(one, held.affine), tmp_path / "grey.nii")
    shown, grey = read(tmp_path / "colour.nii"), read(tmp_path / "grey.nii")
    row, column = np.argwhere(shown.array[..., 1])[0]
    place = shown.affine @ [0, row, column, 1]
    assert np.allclose(place, grey.affine @ [*np.argwhere(grey.array)[0], 1])
    assert shown.axcodes in (("P", "L"), ("I", "L"), ("I", "P"))


def test_colour_volumes_are_chosen_from_slice_by_slice(tmp_path):
    colour = np.zeros((6, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"][0, 0, 2] = 255
    nib.save(nib.Nifti1Image(colour, np.diag([1.0, 1, 4, 1])), tmp_path / "a.nii")
    with pytest.raises(AmbiguousSourceError, match="#frame=3"):
        read(tmp_path / "a.nii")
    third = read(f"{tmp_path}/a.nii#frame=3")
    assert (third.shape, third.axcodes) == ((5, 6, 3), ("P", "L"))
    assert np.argwhere(third.array[..., 0]).tolist() == [[4, 5]]
    assert third.affine[2, 3] == 8.0


@pytest.mark.parametrize(
    ("code", "said"), [(0, "unknown"), (1, "bits"), (32, "complex"), (77, "does not know")]
)
def test_data_types_that_are_no_numbers_are_named(tmp_path, code, said):
    nifti(tmp_path / "a.nii", STEPS, STEPS)
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", data, 70, code)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(ReadError, match=f"a.nii.*{code}.*{said}"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("slope", "intercept", "told"), [(0, -1024, True), (0, 0, False), (np.nan, 3, False), (np.inf, 0, True)]
)
def test_a_slope_that_scales_nothing(tmp_path, slope, intercept, told):
    nifti(tmp_path / "a.nii", STEPS, STEPS)
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2f", data, 112, slope, intercept)
    (tmp_path / "a.nii").write_bytes(data)
    image = read(tmp_path / "a.nii")
    assert (image.array.min(), image.array.max()) == (0, 59)
    assert told == any("scl_slope" in warning for warning in image.warnings)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("um", 1e-3), ("µm", 1e-3), ("Microns", 1e-3), ("cm", 10), ("inches", 25.4), ("mm", 1), ("", 1)],
)
@pytest.mark.parametrize("field", ["space units", "units"])
def test_units_of_length_in_nrrd(tmp_path, unit, factor, field):
    head = (
        "NRRD0005\ntype: uint8\ndimension: 3\nsizes: 3 4 5\nencoding: raw\nspace: left-posterior-superior\n"
        f"space directions: (700,0,0) (0,800,0) (0,0,900)\nspace origin: (100,0,0)\n{field}: "
        + " ".join([f'"{unit}"'] * 3)
    )
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n\n".encode() + bytes(60))
    image = read(tmp_path / "a.nrrd")
    assert image.spacing_mm == pytest.approx((900 * factor, 800 * factor, 700 * factor))
    assert image.affine[0, 3] == pytest.approx(-100 * factor)
    assert any("implausible" in warning for warning in image.warnings) == (factor >= 1)
    (tmp_path / "a.nrrd").write_bytes(f"{head.replace(unit or '@', 'furlong')}\n\n".encode() + bytes(60))
    if unit:
        with pytest.raises(ReadError, match=r"furlong.*expected"):
            read(tmp_path / "a.nrrd")


def test_spacings_of_nrrd_have_units_too(tmp_path):
    nrrd.write(
        str(tmp_path / "a.nrrd"),
        numbered((3, 4, 5)),
        {"spacings": [700.0, 800, 900], "units": ["um", "um", "cm"]},
    )
    assert read(tmp_path / "a.nrrd").spacing_mm == pytest.approx((9000, 0.8, 0.7))


HEAD = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 4 5 6\nspacings: 1 2 3\nendian: little\n"


@pytest.mark.parametrize(
    "tail", ["LIST\n{names}", "LIST 2\n{names}", "s%02d.raw 0 5 1", "s%02d.raw 10 15 1", "s%02d.raw 5 0 -1"]
)
@pytest.mark.parametrize("before", ["", "byte skip: 3\n", "byte skip: -1\n", "line skip: 1\n"])
def test_nrrd_in_several_files(tmp_path, tail, before):
    array = numbered((6, 5, 4), "<i2")
    planes = array[::-1] if tail.endswith("-1") else array
    skipped = b"ab\n" if before else b""
    for k, plane in enumerate(planes):
        (tmp_path / f"s{k + (10 if ' 10 ' in tail else 0):02d}.raw").write_bytes(skipped + plane.tobytes())
    names = "\n".join(f"s{k:02d}.raw" for k in range(6))
    (tmp_path / "a.nhdr").write_text(f"{HEAD}encoding: raw\n{before}data file: {tail.format(names=names)}\n")
    assert np.array_equal(read(tmp_path / "a.nhdr").array, array)
    (tmp_path / "s03.raw").unlink(missing_ok=True)
    (tmp_path / "s13.raw").unlink(missing_ok=True)
    with pytest.raises(ReadError, match=r"a\.nhdr.*missing"):
        read(tmp_path / "a.nhdr")


@pytest.mark.parametrize(("encoding", "body"), [("ascii", "{}"), ("text", "{}"), ("hex", None)])
def test_nrrd_as_text(tmp_path, encoding, body):
    array = (numbered((6, 5, 4)) - 60).astype("<i2")
    text = array.tobytes().hex() if body is None else ", ".join(map(str, array.ravel()))
    (tmp_path / "a.nrrd").write_text(f"{HEAD}encoding: {encoding}\n\n{text}\n")
    assert np.array_equal(read(tmp_path / "a.nrrd").array, array)
    (tmp_path / "a.nrrd").write_text(f"{HEAD}encoding: {encoding}\n\n{text[: len(text) // 2]}\n")
    with pytest.raises(ReadError, match="header claims"):
        read(tmp_path / "a.nrrd")


def test_sides_that_metaimage_says_twice(tmp_path):
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        "ElementSpacing = 1 1 1\nAnatomicalOrientation = {}\nDimSize = 3 4 5\nElementType = MET_UCHAR\n"
        "ElementDataFile = LOCAL\n"
    )
    for said, told in (("RAI", False), ("LPS", True), ("???", False), ("LAI", True)):
        (tmp_path / "a.mha").write_bytes(head.format(said).encode() + bytes(60))
        image = read(tmp_path / "a.mha")
        assert image.affine[0, 2] == -1
        assert told == any("disagree about sides" in warning for warning in image.warnings)


def test_text_in_metaimage_must_be_numbers_of_its_type(tmp_path):
    head = "ObjectType = Image\nNDims = 3\nBinaryData = False\nDimSize = 2 1 2\nElementType = MET_{}\nElementDataFile = LOCAL\n"
    for kind, text, expected in (
        ("SHORT", "-1000 5 7 400", [-1000, 5, 7, 400]), ("UCHAR", "-1 5 7 8", None), ("UCHAR", "1 5 x 8", None),
        ("SHORT", "1 2 3", None), ("SHORT", "1.0 2.0 3.0 4.0", [1, 2, 3, 4]), ("SHORT", "1.5 2 3 4", None),
        ("FLOAT", "1.5 -2 3e2 4", [1.5, -2, 300, 4]),
    ):  # fmt: skip
        (tmp_path / "a.mha").write_text(head.format(kind) + text)
        if expected is None:
            with pytest.raises(ReadError, match="text"):
                read(tmp_path / "a.mha")
        else:
            assert read(tmp_path / "a.mha").array.ravel().tolist() == expected


def test_a_tiff_s_resolution_is_told_but_not_taken(tmp_path):
    pixels = numbered((8, 9), np.uint8)
    for resolution, unit, said in (
        ((100, 50), "CENTIMETER", "0.2 x 0.1"),
        ((300, 300), "INCH", "0.08467"),
        ((72, 72), "INCH", None),
    ):
        tifffile.imwrite(tmp_path / "a.tif", pixels, resolution=resolution, resolutionunit=unit)
        image = read(tmp_path / "a.tif")
        assert image.spacing_mm is None
        assert image.warnings == () if said is None else said in image.warnings[0]
        assert read(tmp_path / "a.tif", spacing_mm=(0.2, 0.1)).spacing_mm == (0.2, 0.1)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_polarity_of_few_bits(tmp_path, bits, photometric):
    stored = (numbered((5, 16)) % 2**bits).astype(np.uint16 if bits > 8 else np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, bitspersample=bits, photometric=photometric)
    bright = stored if photometric == "minisblack" else 2**bits - 1 - stored
    expected = bright if bits > 8 else bright.astype(int) * 255 // (2**bits - 1)
    assert np.array_equal(read(tmp_path / "a.tif").array, expected)


def test_every_page_has_its_own_polarity(tmp_path):
    pixels = numbered((5, 6), np.uint16) * 900
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as file:
        file.write(pixels, photometric="minisblack")
        file.write(pixels, photometric="miniswhite")
    assert np.array_equal(read(f"{tmp_path}/a.tif#frame=1").array, pixels)
    assert np.array_equal(read(f"{tmp_path}/a.tif#frame=2").array, 65535 - pixels)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("channels", [1, 3])
def test_rotation_of_cameras_in_sixteen_bits(tmp_path, turn, channels, compression):
    """All eight orientations, as Pillow applies them to eight bits."""
    deep = np.stack([numbered((4, 6), np.uint16) * 1000] * channels, axis=-1).squeeze()
    options = {"photometric": "rgb" if channels == 3 else "minisblack", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", deep, extratags=[(274, 3, 1, turn, True)], **options)
    small = Image.fromarray((deep >> 8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    small.save(tmp_path / "b.png", exif=exif)
    image = read(tmp_path / "a.tif")
    assert image.array.dtype == np.uint16
    assert np.array_equal(image.array >> 8, read(tmp_path / "b.png").array)


def test_a_damaged_tiff_says_nothing_of_its_own(tmp_path, capfd):
    """libtiff writes to the terminal from C; what is wrong is in the error alone."""
    pixels = np.random.default_rng(0).integers(0, 65535, (40, 30), dtype=np.uint16)
    for compression in ("lzw", "zlib", "packbits"):
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)
        data = bytearray((tmp_path / "a.tif").read_bytes())
        data[-600:-300] = bytes(range(200)) + bytes(100)
        for damaged in (data, data[:-200]):
            (tmp_path / "a.tif").write_bytes(damaged)
            with suppress(ReadError):
                read(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_what_is_not_read_is_refused_by_name(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4096, (16, 16), dtype=np.uint16)
    planes = np.stack([noise] * 3)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "f8.tif", noise.astype(np.float64))
    (tmp_path / "ls.jpg").write_bytes(imagecodecs.jpegls_encode(noise))
    (tmp_path / "lossless.jpg").write_bytes(imagecodecs.ljpeg_encode(noise, bitspersample=12))
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(noise))
    (tmp_path / "a.mnc").write_bytes(b"CDF\x01" + bytes(400))
    (tmp_path / "b.mnc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(400))
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(400))
    (tmp_path / "page.nii").write_bytes(b"<!DOCTYPE html><html>not found</html>" + b" " * 400)
    said = {
        "planes.tif": "one plane per sample", "f8.tif": "64 bits", "ls.jpg": "JPEG-LS", "lossless.jpg": "lossless JPEG",
        "a.jp2": "JPEG 2000", "a.mnc": "mnc2nii", "b.mnc": "HDF5", "a.gif": "GIF", "page.nii": "web page",
    }  # fmt: skip
    for name, words in said.items():
        with pytest.raises(ReadError, match=rf"{name}.*{words}"):
            read(tmp_path / name)


def zipped(path, files, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data, **options)
    return path


def test_a_zip_is_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    series = ct_series(tmp_path / "series", stored_volume())
    files = {f"study/{file.name}": file.read_bytes() for file in series.iterdir()}
    found = read(zipped(tmp_path / "series.zip", files | {"__MACOSX/._IM0001": b"x", "study/": b""}))
    assert np.array_equal(found.array, read(series).array)
    assert np.array_equal(found.affine, read(series).affine)
    nifti(tmp_path / "a.nii.gz", STEPS, STEPS)
    one = zipped(
        tmp_path / "one.zip", {"x/a.nii.gz": (tmp_path / "a.nii.gz").read_bytes(), "readme.txt": b"hello"}
    )
    assert np.array_equal(read(one).array, read(tmp_path / "a.nii.gz").array)
    pair = {
        "a.mhd": b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = a.raw\n",
        "a.raw": bytes(8),
    }
    assert read(zipped(tmp_path / "pair.zip", pair)).shape == (2, 2, 2)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_lies_next_to_a_series_in_a_zip_is_named(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    ct_series(tmp_path / "s", stored_volume(3))
    files = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    mixed = read(zipped(tmp_path / "m.zip", files | {"x/a.nii.gz": (tmp_path / "a.nii.gz").read_bytes()}))
    assert mixed.shape[0] == 3 and any("x/a.nii.gz" in one for one in mixed.warnings)
    assert read(zipped(tmp_path / "p.zip", files | {"readme.txt": b"hello"})).warnings == ()


def test_gzip_around_what_is_not_read_through_it_is_named(tmp_path):
    ct_series(tmp_path / "s", stored_volume(1))
    for name, data in (
        ("d.dcm.gz", (tmp_path / "s" / "IM0001").read_bytes()),
        ("n.npy.gz", _npy(np.zeros((2, 2, 2)))),
    ):
        (tmp_path / name).write_bytes(gzip.compress(data))
        with pytest.raises(ReadError, match="gzip around another file"):
            read(tmp_path / name)


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_zips_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    scan = nifti(tmp_path / "a.nii", STEPS, STEPS).read_bytes()
    inner = zipped(tmp_path / "inner.zip", {"a.nii": scan}).read_bytes()
    cases = {
        "leaves": ({"../a.nii": scan}, "leaves its folder"), "absolute": ({"/a.nii": scan}, "leaves its folder"),
        "two": ({"a.nii": scan, "b/b.nii": scan}, "2 scans .a.nii, b/b.nii."),
        "none": ({"a.txt": b"x", "b.txt": b"y"}, "none of which"),
        "empty": ({}, "empty"), "nested": ({"inner.zip": inner}, "archive within an archive"),
    }  # fmt: skip
    for name, (files, words) in cases.items():
        with pytest.raises(ReadError, match=rf"{name}\.zip.*{words}"):
            read(zipped(tmp_path / f"{name}.zip", files))
    monkeypatch.setattr("medmvl.imaging.zipped.LIMITS", ArchiveLimits(files=20, num_bytes=300))
    with pytest.raises(ReadError, match="unpacks to"):
        read(tmp_path / "two.zip")
    monkeypatch.setattr("medmvl.imaging.zipped.LIMITS", ArchiveLimits(files=1, num_bytes=2**20))
    with pytest.raises(ReadError, match="holds 2 files"):
        read(tmp_path / "two.zip")
    with at_most(10**6), pytest.raises(ReadError, match="archive within"):
        read(tmp_path / "inner.zip")
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("said", ["HU", "Hu", "hu", " HU ", "bqml", "Arbitrary"])
def test_units_have_one_spelling(tmp_path, said):
    np.save(tmp_path / "a.npy", numbered((3, 4, 5)) * 40 - 1000)
    assert read(tmp_path / "a.npy", units=said).units in ("HU", "BQML", "arbitrary")


def test_units_that_cannot_be(tmp_path):
    np.save(tmp_path / "a.npy", numbered((3, 4, 5)) * 40 - 1000)
    with pytest.raises(ReadError, match=r"mmHg.*expected one of.*HU"):
        read(tmp_path / "a.npy", units="mmHg")
    with pytest.raises(ReadError, match="those of CT"):
        read(tmp_path / "a.npy", units="HU", modality="MR")
    ct_series(
        tmp_path / "mr",
        stored_volume(),
        Modality="MR",
        RescaleSlope=None,
        RescaleIntercept=None,
        RescaleType=None,
    )
    with pytest.raises(ReadError, match="modality MR"):
        read(tmp_path / "mr", units="HU")
    Image.fromarray(numbered((8, 9), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="saved so has lost"):
        read(tmp_path / "a.png", units="HU")
    assert any("lost" in warning for warning in read(tmp_path / "a.png", modality="CT").warnings)
    Image.fromarray(numbered((8, 9), np.uint16) * 50).save(tmp_path / "deep.png")
    assert any("positive numbers" in warning for warning in read(tmp_path / "deep.png", units="HU").warnings)


def test_what_a_library_raises_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(nifti(tmp_path / "b.nii", STEPS, STEPS).read_bytes())

    def stumble(*arguments):
        raise ZeroDivisionError("SECRET^NAME")

    monkeypatch.setattr("medmvl.imaging.nifti.nifti_geometry", stumble)
    monkeypatch.setattr("medmvl.imaging.nifti.damage", tuple)
    with warnings.catch_warnings(), pytest.raises(ReadError, match=r"a\.nii.*ZeroDivisionError") as raised:
        read(tmp_path / "a.nii")
    assert "SECRET" not in str(raised.value)
