"""Images and volumes in any form, as blocks of a question: paths stay paths, pixels in memory get a name of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.in_memory import Visual, as_medical_image
from medmvl.schema import ImageBlock, VisualBlock, VolumeBlock


def question_blocks(
    images: Visual | Sequence[Visual],
    volumes: Visual | Sequence[Visual],
    priors: Mapping[str, int],
    declared: Mapping[str, str | None],
) -> tuple[list[VisualBlock], dict[VisualBlock, MedicalImage]]:
    """Blocks of a question, and the pixels of those that are in memory.

    Args:
        images: one 2D image or several.
        volumes: one 3D volume or several.
        priors: earlier studies: path to days by which it is older; volumes where volumes are given.
        declared: `units` and `modality` of all of them, None where nothing is declared.

    Raises:
        UserError: something is no image, or has the wrong number of axes.
    """
    known = {name: value for name, value in declared.items() if value is not None}
    given = [("image", item) for item in _several(images)] + [("volume", item) for item in _several(volumes)]
    blocks: list[VisualBlock] = []
    memory: dict[VisualBlock, MedicalImage] = {}
    for kind, item in given:
        if isinstance(item, str | os.PathLike):
            blocks.append(_block(kind, os.fspath(item), **known))
            continue
        image = as_medical_image(item, **known)
        if image.kind != kind:
            raise UserError(
                f"ask: {kind}s holds an {image.kind} of shape {image.shape}; give it as {image.kind}s."
                if image.kind == "image"
                else f"ask: {kind}s holds a volume of shape {image.shape}; give it as volumes."
            )
        block = _block(kind, f"memory:{len(memory)}")
        blocks.append(block)
        memory[block] = image
    kind = "volume" if any(kind == "volume" for kind, _ in given) else "image"
    blocks += [_block(kind, path, days_before_current=days, **known) for path, days in priors.items()]
    return blocks, memory


def _several(given: Visual | Sequence[Visual]) -> list[Visual]:
    return list(given) if isinstance(given, list | tuple) else [cast(Visual, given)]


def _block(kind: str, path: str, **more: Any) -> VisualBlock:
    if kind == "image":
        return ImageBlock(image=path, **more)
    return VolumeBlock(volume=path, **more)
