"""A NIfTI copy whose header says what the table beside it says: the slope and intercept of Hounsfield units."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from medmvl.errors import ReadError


def write_in_hounsfield(source: Path, target: Path, slope: float, intercept: float) -> None:
    """Copy a volume of stored values with the rescaling in its header; orientation and spacing stay.

    A header that rescales already is left as it is.

    Raises:
        ReadError: where the file cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        image = nib.load(source)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        said = (float(image.dataobj.slope), float(image.dataobj.inter))
    except (OSError, EOFError, ValueError, AttributeError, ImageFileError) as error:
        raise ReadError(f"{source.name} is not a readable NIfTI volume ({error})") from None
    copy = nib.Nifti1Image(stored, image.affine, image.header)
    copy.header.set_slope_inter(*(said if said != (1.0, 0.0) else (slope, intercept)))
    nib.save(copy, target)
