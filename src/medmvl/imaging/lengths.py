"""Units of length as file formats spell them, in millimetres: a unit is converted, or refused by name; it is never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.errors import ReadError

MILLIMETRES: dict[str, float] = {
    "nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "mum": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3,
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0,
    "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0,
    "dm": 100.0, "decimeter": 100.0, "decimetre": 100.0,
    "m": 1000.0, "meter": 1000.0, "metre": 1000.0,
    "in": 25.4, "inch": 25.4, "inche": 25.4, '"': 25.4,
}  # fmt: skip
"""Millimetres per unit, by names in lower case and without a plural s. The micro sign has two code points."""
UNSAID = ("", "?", "??", "???", "unknown", "none", "n/a")
_LARGEST_VOXEL, _SMALLEST_VOXEL = 100.0, 5e-4
_ADVICE = "if the unit of length is another, write it into the file or convert it"


def millimetres_per(unit: str, where: str) -> float:
    """Return how many millimetres one `unit` is; what does not say (`""`, `"?"`) counts as millimetres.

    Args:
        unit: as the file spells it, in any case; a plural s is allowed.
        where: name of the field, for the error.

    Raises:
        ReadError: naming the unit and the known ones.
    """
    said = unit.strip().strip('"').strip().lower()
    if said in UNSAID:
        return 1.0
    for name in (said, said.removesuffix("s")):
        if name in MILLIMETRES:
            return MILLIMETRES[name]
    raise ReadError(
        f"{where} says lengths are in {unit.strip()[:40]!r}, which is no unit known here; expected nm, um, mm, cm, m or "
        "inch: correct the header, or convert the file to millimetres"
    )


def implausible_voxels(spacing_mm: Sequence[float] | None) -> list[str]:
    """Return a warning where voxels are so large or small that the file's unit of length is likely another one."""
    known = [step for step in spacing_mm or () if step > 0]
    if not known or (max(known) <= _LARGEST_VOXEL and min(known) >= _SMALLEST_VOXEL):
        return []
    said = " x ".join(f"{step:g}" for step in spacing_mm or ())
    return [f"voxels of {said} mm are implausible: {_ADVICE}"]
