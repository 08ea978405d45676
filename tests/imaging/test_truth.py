"""A table of truth: some thousand files whose voxels and places are known, in every order, type, unit and layout.

Each format is written by its own library, and read by an independent one where that is right. Failures are gathered, so that
one run shows the pattern of what is wrong.
"""

import struct
import zlib

import imagecodecs
import nibabel as nib
import nrrd
import numpy as np
import pytest
import tifffile
from pydicom import dcmread
from pydicom.pixels import apply_rescale

from medmvl.imaging import read
from tests.factories import truth
from tests.factories.dicom import ct_slice, enhanced, save, set_tags

ORDERS = truth.orders()
ANGLES = (0.0, 12.0)


class Table:
    """Counts files, and gathers what is wrong with them."""

    def __init__(self, folder):
        self.folder, self.files, self.wrong = folder, 0, []

    def path(self, name):
        return self.folder / name

    def volume(self, case, source, expected, affine=None, units=None, places=True):
        """Compare voxels exactly, the affine (or only the spacing) within a thousandth of a voxel."""
        self.files += 1
        try:
            image = read(source)
        except ValueError as error:
            self.wrong.append((case, str(error)[-120:]))
            return None
        if not np.array_equal(image.array.astype(np.float64), expected.astype(np.float64)):
            self.wrong.append((case, "voxels", image.array.dtype.name, image.shape))
        if places and (image.affine is None or np.abs(image.affine - affine).max() > 1e-3):
            self.wrong.append((case, "places", None if image.affine is None else image.affine.tolist()))
        if units is not None and image.units != units:
            self.wrong.append((case, "units", image.units))
        return image

    def image(self, case, source, expected, units):
        self.files += 1
        try:
            image = read(source)
        except ValueError as error:
            self.wrong.append((case, str(error)[-120:]))
            return
        if image.shape != expected.shape or not np.array_equal(
            image.array.astype(np.float64), expected.astype(np.float64)
        ):
            self.wrong.append((case, "pixels", image.array.dtype.name, image.shape))
        if image.units != units:
            self.wrong.append((case, "units", image.units))

    def check(self, at_least):
        assert not self.wrong, f"{len(self.wrong)} of {self.files} files: " + "; ".join(
            map(str, self.wrong[:12])
        )
        assert self.files >= at_least


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


NIFTI_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8")
NIFTI_UNITS = {"mm": 1.0, "meter": 1000.0, "micron": 1e-3, "unknown": 1.0}


def test_nifti(table):
    """Every order and type, by sform, qform or both, three units of length, plain, compressed and in two files."""
    rest = truth.cycled(
        tuple(NIFTI_UNITS),
        ("sform", "qform", "both"),
        ("a.nii", "a.nii.gz", "a.hdr"),
        (1, 2),
        (False, True),
        ANGLES,
    )
    for codes in ORDERS:
        for dtype in NIFTI_TYPES:
            unit, form, name, version, scaled, angle = next(rest)
            held = truth.stored(codes, dtype, angle)
            there = np.diag([1 / NIFTI_UNITS[unit]] * 3 + [1.0]) @ held.affine
            image = _nifti(held.array, there, version, pair=name == "a.hdr")
            image.set_sform(there, code=1 if form != "qform" else 0)
            image.set_qform(there, code=1 if form != "sform" else 0)
            image.header.set_xyzt_units(unit)
            expected = truth.voxels(dtype)
            nib.save(image, table.path(name))
            if scaled and name != "a.nii.gz":
                _set_slope(table.path(name), version, 2.0, -1024.0)
                expected = expected.astype(np.float64) * 2 - 1024
            case = (codes, dtype, unit, form, name, version, scaled, angle)
            found = table.volume(case, table.path(name), expected, truth.affine(angle))
            if found is not None and table.files % 8 == 0:
                _compare_with_nibabel(table, case, name, found, NIFTI_UNITS[unit])
    table.check(at_least=400)


def _nifti(array, affine, version, pair):
    kinds = {
        (1, False): nib.Nifti1Image,
        (2, False): nib.Nifti2Image,
        (1, True): nib.Nifti1Pair,
        (2, True): nib.Nifti2Pair,
    }
    return kinds[version, pair](array, affine, dtype=array.dtype)


def _set_slope(path, version, slope, intercept):
    """Write slope and intercept into a header whose stored numbers stay, as nibabel would divide them."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<ff" if version == 1 else "<dd", data, 112 if version == 1 else 176, slope, intercept)
    path.write_bytes(data)


def _compare_with_nibabel(table, case, name, found, scale):
    canonical = nib.as_closest_canonical(nib.load(table.path(name)))
    theirs = np.asarray(canonical.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    if not np.allclose(found.array, theirs, atol=1e-3):
        table.wrong.append((case, "differs from nibabel"))


NRRD_SPACES = {"left-posterior-superior": (-1, -1, 1), "RAS": (1, 1, 1), "left-anterior-superior": (-1, 1, 1)}
NRRD_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8")


def test_nrrd(table):
    """Every order in three spaces and five units, all types and encodings, attached and detached."""
    rest = truth.cycled(
        NRRD_TYPES,
        ("raw", "gzip", "bzip2", "ascii"),
        ("a.nrrd", "a.nhdr"),
        ("space units", "units", None),
        ANGLES,
    )
    for codes in ORDERS:
        for space, signs in NRRD_SPACES.items():
            for unit, scale in truth.UNITS.items():
                dtype, encoding, name, field, angle = next(rest)
                held = truth.stored(codes, dtype, angle)
                there = np.diag([*signs, 1]) @ held.affine
                scale = 1.0 if field is None else scale
                header = {
                    "space": space, "encoding": encoding,
                    "space directions": there[:3, :3].T / scale, "space origin": there[:3, 3] / scale,
                }  # fmt: skip
                if field is not None:
                    header[field] = [unit] * 3
                nrrd.write(str(table.path(name)), held.array, header)
                case = (codes, space, unit, dtype, encoding, name, field, angle)
                table.volume(case, table.path(name), truth.voxels(dtype), truth.affine(angle))
    table.check(at_least=700)


MET = {
    "u1": "UCHAR",
    "i1": "CHAR",
    "u2": "USHORT",
    "i2": "SHORT",
    "u4": "UINT",
    "i4": "INT",
    "i8": "LONG_LONG",
    "f4": "FLOAT",
    "f8": "DOUBLE",
}


def _metaimage(table, held, dtype, layout, unit, order):
    """Write a MetaImage by hand in one of the ways MetaIO knows; return the header's path."""
    scale = {"mm": 1.0, "um": 1e-3, "cm": 10.0}[unit]
    lps = np.diag([-1.0, -1, 1, 1]) @ held.affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    matrix = " ".join(f"{n:.12g}" for n in (lps[:3, :3] / steps).T.ravel())
    data = np.ascontiguousarray(held.array.T).astype(np.dtype(dtype).newbyteorder(order))
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": str(layout != "text"),
        "ElementByteOrderMSB" if layout == "list" else "BinaryDataByteOrderMSB": str(order == ">"),
        "CompressedData": str(layout == "zlib"), "TransformMatrix": matrix,
        "Offset": " ".join(f"{n / scale:.12g}" for n in lps[:3, 3]), "DistanceUnits": unit,
        "ElementSpacing": " ".join(f"{n / scale:.12g}" for n in steps),
        "DimSize": " ".join(map(str, held.array.shape)), "ElementType": f"MET_{MET[dtype]}",
    }  # fmt: skip
    body, tail, name = data.tobytes(), "LOCAL", "a.mha"
    if layout == "text":
        body = " ".join(repr(n) for n in data.ravel().tolist()).encode()
    elif layout == "zlib":
        body = zlib.compress(body)
        fields["CompressedDataSize"] = str(len(body))
    elif layout != "local":
        body, tail, name = b"", _parts(table, data, layout, fields), "a.mhd"
    head = "".join(f"{key} = {value}\n" for key, value in fields.items())
    table.path(name).write_bytes(f"{head}ElementDataFile = {tail}\n".encode() + body)
    return table.path(name)


def _parts(table, data, layout, fields):
    if layout == "tail":
        fields["HeaderSize"] = "-1"
        table.path("a.raw").write_bytes(b"anything before" + data.tobytes())
        return "a.raw"
    names = [f"part{k:02d}.raw" for k in range(len(data))]
    for name, plane in zip(names, data, strict=True):
        table.path(name).write_bytes(plane.tobytes())
    return f"part%02d.raw 0 {len(data) - 1} 1" if layout == "pattern" else "LIST\n" + "\n".join(names)


def test_metaimage(table):
    """Every order and type, two byte orders, and every way in which the pixels can lie in files."""
    sitk = pytest.importorskip("SimpleITK")
    rest = truth.cycled(
        ("local", "zlib", "text", "tail", "list", "pattern"), ("mm", "um", "cm"), "<>", ANGLES
    )
    for codes in ORDERS:
        for dtype in MET:
            layout, unit, order, angle = next(rest)
            held = truth.stored(codes, dtype, angle)
            path = _metaimage(table, held, dtype, layout, unit, order)
            case = (codes, dtype, layout, unit, order, angle)
            table.volume(case, path, truth.voxels(dtype), truth.affine(angle))
            if layout in ("local", "zlib", "list") and unit == "mm" and table.files % 5 == 0:
                theirs = sitk.ReadImage(str(path))
                if not np.array_equal(sitk.GetArrayFromImage(theirs), held.array.T):
                    table.wrong.append((case, "differs from SimpleITK"))
    table.check(at_least=400)


def test_mgh(table):
    """Every order and type of FreeSurfer's format, plain and compressed."""
    rest = truth.cycled(("u1", "i2", "u2", "i4", "f4"), ("a.mgh", "a.mgz"), ANGLES)
    for codes in ORDERS:
        for _ in range(2):
            dtype, name, angle = next(rest)
            held = truth.stored(codes, dtype, angle)
            nib.save(nib.MGHImage(held.array, held.affine.astype(np.float64)), table.path(name))
            table.volume(
                (codes, dtype, name, angle), table.path(name), truth.voxels(dtype), truth.affine(angle)
            )
    table.check(at_least=90)


def test_analyze_keeps_the_file_s_order(table):
    """Analyze 7.5 cannot say sides: the array stays as it is, in millimetres, with a warning."""
    for codes in ORDERS[::4]:
        for dtype in ("u1", "i2", "i4", "f4"):
            held = truth.stored(codes, dtype)
            nib.save(nib.AnalyzeImage(held.array, np.diag([0.7, 0.8, 5.0, 1.0])), table.path("a.img"))
            image = table.volume((codes, dtype), table.path("a.hdr"), held.array.T, places=False)
            if image is None or image.affine is not None or image.spacing_mm != pytest.approx((5, 0.8, 0.7)):
                table.wrong.append((codes, dtype, "places were invented"))
            elif not any("left and right" in warning for warning in image.warnings):
                table.wrong.append((codes, dtype, "no warning about sides"))
    table.check(at_least=45)


PLANES = {"axial": "LPS", "sagittal": "PIL", "coronal": "LIP", "axial from above": "LPI", "mirrored": "RPS"}


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_dicom_series(table, photometric):
    """Planes, types, rescaling and layout (files in any order, one enhanced object); values are the same in both polarities."""
    rest = truth.cycled(
        ("u2", "i2"), ((1, -1024), (1, 0), (2, -100), (0.5, 3)), ("files", "shuffled", "enhanced")
    )
    for number in range(90):
        dtype, (slope, intercept), layout = next(rest)
        codes = list(PLANES.values())[number % len(PLANES)]
        held = truth.stored(codes, dtype, angle_degrees=12.0 * (number % 2))
        folder = table.path(f"{photometric}{number}")
        _dicom(folder, held, slope, intercept, layout, photometric, number)
        expected = truth.voxels(dtype).astype(np.float64) * slope + intercept
        case = (codes, dtype, slope, intercept, layout, photometric)
        table.volume(case, folder, expected, truth.affine(12.0 * (number % 2)), units="HU")
        if layout != "enhanced" and number % 7 == 0:
            theirs = {
                float(apply_rescale(d.pixel_array, d).sum()) for d in map(dcmread, sorted(folder.iterdir()))
            }
            if not np.isclose(sum(theirs), expected.sum()) and len(theirs) == held.array.shape[2]:
                table.wrong.append((case, "differs from pydicom"))
    table.check(at_least=90)


def _dicom(folder, held, slope, intercept, layout, photometric, number):
    lps = np.diag([-1.0, -1, 1, 1]) @ held.affine
    columns, rows = (lps[:3, axis] / np.linalg.norm(lps[:3, axis]) for axis in (0, 1))
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    planes = np.ascontiguousarray(held.array.transpose(2, 1, 0))
    places = [[float(n) for n in (lps @ [0, 0, k, 1])[:3]] for k in range(len(planes))]
    orientation = [float(n) for n in (*columns, *rows)]
    tags = {"ImageOrientationPatient": orientation, "PixelSpacing": [float(steps[1]), float(steps[0])]}
    tags |= {"PhotometricInterpretation": photometric, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    if layout == "enhanced":
        made = enhanced(planes, positions=places, orientation=orientation, rescale=[(slope, intercept)])
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing, measures.SliceThickness = tags["PixelSpacing"], float(steps[2])
        set_tags(made, PhotometricInterpretation=photometric, ImageType=tags["ImageType"])
        save(made, folder / "enhanced.dcm")
        return
    numbers = (
        np.arange(len(planes))
        if layout == "files"
        else np.random.default_rng(number).permutation(len(planes))
    )
    for plane, place, position in zip(planes, places, numbers, strict=True):
        more = {"RescaleSlope": slope, "RescaleIntercept": intercept, "InstanceNumber": int(position) + 1}
        save(ct_slice(plane, place, **tags, **more), folder / f"IM{position}")


TIFF_TYPES = ("u1", "i1", "u2", "i2", "i4", "f4")


def _pixels(dtype, channels=1):
    kind, rng = np.dtype(dtype), np.random.default_rng(0)
    shape = (7, 9) if channels == 1 else (7, 9, channels)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def test_tiff_grey(table):
    """Types, polarity, byte order, compression and tiling: white is always the largest number."""
    for dtype in TIFF_TYPES:
        pixels = _pixels(dtype)
        for polarity in ("minisblack", "miniswhite"):
            white = -pixels if np.dtype(dtype).kind == "f" else ~pixels
            expected = white if polarity == "miniswhite" else pixels
            for order in "<>":
                for compression in (None, "lzw", "zlib", "packbits"):
                    for tile in (None, (16, 16)):
                        options = {"byteorder": order, "compression": compression, "tile": tile}
                        tifffile.imwrite(table.path("a.tif"), pixels, photometric=polarity, **options)
                        units = "display" if dtype == "u1" else "arbitrary"
                        table.image(
                            (dtype, polarity, order, compression, tile), table.path("a.tif"), expected, units
                        )
    table.check(at_least=190)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colour_and_transparency_keep_their_depth(table, dtype):
    """PNG and TIFF of two to four channels, 8 and 16 bits: what is transparent keeps its colour."""
    units = "display" if dtype == "u1" else "arbitrary"
    for channels in (2, 3, 4):
        pixels = _pixels(dtype, channels)
        expected = pixels[..., 0] if channels == 2 else pixels[..., :3]
        table.path("a.png").write_bytes(imagecodecs.png_encode(pixels))
        table.image((dtype, channels, "png"), table.path("a.png"), expected, units)
        table.path("a.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
        if channels != 2:
            table.image((dtype, channels, "jxl"), table.path("a.jxl"), expected, units)
        if channels == 2:
            continue
        for order in "<>":
            for compression in (None, "lzw", "zlib"):
                extra = ["unassalpha"] if channels == 4 else None
                options = {"byteorder": order, "compression": compression, "extrasamples": extra}
                tifffile.imwrite(table.path("a.tif"), pixels, photometric="rgb", **options)
                table.image((dtype, channels, order, compression), table.path("a.tif"), expected, units)
    table.check(at_least=17)
