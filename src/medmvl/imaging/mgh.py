"""FreeSurfer's MGH: `.mgh`, and `.mgz`, which is the same within gzip. The header is parsed by nibabel.

Format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from medmvl.errors import ReadError
from medmvl.imaging.geometry import reverse_axes
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.nifti import Layout, choose_time, load_pixels, opened
from medmvl.imaging.nifti_geometry import damage
from medmvl.imaging.selector import Selector
from medmvl.imaging.volume_files import spatial_volume

_DATA_AT = 284
_GOOD_RAS_AT = 28
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of an MGH header: version 1, four sizes, a known type."""
    if len(head) < _DATA_AT:
        return False
    version, *sizes, code = (int(n) for n in np.frombuffer(head[:24], ">i4"))
    return version == 1 and code in _TYPES and all(0 < n < 2**24 for n in sizes)


def read_mgh(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of several frames the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several frames.
        ReadError: where it is damaged, cut short or absurdly large.
    """
    from nibabel.freesurfer.mghformat import MGHError, MGHHeader  # takes most of a second to import

    selector.refuse_others("time")
    try:
        with opened(path) as stream:
            head = bytes(stream.read(_DATA_AT))
        header = MGHHeader(binaryblock=head, check=False)
        known = (
            int.from_bytes(head[_GOOD_RAS_AT : _GOOD_RAS_AT + 2], "big") == 1
        )  # nibabel's header says 1 always
        affine = reverse_axes(header.get_affine()) if known else None
        columns, rows, slices, frames = (int(n) for n in header["dims"])
        dtype = np.dtype(_TYPES[int(header["type"])])
    except (*damage(), MGHError, EOFError, zlib.error) as error:
        raise ReadError("the MGH header is damaged or cut short") from error
    check_size((columns, rows, slices), dtype.itemsize)
    layout = Layout((columns, rows, slices), frames, dtype, _DATA_AT)
    # What follows the voxels are FreeSurfer's tags.
    array, _ = load_pixels(path, layout, choose_time(selector, frames))
    spacing = tuple(float(step) for step in reversed(header["delta"]))
    return spatial_volume(array, affine, spacing if known else None, source_format="mgh", notes=[])
