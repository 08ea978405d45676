"""Shifted images: what is left of a score when noise, resolution, window or slice count are not as in training.

Each shift is one line in `SHIFTS`. A shift is mild on purpose: what a reader of the image would hardly mind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.datasets.loader import ImageLoader
from medmvl.errors import UserError
from medmvl.evaluation.results import Judged
from medmvl.evaluation.statistics import difference_interval, mean_interval
from medmvl.imaging import MedicalImage
from medmvl.imaging.resampling import resize
from medmvl.json_types import JsonObject
from medmvl.schema import Sample, VisualBlock, VolumeBlock
from medmvl.tasks import Group, Task

NOISE_HU, NOISE_SHARE = 50.0, 0.05
"""Standard deviation of the noise: in Hounsfield units, and elsewhere as a share of the image's range."""
WINDOW_HU, WINDOW_SHARE = 100.0, 0.1
"""How much brighter everything becomes, as if the window lay so much lower."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shift:
    """One way in which an image differs from what was trained on."""

    apply: Callable[[MedicalImage, np.random.Generator], MedicalImage]
    volumes_only: bool = False

    def concerns(self, sample: Sample) -> bool:
        """Whether something in the sample changes."""
        return any(isinstance(block, VolumeBlock) or not self.volumes_only for block in sample.visuals)


def add_noise(image: MedicalImage, rng: np.random.Generator) -> MedicalImage:
    """Add Gaussian noise."""
    deviation = NOISE_HU if image.units == "HU" else NOISE_SHARE * _range(image)
    return _with_values(
        image, image.array + deviation * rng.standard_normal(image.array.shape, dtype=np.float32)
    )


def halve_resolution(image: MedicalImage, rng: np.random.Generator) -> MedicalImage:
    """Average pairs of pixels in both directions of the plane and enlarge again; the grid stays."""
    array = image.array if image.kind == "volume" else np.moveaxis(np.atleast_3d(image.array), 2, 0)
    depth, height, width = array.shape
    small, _ = resize(array, (depth, max(1, height // 2), max(1, width // 2)))
    back, _ = resize(small, (depth, height, width))
    return _with_values(
        image, back if image.kind == "volume" else np.moveaxis(back, 0, 2).reshape(image.shape)
    )


def move_window(image: MedicalImage, rng: np.random.Generator) -> MedicalImage:
    """Make everything brighter, as if the window lay lower."""
    step = WINDOW_HU if image.units == "HU" else WINDOW_SHARE * _range(image)
    return _with_values(image, image.array.astype(np.float32) + np.float32(step))


def drop_slices(image: MedicalImage, rng: np.random.Generator) -> MedicalImage:
    """Keep every second slice of a volume, in the plane it was made in; an image stays as it is."""
    if image.kind != "volume":
        return image
    stored = image.acquired_axcodes or image.axcodes or ("S",)
    axis = next(i for i, pair in enumerate(("SI", "PA", "LR")) if stored[0] in pair)
    if image.shape[axis] < 2:
        return image
    every = tuple(slice(None, None, 2) if i == axis else slice(None) for i in range(3))
    scale = np.diag([2.0 if i == axis else 1.0 for i in range(3)] + [1.0])
    positions, spacing = image.slice_positions_mm, image.spacing_mm
    return image.with_array(
        np.ascontiguousarray(image.array[every]),
        affine=None if image.affine is None else image.affine @ scale,
        spacing_mm=None
        if spacing is None
        else tuple(2 * s if i == axis else s for i, s in enumerate(spacing)),
        slice_positions_mm=None if positions is None else positions[::2],
    )


SHIFTS: dict[str, Shift] = {
    "noise": Shift(add_noise),
    "resolution": Shift(halve_resolution),
    "window": Shift(move_window),
    "slices": Shift(drop_slices, volumes_only=True),
}


def check_shifts(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of them known.

    Raises:
        UserError: listing the known ones.
    """
    unknown = [name for name in names if name not in SHIFTS]
    if unknown:
        raise UserError(f"--robustness {', '.join(unknown)}: not known; known: {', '.join(SHIFTS)}")
    return tuple(dict.fromkeys(names))


def shifted(load: ImageLoader, name: str, seed: int = 0) -> ImageLoader:
    """A `load` whose images are shifted; the noise of a file is always the same."""

    def load_shifted(block: VisualBlock) -> MedicalImage:
        digest = hashlib.sha256(f"{seed} {name} {block.path}".encode()).digest()
        return SHIFTS[name].apply(load(block), np.random.default_rng(int.from_bytes(digest[:8])))

    return load_shifted


def robustness_rows(
    task: Task, judged: Sequence[Judged], shifts: Mapping[str, Mapping[str, str]], seed: int
) -> list[JsonObject]:
    """For every shift and group: the score with shifted images, and how it changed, paired by answer.

    Args:
        task: judges the answers.
        judged: the answers about the images as they are.
        shifts: answers by sample, for each shift.
        seed: seed for the bootstrap.
    """
    samples = {sample.id: sample for sample in task.samples}
    groups: dict[tuple[str, Group, str], list[tuple[float, Judged]]] = {}
    for name, texts in shifts.items():
        for item in judged:
            if item.id in texts:
                score = task.judge(samples[item.id], texts[item.id]).score
                groups.setdefault((name, item.group, item.judgement.metric), []).append((score, item))
    rows = []
    for (name, group, metric), pairs in groups.items():
        scores, before = [score for score, _ in pairs], [item.judgement.score for _, item in pairs]
        clusters = [item.cluster for _, item in pairs]
        change = difference_interval(scores, before, clusters, seed=seed)
        score_interval = mean_interval(scores, clusters, seed=seed)
        about = {"shift": name, **group.__dict__, "metric": metric}
        rows.append({**about, "score": score_interval.to_json(), "change": change.to_json()})
    return rows


def _range(image: MedicalImage) -> float:
    """From dark to bright: 255 of images in 8 bits, else what all but the outermost half percents span."""
    if image.units == "display":
        return 255.0
    low, high = np.percentile(image.array, (0.5, 99.5))
    return float(high - low)


def _with_values(image: MedicalImage, values: NDArray[Any]) -> MedicalImage:
    """The image with other values: of images in 8 bits whole numbers from 0 to 255, else single precision."""
    if image.units == "display":
        return image.with_array(np.clip(np.rint(values), 0, 255).astype(image.array.dtype))
    return image.with_array(values.astype(np.float32))
