"""How a checkpoint of Hugging Face prepares images, from its `preprocessor_config.json`; what ours cannot do is refused."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject

logger = logging.getLogger(__name__)
PIL_CODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
TOLERANCE = 1e-3
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of values in [0, 1]."""


def image_settings(theirs: JsonMapping) -> JsonObject:
    """Settings of `ImageProcessor` that make the same pixels.

    Raises:
        RecipeError: it makes images of changing sizes, or does what ours does not.
    """
    shape, fit, edge = _resizing(theirs)
    mean, std = normalisation(theirs)
    return {
        "size": shape,
        "fit": fit,
        "shortest_edge": edge,
        "interpolation": PIL_CODES[int(theirs.get("resample", 3))],
        "mean": mean,
        "std": std,
    }


def normalisation(theirs: JsonMapping) -> Normalisation:
    """Mean and std that do in one step what a checkpoint does in several: scale, shift, normalise, or leave one of them out."""
    scale = 255 * theirs.get("rescale_factor", 1 / 255) if theirs.get("do_rescale", True) else 255
    shift = 1 if theirs.get("rescale_offset") else 0
    mean, std = theirs.get("image_mean") or [0.0] * 3, theirs.get("image_std") or [1.0] * 3
    if not theirs.get("do_normalize", True):
        mean, std = [0.0] * len(mean), [1.0] * len(std)
    elif theirs.get("include_top"):  # EfficientNet divides once more
        std = [value * value for value in std]
    return tuple((value + shift) / scale for value in mean), tuple(value / scale for value in std)


def _resizing(theirs: JsonMapping) -> tuple[tuple[int, int], str, int | None]:
    """Height and width of the pixels, `fit`, and the shortest edge before a crop."""
    unknown = {
        "do_resize: false": not theirs.get("do_resize", True),
        "do_pad: true": bool(theirs.get("do_pad")),
        "crop_pct": theirs.get("crop_pct") is not None,
    }
    if refused := [name for name, found in unknown.items() if found]:
        raise RecipeError(
            f"image processor: the checkpoint's images are made with {', '.join(refused)}, which ours does not do: the model "
            "would see other pixels than it was taught with."
        )
    size = theirs["size"]
    crop = theirs["crop_size"] if theirs.get("do_center_crop") else None
    if crop is None:
        size = {"height": size, "width": size} if isinstance(size, int) else size
        if not {"height", "width"} <= set(size):
            raise RecipeError(
                f"image processor: a checkpoint that resizes to {dict(size)} and does not crop makes changing sizes; "
                "give size and fit yourself."
            )
        return (size["height"], size["width"]), "squash", None
    shape = (crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"])
    edge = size if isinstance(size, int) else size.get("shortest_edge")
    if edge is not None:
        return shape, "crop", edge
    if (size["height"], size["width"]) != shape:
        raise RecipeError(
            f"image processor: a checkpoint that changes the aspect ratio to {dict(size)} and then cuts out {shape} is not "
            "supported: the model would see other pixels than it was taught with."
        )
    return shape, "squash", None


def saved_image_processor(path: str | os.PathLike[str]) -> JsonObject | None:
    """Settings of the image processor in a folder or hub id of Hugging Face; None where it says nothing of images."""
    from transformers.utils.hub import cached_file

    for name, key in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        file = cached_file(
            path,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        found: JsonObject = json.loads(Path(file).read_text("utf-8")) if file else {}
        settings: JsonObject | None = found.get(key) if key else found
        if settings:
            return settings
    return None


def warn_of_other_normalisation(path: str, ours: Normalisation) -> None:
    """Warn where an image encoder is given pixels of another brightness than it was trained with."""
    saved = saved_image_processor(path) or {}
    if "image_mean" not in saved:
        return
    theirs = normalisation(saved)
    wide = [
        [*values] * (len(known) if len(values) == 1 else 1)
        for values, known in zip(ours, theirs, strict=True)
    ]
    pairs = [
        pair for values, known in zip(wide, theirs, strict=True) for pair in zip(values, known, strict=True)
    ]
    if any(abs(value - known) > TOLERANCE for value, known in pairs):
        mean, std = ([round(value, 4) for value in values] for values in theirs)
        logger.warning(
            "image_encoder: the encoder in %s was trained with pixels of mean %s and std %s, and image_processor says mean %s "
            "and std %s; set its channels to %d, and its mean and std to those of the encoder",
            path,
            mean,
            std,
            [*ours[0]],
            [*ours[1]],
            len(mean),
        )
