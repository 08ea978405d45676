"""The healthy thorax: an analytic chest, different in each patient, drawn in Hounsfield units.

Lengths are millimetres; coordinates as in `canvas.py`. Numbers are those of an adult chest, rounded;
nothing here is medicine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medmvl.phantoms.canvas import Canvas, Float, Mask, Point, Region, Window, ellipsoid_radius

SIDES = ("right", "left")
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
LOBE_CENTRES: dict[str, Point] = {
    "right upper lobe": (0.58, -0.10, 0.0),
    "right middle lobe": (-0.02, -0.48, 0.05),
    "right lower lobe": (-0.02, 0.46, 0.0),
    "left upper lobe": (0.52, -0.15, 0.0),
    "left lower lobe": (-0.02, 0.46, 0.0),
}
"""Middle of each lobe in lung coordinates: (up, posterior, outward), -1 to 1 over the lung's ellipsoid."""


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest without findings."""

    body: tuple[float, float]
    """Half depth and half width of the trunk."""
    fat_mm: float
    lung_offset: float
    """Distance of each lung's centre from the midline."""
    lung_semi_axes: Point
    dome_base: tuple[float, float]
    """Height (z) of the right and left costophrenic recess."""
    dome_height: float
    cardiothoracic_ratio: float
    """Transverse heart width over inner thoracic width."""
    heart_shift: float
    """How far the heart's centre lies to the left of the midline."""
    rib_pitch: float
    rib_phase: float
    spine_y: float
    aorta_radius: float
    lung_hu: float
    noise_hu: float
    vessels: tuple[tuple[Point, Point, float], ...]
    """Pulmonary vessels: start, end, radius."""

    @property
    def thorax_half_width(self) -> float:
        """Half of the inner thoracic width."""
        return self.lung_offset + self.lung_semi_axes[2]

    @property
    def heart_semi_axes(self) -> Point:
        """Semi-axes of the heart (z, y, x)."""
        half_width = self.cardiothoracic_ratio * self.thorax_half_width
        return 0.5 * half_width + 22, min(0.45 * half_width + 22, 62), half_width

    @property
    def heart_centre(self) -> Point:
        """Centre of the heart; it rests on the diaphragm."""
        floor = max(self.dome_base) + self.dome_height
        return floor + 0.72 * self.heart_semi_axes[0], -22.0, self.heart_shift

    def lung_centre(self, side: str) -> Point:
        """Centre of a lung's ellipsoid."""
        return 8.0, 0.0, -self.lung_offset if side == "right" else self.lung_offset

    def lung_point(self, side: str, point: Point) -> Point:
        """Turn lung coordinates (up, posterior, outward) into millimetres."""
        centre, semi = self.lung_centre(side), self.lung_semi_axes
        outward = -point[2] if side == "right" else point[2]
        return centre[0] + point[0] * semi[0], centre[1] + point[1] * semi[1], centre[2] + outward * semi[2]


def sample_anatomy(rng: np.random.Generator, cardiothoracic_ratio: float, noise_hu: float) -> Anatomy:
    """Draw a chest."""
    build = rng.uniform(0.94, 1.04)
    lung_semi_axes = (
        130 * build * rng.uniform(0.95, 1.02), 84 * build * rng.uniform(0.94, 1.03),
        62 * build * rng.uniform(0.95, 1.03),
    )  # fmt: skip
    base = rng.uniform(-108, -94)
    anatomy = Anatomy(
        body=(118 * build * rng.uniform(0.98, 1.06), 165 * build * rng.uniform(0.99, 1.03)),
        fat_mm=rng.uniform(8, 16),
        lung_offset=75 * build,
        lung_semi_axes=lung_semi_axes,
        dome_base=(base + rng.uniform(6, 14), base),
        dome_height=rng.uniform(28, 38),
        cardiothoracic_ratio=cardiothoracic_ratio,
        heart_shift=rng.uniform(12, 20),
        rib_pitch=rng.uniform(27, 31),
        rib_phase=rng.uniform(0, 28),
        spine_y=rng.uniform(70, 76),
        aorta_radius=rng.uniform(11, 15),
        lung_hu=rng.uniform(-880, -820),
        noise_hu=noise_hu,
        vessels=(),
    )
    vessels = tuple(_sample_vessel(rng, anatomy, side) for side in SIDES for _ in range(7))
    return Anatomy(**{**anatomy.__dict__, "vessels": vessels})


def _sample_vessel(rng: np.random.Generator, anatomy: Anatomy, side: str) -> tuple[Point, Point, float]:
    hilum = anatomy.lung_point(side, (0.05, 0.05, -0.62))
    up, posterior, outward = rng.uniform((-0.42, -0.6, -0.1), (0.75, 0.6, 0.6)).tolist()
    return hilum, anatomy.lung_point(side, (up, posterior, outward)), float(rng.uniform(1.8, 4.2))


def lung_coordinates(
    anatomy: Anatomy, side: str, coordinates: tuple[Float, Float, Float]
) -> tuple[Float, Float, Float]:
    """Turn millimetres into lung coordinates (up, posterior, outward) of one side."""
    centre, semi = anatomy.lung_centre(side), anatomy.lung_semi_axes
    z, y, x = ((c - np.float32(m)) / np.float32(s) for c, m, s in zip(coordinates, centre, semi, strict=True))
    return z, y, -x if side == "right" else x


def lung_mask(anatomy: Anatomy, side: str, coordinates: tuple[Float, Float, Float]) -> Mask:
    """Return where the pleural space of one side is: the ellipsoid above the diaphragm, without the heart."""
    up, posterior, outward = lung_coordinates(anatomy, side, coordinates)
    across = posterior**2 + outward**2
    base = np.float32(anatomy.dome_base[SIDES.index(side)])
    diaphragm = base + np.float32(anatomy.dome_height) * (1 - across)
    mask: Mask = (up**2 + across) < 1
    mask &= coordinates[0] > diaphragm
    mask &= ellipsoid_radius(coordinates, anatomy.heart_centre, anatomy.heart_semi_axes) > 1
    return mask


def lobe_mask(side: str, lobe: str, lung: tuple[Float, Float, Float]) -> Mask:
    """Return where a lobe is, by its fissures, in lung coordinates; combine with `lung_mask`."""
    up, posterior, _ = lung
    lower: Mask = np.asarray(up < 0.15 + 0.6 * posterior)
    if lobe.endswith("lower lobe"):
        return lower
    if side == "left":
        return ~lower
    above: Mask = np.asarray(up > 0.25)
    return ~lower & (above if lobe.endswith("upper lobe") else ~above)


def lung_window(anatomy: Anatomy, side: str, canvas: Canvas) -> Window:
    """Return the bounding box of a lung on the canvas."""
    return canvas.around(anatomy.lung_centre(side), anatomy.lung_semi_axes)


def draw_anatomy(anatomy: Anatomy, canvas: Canvas, *, table: bool) -> dict[str, Region]:
    """Draw the healthy chest and return the regions that findings need: both lungs and the heart."""
    _draw_trunk(anatomy, canvas, table=table)
    lungs = {side: _draw_lung(anatomy, side, canvas) for side in SIDES}
    _draw_mediastinum(anatomy, canvas)
    heart = canvas.ellipsoid(anatomy.heart_centre, anatomy.heart_semi_axes)
    canvas.paint(heart, 48)
    _draw_spine(anatomy, canvas)
    _draw_great_vessels(anatomy, canvas)
    regions = {side: region for side, region in lungs.items() if region.mask.size}
    return regions | ({"heart": heart} if heart is not None else {})


def superellipse(canvas: Canvas, depth: float, width: float) -> Float:
    """Return `(H, W)` radii that are 1 on the outline of a rounded box, which resembles a trunk."""
    y, x = np.abs(canvas.y[:, None] / np.float32(depth)), np.abs(canvas.x[None, :] / np.float32(width))
    return np.asarray(np.cbrt(y**3 + x**3), np.float32)


def _draw_trunk(anatomy: Anatomy, canvas: Canvas, *, table: bool) -> None:
    """Draw table, fat, muscle and the rib cage; the cage narrows towards the neck."""
    depth, width = anatomy.body
    radius = superellipse(canvas, depth, width)
    plane = np.full(radius.shape, -1000, np.float32)
    if table:
        height = canvas.y[:, None] - np.float32(depth + 14)
        np.copyto(
            plane, np.float32(-300), where=(np.abs(height) < 7) & (np.abs(canvas.x[None, :]) < 0.9 * width)
        )
    plane[radius < 1] = -100
    plane[radius < 1 - anatomy.fat_mm / width] = 50
    canvas.hu[:] = plane
    cage = superellipse(canvas, anatomy.lung_semi_axes[1] + 8, anatomy.thorax_half_width + 5)
    taper = (1 - 0.38 * (np.maximum(canvas.z - 20, 0) / 140) ** 2).astype(np.float32)
    half_thickness = max(0.035, 0.45 * canvas.voxel_mm / anatomy.thorax_half_width)
    slant = canvas.z[:, None] - 0.35 * canvas.y[None, :] + np.float32(anatomy.rib_phase)
    is_rib = np.cos(slant * np.float32(2 * np.pi / anatomy.rib_pitch)) > 0.25
    rings = {narrower: np.abs(cage / narrower - 1) < half_thickness for narrower in np.unique(taper)}
    for level, narrower, rib in zip(canvas.hu, taper, is_rib, strict=True):
        np.copyto(level, np.float32(380), where=rings[narrower] & rib[:, None])
    for sign in (-1, 1):
        clavicle = canvas.capsule((104, -86, 14 * sign), (126, -58, 120 * sign), 6.5)
        canvas.paint(clavicle, 420)


def _draw_lung(anatomy: Anatomy, side: str, canvas: Canvas) -> Region:
    window = lung_window(anatomy, side, canvas)
    region = Region(window, lung_mask(anatomy, side, canvas.coordinates(window)))
    canvas.paint(region, anatomy.lung_hu)
    smallest = 0.35 * canvas.voxel_mm
    for start, end, radius in anatomy.vessels:
        if radius > smallest and (start[2] < 0) == (side == "right"):
            _paint_inside(canvas, canvas.capsule(start, end, radius), 35, below=-500)
    return region


def _paint_inside(canvas: Canvas, region: Region | None, hu: float, below: float) -> None:
    """Paint a region where the canvas is darker than `below`."""
    if region is not None:
        canvas.paint(Region(region.window, region.mask & (canvas.hu[region.window] < below)), hu)


def _draw_mediastinum(anatomy: Anatomy, canvas: Canvas) -> None:
    """Fat around the heart and vessels, and the stomach's bubble of air below the left dome."""
    floor = max(anatomy.dome_base) + anatomy.dome_height
    window = canvas.window((floor, -60, -34), (125, 62, 34))
    view = canvas.hu[window]
    np.copyto(view, np.float32(-70), where=view > 0)
    canvas.paint(canvas.ellipsoid((anatomy.dome_base[1] - 12, -25, 62), (11, 24, 26)), -980)


def _draw_spine(anatomy: Anatomy, canvas: Canvas) -> None:
    y, x = canvas.y[:, None] - np.float32(anatomy.spine_y), canvas.x[None, :]
    distance = np.hypot(y, x)
    plane_window = canvas.window((-1e4, anatomy.spine_y - 22, -26), (1e4, anatomy.spine_y + 40, 26))
    disc = (np.mod(canvas.z, 26) < 5)[:, None, None]
    for mask, bone in ((distance < 21, 220.0), ((distance < 21) & (distance > 17), 420.0)):
        _paint_column(canvas, plane_window, mask, np.where(disc, 90, bone))
    behind = (np.abs(y - 31) < 8) & (np.abs(x) < 12)
    _paint_column(canvas, plane_window, behind, np.full_like(disc, 320, dtype=np.float32))
    canal = np.hypot(y - 24, x) < 7
    _paint_column(canvas, plane_window, canal, np.full_like(disc, 20, dtype=np.float32))
    sternum = canvas.window(
        (-40, -anatomy.lung_semi_axes[1] - 12, -18), (100, -anatomy.lung_semi_axes[1] - 1, 18)
    )
    canvas.hu[sternum] = 260


def _paint_column(canvas: Canvas, window: Window, mask: Mask, hu: Float) -> None:
    """Paint a shape that is the same in every slice."""
    np.copyto(canvas.hu[window], hu.astype(np.float32), where=mask[window[1:]][None])


def _draw_great_vessels(anatomy: Anatomy, canvas: Canvas) -> None:
    """Draw the aorta (ascending, arch, descending), pulmonary trunk, trachea and main bronchi."""
    radius, heart_top = anatomy.aorta_radius, anatomy.heart_centre[0] + 0.6 * anatomy.heart_semi_axes[0]
    ascending, descending = aorta_path(anatomy)
    for start, end, r in (
        ((heart_top, -20.0, -8.0), ascending, radius * 1.1),
        (ascending, descending, radius),
        (descending, (-1e3, descending[1], descending[2]), radius * 0.9),
        ((heart_top, -30.0, 14.0), (28.0, 0.0, 24.0), radius),
    ):
        canvas.paint(canvas.capsule(start, end, r), 45)
    for start, end, r in (
        ((1e3, 16.0, 0.0), (38.0, 20.0, 0.0), 9.0),
        ((38.0, 20.0, 0.0), (14.0, 22.0, -32.0), 6.5),
        ((38.0, 20.0, 0.0), (10.0, 22.0, 34.0), 6.0),
    ):
        canvas.paint(canvas.capsule(start, end, r), -980)


def aorta_path(anatomy: Anatomy) -> tuple[Point, Point]:
    """Return the two ends of the aortic arch."""
    return (66.0, -18.0, -10.0), (66.0, anatomy.spine_y - 30, 20.0)
