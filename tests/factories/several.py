"""Files of every format in which several images may lie, of which a reader must be told one."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from tests.factories import dicom as make
from tests.factories.imaging import numbered

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def _series(folder: Path) -> Path:
    make.ct_series(folder / "in" / "a", make.stored_volume(3), SeriesInstanceUID="1.2.3.1", SeriesNumber=1)
    make.ct_series(
        folder / "in" / "b", make.stored_volume(4, seed=1), SeriesInstanceUID="1.2.3.2", SeriesNumber=2
    )
    return _packed(folder / "in", folder / "series.zip")


def _cine(folder: Path) -> Path:
    return make.save(make.dataset(numbered((2, 5, 6), np.uint8), "US"), folder / "cine.dcm")


def _cines(folder: Path) -> Path:
    for number in (1, 2):
        pixels = numbered((4, 5, 6), np.uint8) + number
        made = make.dataset(pixels, "US", SeriesInstanceUID=f"1.2.3.{number}", SeriesNumber=number)
        make.save(made, folder / "in" / str(number))
    return _packed(folder / "in", folder / "cines.zip")


def _colour_stack(folder: Path) -> Path:
    for number in range(3):
        made = make.ct_slice(
            numbered((5, 6, 3), np.uint8) + number, (0, 0, 2.0 * number), InstanceNumber=number + 1
        )
        make.save(made, folder / "in" / str(number))
    return _packed(folder / "in", folder / "stack.zip")


def _enhanced(folder: Path) -> Path:
    places = [(0, 0, 3.0 * (k % 3)) for k in range(6)]
    made = make.enhanced(make.stored_volume(6), "MR", places, rescale=[(1.0, 0.0)], times=[1, 1, 1, 2, 2, 2])
    return make.save(made, folder / "times.dcm")


def _nifti(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(numbered((5, 6, 4, 3)), AFFINE), folder / "times.nii.gz")
    return folder / "times.nii.gz"


def _nifti_colour(folder: Path) -> Path:
    pixels = np.zeros((5, 6, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    pixels["R"] = numbered(pixels.shape, np.uint8)
    nib.save(nib.Nifti1Image(pixels, AFFINE), folder / "colour.nii")
    return folder / "colour.nii"


def _analyze(folder: Path) -> Path:
    nib.save(nib.Spm99AnalyzeImage(numbered((5, 6, 4, 2)), AFFINE), folder / "times.img")
    return folder / "times.hdr"


def _mgh(folder: Path) -> Path:
    nib.save(nib.MGHImage(numbered((5, 6, 4, 2)), AFFINE), folder / "times.mgz")
    return folder / "times.mgz"


def _nrrd(folder: Path) -> Path:
    head = "NRRD0004\ntype: short\ndimension: 4\nsizes: 5 6 4 3\nkinds: domain domain domain list\nendian: little\n"
    (folder / "times.nrrd").write_bytes(
        f"{head}encoding: raw\n\n".encode() + numbered((3, 4, 6, 5)).tobytes()
    )
    return folder / "times.nrrd"


def _metaimage(folder: Path) -> Path:
    head = (
        "ObjectType = Image\nNDims = 4\nDimSize = 5 6 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (folder / "times.mha").write_bytes(head.encode() + numbered((3, 4, 6, 5)).tobytes())
    return folder / "times.mha"


def _tiff(folder: Path) -> Path:
    first, *others = [Image.fromarray(numbered((6, 5), np.uint8) + number) for number in range(3)]
    first.save(folder / "pages.tif", save_all=True, append_images=others)
    return folder / "pages.tif"


def _webp(folder: Path) -> Path:
    first, other = [Image.new("RGB", (5, 6), (40 * number, 9, 9)) for number in (1, 2)]
    first.save(folder / "frames.webp", save_all=True, append_images=[other], lossless=True)
    return folder / "frames.webp"


def _jpeg_xl(folder: Path) -> Path:
    from imagecodecs import jpegxl_encode

    frames = np.stack([np.full((8, 9, 3), value, np.uint8) for value in (10, 90, 200)])
    (folder / "frames.jxl").write_bytes(jpegxl_encode(frames, lossless=True))
    return folder / "frames.jxl"


def _packed(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            archive.write(file, file.relative_to(folder))
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "dicom series": _series, "dicom cine": _cine, "dicom cines": _cines, "dicom colour stack": _colour_stack,
    "dicom enhanced": _enhanced, "nifti": _nifti, "nifti colour": _nifti_colour, "analyze": _analyze, "mgh": _mgh,
    "nrrd": _nrrd, "metaimage": _metaimage, "tiff": _tiff, "webp": _webp, "jpeg xl": _jpeg_xl,
}  # fmt: skip
"""By name: writes such a file into an empty folder and returns its path."""


def in_zip(path: Path) -> Path:
    """The file, with its partner, in an archive next to it; an archive as it is."""
    if path.suffix == ".zip":
        return path
    target = path.parent / "packed.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(path.parent.glob(f"{path.name.partition('.')[0]}.*")):
            archive.write(file, file.name)
    return target
