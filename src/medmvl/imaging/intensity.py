"""What values mean and how they become [0, 1]: named windows for Hounsfield units, percentiles for MR, ranges for the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging.image import MedicalImage

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
    "abdomen": (50.0, 400.0),
    "full": (0.0, 2000.0),
}
"""Centre and width in Hounsfield units."""
PADDING_HU = -1024.0
PERCENTILES = (0.5, 99.5)


def window_of(window: str | tuple[float, float]) -> tuple[float, float]:
    """Return centre and width of a named window, or the numbers themselves.

    Raises:
        UserError: for an unknown name or a width that is not positive.
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise UserError(
                f"there is no window {window!r}; known are {', '.join(WINDOWS)}, or give (centre, width)"
            )
        return WINDOWS[window]
    centre, width = float(window[0]), float(window[1])
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        raise UserError(f"window ({centre}, {width}): expected a centre and a positive width")
    return centre, width


def padding_value(image: MedicalImage) -> float:
    """Return the value of what lies outside the scan: -1024 HU, or the smallest value where units are not HU."""
    return PADDING_HU if image.units == "HU" else float(image.array.min())


def apply_window(array: NDArray[Any], window: str | tuple[float, float]) -> NDArray[np.float32]:
    """Map centre - width/2 to 0 and centre + width/2 to 1, clipped; any shape."""
    centre, width = window_of(window)
    return _to_unit(array, centre - width / 2, centre + width / 2)


def percentile_scale(array: NDArray[Any]) -> NDArray[np.float32]:
    """Map the 0.5 and 99.5 percentile of the foreground to 0 and 1, clipped: for MR, per volume.

    Foreground is what lies above half of Otsu's threshold of the whole volume: air, which fills much of an MR, would
    otherwise set the lower end, and the full threshold would take dark tissue for air.
    """
    lowest = float(array.min())
    foreground = array[array > lowest + (otsu_threshold(array) - lowest) / 2]
    if not foreground.size:
        return np.zeros(array.shape, np.float32)
    low, high = np.percentile(foreground, PERCENTILES)
    return _to_unit(array, float(low), float(high))


def otsu_threshold(array: NDArray[Any]) -> float:
    """Return the value that best divides a volume into background and foreground (Otsu 1979), from 256 bins.

    The bins end at the 99.9 percentile, so that a few bright voxels do not squeeze everything else into one
    of them.
    """
    sample = array.reshape(-1)[:: max(1, array.size // 2**20)].astype(np.float32)
    low, high = float(sample.min()), float(np.percentile(sample, 99.9))
    if high <= low:
        return low
    counts, edges = np.histogram(np.minimum(sample, high), bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    mass = np.cumsum(counts * centres)
    above = np.maximum(total - below, 1)
    between = below * above * (mass / np.maximum(below, 1) - (mass[-1] - mass) / above) ** 2
    return float(edges[int(np.argmax(between[:-1])) + 1])


def range_scale(array: NDArray[Any]) -> NDArray[np.float32]:
    """Map the 0.5 and 99.5 percentile of all pixels to 0 and 1, clipped: for 16-bit radiographs and other images."""
    sample = array.reshape(-1)[:: max(1, array.size // 2**22)]
    low, high = np.percentile(sample, PERCENTILES)
    return _to_unit(array, float(low), float(high))


def to_unit_range(
    image: MedicalImage, window: str | tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Return the pixels in [0, 1] the way their units ask for.

    Args:
        image: any image.
        window: for Hounsfield units, a name of `WINDOWS` or (centre, width).

    Raises:
        UserError: for a window on what is not in HU, or HU without a window.
    """
    if window is not None and image.units != "HU":
        name = window if isinstance(window, str) else f"{window[0]:g}/{window[1]:g}"
        raise UserError(
            f"the window {name} is in Hounsfield units, but the image's units are {image.units!r} "
            f"(modality {image.modality or 'unknown'}); if they are Hounsfield units, declare units=HU"
        )
    if image.units == "HU":
        if window is None:
            raise UserError(
                f"Hounsfield units need a window; choose one of {', '.join(WINDOWS)}, or give (centre, width)"
            )
        return apply_window(image.array, window)
    if image.units == "display" and image.array.dtype == np.uint8:
        return image.array.astype(np.float32) / np.float32(255)
    return (
        percentile_scale(image.array)
        if image.kind == "volume" or image.modality == "MR"
        else range_scale(image.array)
    )


def _to_unit(array: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    if high <= low:
        return (array > low).astype(np.float32)
    values = array.astype(np.float32)
    values -= np.float32(low)
    values *= np.float32(1 / (high - low))
    return np.clip(values, 0, 1, out=values)
