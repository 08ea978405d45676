"""A NIfTI copy whose header says what the table next to it says: slope, intercept and spacing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medmvl.errors import ReadError

AS_SAVED = "volumes whose header and table differ in spacing: the table's was taken, as this release's headers are defaults"
UNTOLD = "volumes whose spacing is in no table: that of the header was taken"
_SAME = 0.01


def write_in_hounsfield(
    source: Path,
    target: Path,
    slope: float,
    intercept: float,
    spacing_mm: tuple[float, float, float] | None = None,
) -> str | None:
    """Copy a volume of stored values with the rescaling and the spacing of a table in its header.

    A header that rescales already keeps its slope; directions stay, as no table says them.

    Args:
        source: the volume as published.
        target: the copy.
        slope: slope in the table.
        intercept: intercept in the table.
        spacing_mm: columns, rows and slices by the table, or None where it does not say.

    Returns:
        A note about the copy, or None.

    Raises:
        ReadError: where the file cannot be read, or nothing says its spacing: a header of 1 x 1 x 1 mm is what saving
            writes by default.
    """
    import nibabel as nib  # takes most of a second to import
    from nibabel.filebasedimages import ImageFileError

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        image = nib.load(source)
        stored = np.asanyarray(image.dataobj.get_unscaled())
        said = (float(image.dataobj.slope), float(image.dataobj.inter))
        steps = np.linalg.norm(np.asarray(image.affine, dtype=np.float64)[:3, :3], axis=0)
    except (OSError, EOFError, ValueError, AttributeError, ImageFileError) as error:
        raise ReadError(f"{source.name} is not a readable NIfTI volume ({error})") from None
    if spacing_mm is None and np.allclose(steps, 1, rtol=_SAME):
        raise ReadError(
            f"nothing says the spacing of {source.name}: the table has none, and its header has the default of 1 mm"
        )
    affine = np.array(image.affine, dtype=np.float64)
    if spacing_mm is not None:
        affine[:3, :3] *= np.asarray(spacing_mm) / steps
    copy = nib.Nifti1Image(stored, affine, image.header)
    copy.set_sform(affine, code=1)
    copy.set_qform(affine, code=1)
    copy.header.set_xyzt_units("mm")
    copy.header.set_slope_inter(*(said if said != (1.0, 0.0) else (slope, intercept)))
    nib.save(copy, target)
    if spacing_mm is None:
        return UNTOLD
    return None if np.allclose(steps, spacing_mm, rtol=_SAME) else AS_SAVED
