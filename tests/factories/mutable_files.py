"""One small valid file of each format, compression and kind that is read: what a fuzz begins with."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import uid

from tests.factories import dicom as make

SYNTAXES = {
    "explicit": uid.ExplicitVRLittleEndian, "implicit": uid.ImplicitVRLittleEndian, "big-endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}  # fmt: skip
COMPRESSED = {
    "rle": uid.RLELossless, "jpeg2000-lossless": uid.JPEG2000Lossless, "jpeg2000": uid.JPEG2000, "jpegls": uid.JPEGLSLossless,
    "jpegls-near": uid.JPEGLSNearLossless, "jpeg-lossless": uid.JPEGLosslessSV1, "jpeg-lossless-14": uid.JPEGLossless,
}  # fmt: skip


def write_all(folder: Path) -> None:
    """Write them all; partners of two-file formats have the suffixes `.img` and `.raw`."""
    write_dicom(folder)
    write_volumes(folder)
    write_images(folder)


def write_dicom(folder: Path) -> None:
    """Plain, compressed, colour, palette and multi-frame objects."""
    plane = make.stored_volume(1, 24, 20)[0]
    for name, syntax in SYNTAXES.items():
        make.save(make.ct_slice(plane, (0, 0, 0), PixelPaddingValue=7), folder / f"{name}.dcm", syntax)
    for name, syntax in COMPRESSED.items():
        path = make.save(make.ct_slice(plane, (0, 0, 0), BitsStored=16), folder / f"{name}.dcm")
        make.transcode(path, syntax)
    for bits, syntax in ((8, uid.JPEGBaseline8Bit), (12, uid.JPEGExtended12Bit)):
        pixels = (plane % 2**bits).astype(np.uint8 if bits == 8 else np.uint16)
        path = make.save(make.dataset(pixels, "MR", BitsStored=bits), folder / f"jpeg-{bits}.dcm")
        make.transcode(path, syntax)
    colours = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    make.save(make.dataset(colours, "US"), folder / "colour.dcm")
    make.transcode(make.save(make.dataset(colours, "US"), folder / "colour-jpeg.dcm"), uid.JPEGBaseline8Bit)
    make.transcode(make.save(make.dataset(colours, "US"), folder / "colour-jpeg2000.dcm"), uid.JPEG2000)
    stored = make.stored_volume(4, 12, 10)
    rescale = [(1.0, float(-1000 - k)) for k in range(4)]
    make.save(make.enhanced(stored, rescale=rescale), folder / "enhanced.dcm")
    make.transcode(
        make.save(make.enhanced(stored, rescale=rescale), folder / "enhanced-jpeg2000.dcm"),
        uid.JPEG2000Lossless,
    )


def write_volumes(folder: Path) -> None:
    """NIfTI-1 and 2, NRRD, MetaImage and NumPy, plain and compressed, in one file and in two."""
    voxels = np.random.default_rng(1).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
    affine = np.diag([0.7, 0.8, 2.0, 1.0])
    nib.save(nib.Nifti1Image(voxels, affine), folder / "one.nii")
    nib.save(nib.Nifti1Image(voxels, affine), folder / "packed.nii.gz")
    nib.save(nib.Nifti2Image(voxels.astype(np.float32), affine), folder / "two.nii")
    nib.save(nib.Nifti1Pair(voxels, affine), folder / "pair.hdr")
    nib.save(nib.Nifti1Image(np.stack([voxels, voxels], -1), affine), folder / "times.nii")
    nib.save(nib.MGHImage(voxels, affine), folder / "surfer.mgz")
    data = voxels.tobytes(order="F")
    space = (
        "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\n"
    )
    packers = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}
    packers["ascii"] = lambda _: " ".join(map(str, voxels.ravel(order="F"))).encode()
    for encoding, pack in packers.items():
        head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\n{space}encoding: {encoding}\n\n"
        (folder / f"{encoding}.nrrd").write_bytes(head.encode() + pack(data))
    meta = "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
    meta += "ElementSpacing = 1 1 2\nDimSize = 7 6 5\nElementType = MET_SHORT\n"
    (folder / "plain.mha").write_bytes(f"{meta}ElementDataFile = LOCAL\n".encode() + data)
    (folder / "zlib.mha").write_bytes(
        f"{meta}CompressedData = True\nElementDataFile = LOCAL\n".encode() + zlib.compress(data)
    )
    (folder / "beside.mhd").write_bytes(f"{meta}ElementDataFile = beside.raw\n".encode())
    (folder / "beside.raw").write_bytes(data)
    np.save(folder / "array.npy", voxels)
    np.savez(folder / "stored.npz", array=voxels, units="HU")
    np.savez_compressed(folder / "deflated.npz", array=voxels, affine=affine)


def write_images(folder: Path) -> None:
    """PNG, JPEG, TIFF, BMP and WebP, grey, deep and coloured."""
    rng = np.random.default_rng(2)
    grey, colour = (
        rng.integers(0, 255, (24, 20)).astype(np.uint8),
        rng.integers(0, 255, (24, 20, 3)).astype(np.uint8),
    )
    deep = rng.integers(0, 65535, (24, 20)).astype(np.uint16)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(colour).save(folder / "colour.jpg")
    Image.fromarray(grey).save(folder / "progressive.jpg", progressive=True)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        Image.fromarray(grey).save(folder / f"{compression}.tif", compression=compression)
    Image.fromarray(deep).save(folder / "deep.tif", compression="tiff_lzw")
    Image.fromarray(colour).save(folder / "bitmap.bmp")
    Image.fromarray(colour).save(folder / "lossless.webp", lossless=True)
    Image.fromarray(colour).save(folder / "lossy.webp")
