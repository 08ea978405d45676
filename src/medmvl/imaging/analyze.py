"""Analyze 7.5: `.hdr` with `.img`, the format before NIfTI. It cannot say where left is, so orientation stays unknown.

The header is parsed by nibabel, with SPM's scale factor where there is one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medmvl.errors import ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.lengths import millimetres_per
from medmvl.imaging.nifti import choose_time, layout_of, load_pixels, opened, pixels_beside
from medmvl.imaging.nifti_geometry import damage
from medmvl.imaging.selector import Selector
from medmvl.imaging.volume_files import scaled, spatial_volume

_SIZE, _MAGIC_AT = 348, 344
_SIDES = (
    "Analyze 7.5 does not say where left and right are, and programs disagree about it: declare axcodes if you know "
    "them, or convert the scan from its source to NIfTI"
)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of an Analyze header: its size, 348, without NIfTI's mark."""
    if len(head) < _SIZE or head[_MAGIC_AT : _MAGIC_AT + 2] in (b"n+", b"ni"):
        return False
    for order in ("<", ">"):
        dims = np.frombuffer(head[40:56], f"{order}i2")
        if np.frombuffer(head[:4], f"{order}i4")[0] == _SIZE and 1 <= dims[0] <= 7 and (dims[1:4] >= 0).all():
            return True
    return False


def read_analyze(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume in the file's order; of a 4D file the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several time points.
        ReadError: where it is damaged, cut short, in colour, or its .img is missing.
    """
    from nibabel.spm99analyze import Spm99AnalyzeHeader  # takes most of a second to import

    selector.refuse_others("time")
    with opened(path) as stream:
        head = bytes(stream.read(_SIZE))
    try:
        header = Spm99AnalyzeHeader(binaryblock=head, check=False)
        layout = layout_of(header, single=False)
        slope, _ = header.get_slope_inter()
    except damage() as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"the Analyze header is damaged: {error}") from error
    if layout.dtype.names:
        raise ReadError(
            "the file holds colour voxels in Analyze 7.5, which are not read; convert to NIfTI or PNG"
        )
    pixels = pixels_beside(path)
    array, beyond = load_pixels(pixels, layout, choose_time(selector, layout.times))
    scale = millimetres_per(bytes(header["vox_units"]).partition(b"\0")[0].decode("latin-1"), "vox_units")
    spacing = tuple(float(abs(step)) * scale for step in reversed(header["pixdim"][1:4]))
    values = scaled(array, 1.0 if slope is None else float(slope), 0.0)
    return spatial_volume(values, None, spacing, source_format="analyze", notes=[_SIDES, *beyond])
