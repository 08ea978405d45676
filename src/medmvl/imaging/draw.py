"""Images for people: three planes of a volume, one slice, boxes on them, sides marked. Never what a model sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medmvl.imaging.geometry import OPPOSITE
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import WINDOWS, apply_window, percentile_scale, range_scale, to_unit_range

PANEL = 384
"""Side in pixels of the square a plane is fitted into."""
_COLOURS = ((255, 196, 0), (0, 200, 255), (255, 90, 90), (120, 230, 120))
_PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""The canonical axis that is cut, then the axes shown as rows and columns."""

Window = str | tuple[float, float] | None


def preview(image: MedicalImage, window: Window = None) -> Image.Image:
    """Draw the middle axial, coronal and sagittal plane of a volume side by side, or the image; marked and named."""
    if image.kind == "image":
        return _captioned(
            _fitted(_grey(image, window), image.spacing_mm, image.axcodes), _caption(image, window)
        )
    grey, caption = _grey(image, window), _caption(image, window)
    if image.axcodes is None:
        return _captioned(
            _fitted(grey[len(grey) // 2], (image.spacing_mm or (1.0, 1.0, 1.0))[1:], None), caption
        )
    panels = [_plane(grey, image, name) for name in _PLANES]
    return _captioned(_beside(panels), caption)


def slice_image(
    image: MedicalImage, index: int = 0, boxes: Sequence[Sequence[float]] = (), window: Window = None
) -> Image.Image:
    """Draw one axial slice, or the image of a 2D image, at one pixel per voxel, with boxes.

    Args:
        image: any image.
        index: the slice of a volume.
        boxes: half-open, in array order: `y0,x0,y1,x1`, or `z0,y0,x0,z1,y1,x1`, drawn where the slice lies
            inside.
        window: for Hounsfield units.
    """
    grey = _grey(image, window)
    drawn = Image.fromarray(grey if image.kind == "image" else grey[index]).convert("RGB")
    pen = ImageDraw.Draw(drawn)
    for number, box in enumerate(boxes):
        if len(box) == 6 and not box[0] <= index < box[3]:
            continue
        y0, x0, y1, x1 = box if len(box) == 4 else (box[1], box[2], box[4], box[5])
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=_COLOURS[number % len(_COLOURS)])
    return drawn


def _window_for(image: MedicalImage, window: Window) -> Window:
    """Return the window asked for; Hounsfield units without one are drawn in the mediastinal window."""
    return "mediastinum" if window is None and image.units == "HU" else window


def _grey(image: MedicalImage, window: Window) -> NDArray[np.uint8]:
    chosen = _window_for(image, window)
    if image.units == "arbitrary" and chosen is None:
        values = range_scale(image.array) if image.kind == "image" else _volume_grey(image.array)
    else:
        values = to_unit_range(image, chosen)
    return (values * 255 + 0.5).astype(np.uint8)


def _volume_grey(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return foreground percentiles for MR-like values; for those that span air to bone, a wide window."""
    if array.min() <= -900:
        return apply_window(array, WINDOWS["full"])
    return percentile_scale(array)


def _plane(grey: NDArray[np.uint8], image: MedicalImage, name: str) -> Image.Image:
    assert image.axcodes is not None and image.spacing_mm is not None
    cut, row, column = _PLANES[name]
    plane = np.take(grey, grey.shape[cut] // 2, axis=cut)
    codes = [image.axcodes[row], image.axcodes[column]]
    if codes[0] == "S":
        plane, codes[0] = plane[::-1], "I"
    return _fitted(plane, (image.spacing_mm[row], image.spacing_mm[column]), tuple(codes), side=PANEL)


def _fitted(
    plane: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    codes: Sequence[str] | None,
    side: int | None = None,
) -> Image.Image:
    """Scale a plane to its true proportions, centre it in a square panel (an image: its own shape), mark the sides."""
    step = spacing or (1.0, 1.0)
    height, width = plane.shape[0] * step[0], plane.shape[1] * step[1]
    scale = (side or 2 * PANEL) / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrinking = size[0] < plane.shape[1]
    drawn = Image.fromarray(np.ascontiguousarray(plane)).convert("RGB")
    drawn = drawn.resize(size, Image.Resampling.BOX if shrinking else Image.Resampling.BILINEAR)
    if side is not None:
        panel = Image.new("RGB", (side, side))
        panel.paste(drawn, ((side - size[0]) // 2, (side - size[1]) // 2))
        drawn = panel
    if codes is not None:
        _mark(drawn, codes)
    return drawn


def _mark(drawn: Image.Image, codes: Sequence[str]) -> None:
    """Write the body direction each edge looks to."""
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(16)
    width, height = drawn.size
    down, right = codes
    places = {
        "lm": (OPPOSITE[right], (6, height / 2)),
        "rm": (right, (width - 6, height / 2)),
        "ma": (OPPOSITE[down], (width / 2, 4)),
        "md": (down, (width / 2, height - 4)),
    }
    for anchor, (text, place) in places.items():
        pen.text(
            place, text, fill=_COLOURS[0], font=font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
        )


def _beside(panels: Sequence[Image.Image]) -> Image.Image:
    gap = 4
    width = sum(drawn.width for drawn in panels) + gap * (len(panels) - 1)
    joined = Image.new("RGB", (width, max(drawn.height for drawn in panels)), (40, 40, 40))
    left = 0
    for drawn in panels:
        joined.paste(drawn, (left, 0))
        left += drawn.width + gap
    return joined


def _caption(image: MedicalImage, window: Window) -> str:
    size = " x ".join(map(str, image.shape))
    spacing = "" if image.spacing_mm is None else f", {' x '.join(f'{s:.3g}' for s in image.spacing_mm)} mm"
    chosen = _window_for(image, window)
    shown = ""
    if chosen is not None:
        centre, width = WINDOWS[chosen] if isinstance(chosen, str) else chosen
        shown = f", window {chosen + ' ' if isinstance(chosen, str) else ''}{centre:g}/{width:g}"
    unknown = "" if image.axcodes is not None else ", orientation unknown"
    return f"{image.modality or 'modality unknown'}, {size}{spacing}, {image.units}{shown}{unknown}"


def _captioned(drawn: Image.Image, text: str) -> Image.Image:
    font = ImageFont.load_default(14)
    width = max(drawn.width, int(font.getlength(text)) + 16)
    framed = Image.new("RGB", (width, drawn.height + 24), (40, 40, 40))
    framed.paste(drawn, ((width - drawn.width) // 2, 0))
    ImageDraw.Draw(framed).text((8, drawn.height + 4), text, fill=(220, 220, 220), font=font)
    return framed
