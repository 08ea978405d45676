"""The size of a pixel of an image that has no place in the patient: radiographs, ultrasound, film."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_values import tag_floats, tag_value

_AT_DETECTOR = "spacing is measured at the detector: things in the patient are smaller"
_TISSUE, _CENTIMETRES = 1.0, 3.0
"""Region Spatial Format of a 2D image of tissue or flow, and Physical Units of lengths (PS3.3 C.8.5.5)."""
_MM_PER_CM = 10.0


def image_spacing(frame: Frame) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the height and width of a pixel in millimetres, None where the file does not say, and warnings."""
    imager = tag_floats(frame.file.header, "ImagerPixelSpacing", 2)
    regions, told = _of_regions(frame)
    if frame.spacing is not None:
        # Equal to Imager Pixel Spacing and not said to be calibrated: not corrected for magnification (PS3.3 10.7.1.3).
        raw = imager is not None and np.allclose(frame.spacing, imager, rtol=1e-4)
        at_detector = raw and not frame.file.text("PixelSpacingCalibrationType")
        return frame.spacing, ((_AT_DETECTOR,) if at_detector else ()) + _contradicted(frame.spacing, regions)
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePlanePixelSpacing"):
        found = tag_floats(frame.file.header, keyword, 2)
        if found is not None and min(found) > 1e-6:
            return (found[0], found[1]), (_AT_DETECTOR,)
    if regions is not None or told:
        return regions, told
    aspect = tag_floats(frame.file.header, "PixelAspectRatio", 2)
    if aspect is not None and min(aspect) > 0 and abs(aspect[0] / aspect[1] - 1) > 0.01:
        return None, (
            f"a pixel is not square (Pixel Aspect Ratio {aspect[0]:g}:{aspect[1]:g}, height to width): shapes in the array are "
            "stretched; declare spacing_mm if you know the size of a pixel",
        )
    return None, ()


def _of_regions(frame: Frame) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the scale that all 2D regions of an ultrasound image share, and a warning about it."""
    regions = tag_value(frame.file.header, "SequenceOfUltrasoundRegions") or ()
    if not len(regions):
        return None, ()
    found = [scale for region in regions if (scale := _scale(region)) is not None]
    if not found:
        return None, ("the ultrasound regions give no length per pixel: sizes in the patient cannot be told",)
    if not np.allclose(found, found[0], rtol=0.01):
        return None, (
            "the scales of the ultrasound regions differ, so that no one spacing holds: crop a region, or declare spacing_mm",
        )
    return found[0], (
        "spacing is that within the ultrasound region; next to it, in text and curves, it means nothing",
    )


def _scale(region: Dataset) -> tuple[float, float] | None:
    numbers = [
        tag_floats(region, keyword, 1)
        for keyword in (
            "RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection", "PhysicalDeltaX", "PhysicalDeltaY",
        )
    ]  # fmt: skip
    if any(number is None for number in numbers):
        return None
    kind, *units, across, down = (number[0] for number in numbers if number is not None)
    steps = abs(down) * _MM_PER_CM, abs(across) * _MM_PER_CM
    return steps if kind == _TISSUE and set(units) == {_CENTIMETRES} and min(steps) > 1e-6 else None


def _contradicted(spacing: tuple[float, float], regions: tuple[float, float] | None) -> tuple[str, ...]:
    if regions is None or np.allclose(spacing, regions, rtol=0.01):
        return ()
    said = f"{regions[0]:g} x {regions[1]:g} mm"
    return (f"the ultrasound regions say pixels of {said}, against the Pixel Spacing, which was taken",)
