"""From a patient to pixels: CT in Hounsfield units on any grid, X-ray by projecting the same chest.

Drawn in slabs of slices, so memory stays bounded however large the scan. Boxes and volumes are measured
from what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging.image import CANONICAL_IMAGE_AXES, CANONICAL_VOLUME_AXES, MedicalImage
from medmvl.phantoms.anatomy import draw_anatomy
from medmvl.phantoms.canvas import Canvas, Float, Mask, Region
from medmvl.phantoms.findings import FINDINGS, Finding
from medmvl.phantoms.patient import Patient
from medmvl.phantoms.presets import HALF_HEIGHT_MM, HALF_WIDTH_MM

MU_WATER_PER_MM = 0.0195
"""Linear attenuation of water near 70 keV (NIST XCOM)."""
XRAY_PHOTONS = 40_000.0
"""Photons per pixel in air; sets the noise of the X-ray."""
XRAY_SCALE = 8192.0
"""Stored value = attenuation (natural logarithm) times this, 16 bits."""
SLAB_VOXELS = 4_000_000
_Projection = Callable[[tuple[int, ...], tuple[int, ...]], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class DrawnFinding:
    """A finding as it appears in one image, measured from the drawn voxels."""

    finding: Finding
    box: tuple[int, ...]
    """Half-open, canonical voxels: `(z0, y0, x0, z1, y1, x1)` in CT, `(y0, x0, y1, x1)` in the X-ray."""
    volume_ml: float
    """Volume of the voxels drawn for it; a finding drawn later may cover some of them."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """An image with the ground truth of what is in it."""

    image: MedicalImage
    findings: tuple[DrawnFinding, ...]


def render_ct(patient: Patient, shape: tuple[int, int, int] | None = None) -> MedicalImage:
    """Render the CT of a patient: int16 HU `(D, H, W)`, modality CT; the field of view is fixed."""
    return draw_ct(patient, shape).image


def render_xray(patient: Patient, shape: tuple[int, int] | None = None) -> MedicalImage:
    """Render the frontal (PA) chest X-ray: uint16 `(H, W)`, bright is dense, units arbitrary, modality DX."""
    return draw_xray(patient, shape).image


def render_prior(patient: Patient, shape: tuple[int, int, int] | None = None) -> MedicalImage | None:
    """Render the prior CT, or None for a patient without one."""
    earlier = patient.at_prior()
    return None if earlier is None else render_ct(earlier, shape)


def draw_ct(patient: Patient, shape: tuple[int, int, int] | None = None) -> Rendering:
    """Render the CT together with the measured findings."""
    depth, height, width = _checked(shape or patient.preset.ct_shape)
    axes = (
        _centres(depth, HALF_HEIGHT_MM), _centres(height, HALF_WIDTH_MM), _centres(width, HALF_WIDTH_MM),
    )  # fmt: skip
    spacing = (2 * HALF_HEIGHT_MM / depth, 2 * HALF_WIDTH_MM / height, 2 * HALF_WIDTH_MM / width)
    array = np.empty((depth, height, width), np.int16)
    noise = patient.stream("ct-noise")
    extents = _Extents(patient)
    for start, canvas in _slabs(patient, axes, extents, table=True):
        canvas.hu += noise.standard_normal(canvas.hu.shape, np.float32) * np.float32(patient.anatomy.noise_hu)
        np.rint(np.clip(canvas.hu, -1024, 3071, out=canvas.hu), out=canvas.hu)
        array[start : start + len(canvas.z)] = canvas.hu
    image = MedicalImage(
        array=array,
        kind="volume",
        units="HU",
        source_format="phantom",
        affine=_affine(((2, 0, axes[0], 1), (1, 1, axes[1], -1), (0, 2, axes[2], -1))),
        axcodes=CANONICAL_VOLUME_AXES,
        acquired_axcodes=CANONICAL_VOLUME_AXES,
        spacing_mm=spacing,
        modality="CT",
    )
    return Rendering(
        image, extents.measured(spacing[0] * spacing[1] * spacing[2] / 1000, lambda low, high: (*low, *high))
    )


def draw_xray(patient: Patient, shape: tuple[int, int] | None = None) -> Rendering:
    """Render the X-ray together with the boxes of the projected findings.

    Beer-Lambert: the line integral of mu = max(0, mu_water (1 + HU / 1000)) along parallel rays.
    """
    height, width = _checked(shape or patient.preset.xray_shape)
    finer = max(1, round(max(2 * HALF_HEIGHT_MM / height, 2 * HALF_WIDTH_MM / width) / 3))
    depth_step = min(max(2 * HALF_WIDTH_MM / width, 2.0), 4.0)
    axes = (
        _centres(height * finer, HALF_HEIGHT_MM),
        np.arange(-132 + depth_step / 2, 132, depth_step, dtype=np.float32),
        _centres(width * finer, HALF_WIDTH_MM),
    )
    integral = np.empty((height * finer, width * finer), np.float32)
    extents = _Extents(patient)
    for start, canvas in _slabs(patient, axes, extents, table=False):
        attenuation = np.maximum(canvas.hu + 1000, 0, out=canvas.hu)
        integral[start : start + len(canvas.z)] = attenuation.sum(axis=1)
    integral *= np.float32(MU_WATER_PER_MM / 1000 * depth_step)
    pixels = _expose(integral, finer, patient.stream("xray-noise"))
    rows, columns = _centres(height, HALF_HEIGHT_MM), _centres(width, HALF_WIDTH_MM)
    image = MedicalImage(
        array=np.ascontiguousarray(pixels[::-1]),
        kind="image",
        units="arbitrary",
        source_format="phantom",
        affine=_affine(((2, 1, -rows, 1), (0, 2, columns, -1))),
        axcodes=CANONICAL_IMAGE_AXES,
        acquired_axcodes=CANONICAL_IMAGE_AXES,
        spacing_mm=(2 * HALF_HEIGHT_MM / height, 2 * HALF_WIDTH_MM / width),
        modality="DX",
    )

    def project(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[int, ...]:
        return height + high[0] // -finer, low[2] // finer, height - low[0] // finer, -(high[2] // -finer)

    cell = 4 * HALF_HEIGHT_MM * HALF_WIDTH_MM / (height * width * finer**2) * depth_step / 1000
    return Rendering(image, extents.measured(cell, project))


def _checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    if min(shape) < 4:
        raise UserError(
            f"a phantom of shape {'x'.join(map(str, shape))} is too small; expected 4 or more per axis"
        )
    return shape


def _centres(count: int, half_mm: float) -> Float:
    """Voxel centres of `count` voxels that fill `-half_mm` to `half_mm`."""
    return ((np.arange(count) + 0.5) * (2 * half_mm / count) - half_mm).astype(np.float32)


def _affine(axes: tuple[tuple[int, int, Float, int], ...]) -> NDArray[np.float64]:
    """Build a 4x4 from (RAS row, array axis, coordinates, sign) of each array axis."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for row, column, coordinates, sign in axes:
        step = (float(coordinates[-1]) - float(coordinates[0])) / (len(coordinates) - 1)
        affine[row, column] = sign * step
        affine[row, 3] = sign * float(coordinates[0])
    return affine


def _expose(integral: Float, finer: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Average rays into pixels, add photon noise, take the logarithm, store 16 bits."""
    height, width = integral.shape[0] // finer, integral.shape[1] // finer
    photons = np.exp(-integral).reshape(height, finer, width, finer).mean(axis=(1, 3)) * np.float32(
        XRAY_PHOTONS
    )
    photons += np.sqrt(photons) * rng.standard_normal(photons.shape, np.float32)
    attenuation = -np.log(np.maximum(photons, 1) / np.float32(XRAY_PHOTONS))
    return np.asarray(np.rint(np.clip(attenuation * np.float32(XRAY_SCALE), 0, 65535)), np.uint16)


def _slabs(
    patient: Patient, axes: tuple[Float, Float, Float], extents: _Extents, *, table: bool
) -> Iterator[tuple[int, Canvas]]:
    """Draw the chest slab by slab from the bottom; yield (first slice, canvas)."""
    z, y, x = axes
    slices = max(1, SLAB_VOXELS // (len(y) * len(x)))
    for start in range(0, len(z), slices):
        canvas = Canvas(z[start : start + slices], y, x, float(z[1] - z[0]))
        regions = draw_anatomy(patient.anatomy, canvas, table=table)
        for finding in patient.findings:
            for region in FINDINGS[finding.finding_type].draw(finding, patient.anatomy, canvas, regions):
                extents.add(finding, region, start)
        yield start, canvas


class _Extents:
    """Bounding boxes and voxel counts of the findings, gathered over slabs."""

    def __init__(self, patient: Patient) -> None:
        self.findings = patient.findings
        self.bounds: dict[str, tuple[list[int], list[int]]] = {}
        self.voxels: dict[str, int] = {}

    def add(self, finding: Finding, region: Region, first_slice: int) -> None:
        """Take in a region of a slab that starts at `first_slice`."""
        count = int(np.count_nonzero(region.mask))
        if count == 0:
            return
        self.voxels[finding.finding_type] = self.voxels.get(finding.finding_type, 0) + count
        low, high = self.bounds.setdefault(finding.finding_type, ([1 << 30] * 3, [0] * 3))
        in_plane = np.asarray(region.mask.any(axis=0))
        profiles: tuple[Mask, Mask, Mask] = (
            np.asarray(region.mask.any(axis=(1, 2))),
            np.asarray(in_plane.any(axis=1)),
            np.asarray(in_plane.any(axis=0)),
        )  # fmt: skip
        for axis, (profile, window) in enumerate(zip(profiles, region.window, strict=True)):
            offset = window.start + (first_slice if axis == 0 else 0)
            hits = np.flatnonzero(profile)
            low[axis] = min(low[axis], int(hits[0]) + offset)
            high[axis] = max(high[axis], int(hits[-1]) + 1 + offset)

    def measured(self, cell_ml: float, project: _Projection) -> tuple[DrawnFinding, ...]:
        """Return the findings that were drawn, with boxes through `project`."""
        return tuple(
            DrawnFinding(
                f,
                project(*(tuple(b) for b in self.bounds[f.finding_type])),
                self.voxels[f.finding_type] * cell_ml,
            )
            for f in self.findings
            if f.finding_type in self.bounds
        )
