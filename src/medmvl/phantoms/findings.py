"""The finding types: where each may lie, what its size is called, how it is shaped and drawn.

A finding is settled in millimetres before anything is drawn, so CT, X-ray and every resolution show the same
one. `FINDINGS` is the table; a new type is one entry with two functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medmvl.phantoms.anatomy import (
    LOBE_CENTRES,
    LOBES,
    SIDES,
    Anatomy,
    aorta_path,
    lobe_mask,
    lung_coordinates,
    lung_mask,
)
from medmvl.phantoms.canvas import Canvas, Float, Point, Region, ellipsoid_radius


@dataclass(frozen=True)
class Finding:
    """One abnormality with its exact parameters."""

    finding_type: str
    place: str = ""
    """Lobe, side or site; empty for what has only one place."""
    size: float = 0.0
    """Size in the unit of its type, see `FindingType.size_name`."""
    hu: float = 40.0
    points: tuple[Point, ...] = ()
    """Centres or ends, in millimetres."""
    level: float = 0.0
    """Threshold of the shape's level function, where it is solved from a volume."""

    @property
    def side(self) -> str:
        """`"right"` or `"left"`; empty for what is central."""
        return self.place.split(" ")[0] if self.place.split(" ")[0] in SIDES else ""

    @property
    def size_name(self) -> str:
        """Name of the size with its unit, such as `"diameter_mm"`."""
        return FINDINGS[self.finding_type].size_name


Regions = Mapping[str, Region]
Settle = Callable[[Finding, Anatomy, np.random.Generator, float], Finding]
Draw = Callable[[Finding, Anatomy, Canvas, Regions], list[Region]]


@dataclass(frozen=True)
class FindingType:
    """How one type of finding is placed and drawn."""

    places: tuple[str, ...]
    size_name: str
    settle: Settle
    """`(finding, anatomy, rng, spread) -> finding` with points and level filled in."""
    draw: Draw
    """Paint the canvas and return the regions that are the finding."""


def settle(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    """Fill in where and how exactly; `spread` 0 is the middle of its place, 1 anywhere in it."""
    return FINDINGS[finding.finding_type].settle(finding, anatomy, rng, spread)


LATTICE_POINTS = 26
"""Points of the coarse grid along each axis of a lung."""


def _lattice(anatomy: Anatomy, side: str) -> tuple[tuple[Float, Float, Float], float]:
    """Return a coarse grid over one lung and its cell volume in millilitres."""
    centre, semi = anatomy.lung_centre(side), anatomy.lung_semi_axes
    steps = (np.arange(LATTICE_POINTS, dtype=np.float32) + 0.5) / LATTICE_POINTS * 2 - 1
    z, y, x = ((c + steps * s).astype(np.float32) for c, s in zip(centre, semi, strict=True))
    cell = 8 * semi[0] * semi[1] * semi[2] / LATTICE_POINTS**3 / 1000
    return (z[:, None, None], y[None, :, None], x[None, None, :]), cell


def _as_is(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    return finding


def _settle_in_lobe(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    middle = LOBE_CENTRES[finding.place]
    chosen = middle
    for _ in range(100):
        candidate = rng.uniform(-0.9, 0.9, 3)
        point = anatomy.lung_point(finding.side, (candidate[0], candidate[1], candidate[2]))
        z, y, x = (np.full((1, 1, 1), value, np.float32) for value in point)
        lung = lung_coordinates(anatomy, finding.side, (z, y, x))
        inside = lung_mask(anatomy, finding.side, (z, y, x)) & lobe_mask(finding.side, finding.place, lung)
        if inside.item() and float(np.sum(candidate**2)) < 0.8:
            chosen = (candidate[0], candidate[1], candidate[2])
            break
    up, posterior, outward = (m + spread * (c - m) for m, c in zip(middle, chosen, strict=True))
    return replace(finding, points=(anatomy.lung_point(finding.side, (up, posterior, outward)),))


def _draw_nodule(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """A ball with a soft edge of one voxel; one thinner than a slice shows in the slice that holds it."""
    radius, soft, centre = finding.size / 2, canvas.voxel_mm, finding.points[0]
    reach = radius + soft
    window = canvas.around(centre, (max(reach, canvas.slice_mm), reach, reach))
    z, y, x = (c - np.float32(m) for c, m in zip(canvas.coordinates(window), centre, strict=True))
    if radius < canvas.slice_mm:
        z = np.maximum(np.abs(z) - max(canvas.slice_mm - soft, 0) / 2, 0)
    distance = np.sqrt(z**2 + (y**2 + x**2))
    if not distance.size:
        return []
    share = np.clip((radius - distance) / soft + 0.5, 0, 1)
    view = canvas.hu[window]
    view += share * (np.float32(finding.hu) - view)
    return [Region(window, distance < max(radius, 0.9 * soft))]


def _settle_effusion(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    """Solve the fluid's level for its volume."""
    coordinates, cell = _lattice(anatomy, finding.side)
    surface = np.sort(
        _fluid_surface(anatomy, finding.side, coordinates)[lung_mask(anatomy, finding.side, coordinates)]
    )
    return replace(finding, level=_quantile(surface, finding.size / (cell * len(surface))))


def _quantile(ascending: NDArray[np.float32], share: float) -> float:
    assert 0 <= share <= 1, f"a finding larger than its lung: {share:.2f}"
    return float(ascending[min(int(share * len(ascending)), len(ascending) - 1)])


def _fluid_surface(anatomy: Anatomy, side: str, coordinates: tuple[Float, Float, Float]) -> Float:
    """Fluid fills from the base; it climbs along the back and the outer wall (the meniscus)."""
    up, posterior, outward = lung_coordinates(anatomy, side, coordinates)
    return np.asarray(up - 0.22 * posterior - 0.18 * (outward**2 + posterior**2), np.float32)


def _draw_effusion(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    return _draw_in_lung(
        finding,
        canvas,
        regions,
        lambda coordinates: _fluid_surface(anatomy, finding.side, coordinates) < finding.level,
    )


def _draw_in_lung(
    finding: Finding,
    canvas: Canvas,
    regions: Regions,
    shape: Callable[[tuple[Float, Float, Float]], NDArray[np.bool_]],
) -> list[Region]:
    """Paint the part of one lung where `shape` is true."""
    lung = regions.get(finding.side)
    if lung is None:
        return []
    region = Region(lung.window, lung.mask & shape(canvas.coordinates(lung.window)))
    canvas.paint(region, finding.hu)
    return [region]


def _draw_cardiomegaly(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """The heart was already drawn in its size; it is the finding."""
    return [regions["heart"]] if "heart" in regions else []


def _settle_pneumothorax(
    finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float
) -> Finding:
    coordinates, _ = _lattice(anatomy, finding.side)
    depth = np.sort(
        -_collapse(anatomy, finding.side, coordinates)[lung_mask(anatomy, finding.side, coordinates)]
    )
    return replace(finding, level=-_quantile(depth, finding.size))


def _collapse(anatomy: Anatomy, side: str, coordinates: tuple[Float, Float, Float]) -> Float:
    """The lung falls towards its root: distance from there, in lung coordinates."""
    up, posterior, outward = lung_coordinates(anatomy, side, coordinates)
    return np.asarray(
        (0.8 * (up + 0.2)) ** 2 + ((posterior - 0.1) ** 2 + (0.8 * (outward + 0.5)) ** 2), np.float32
    )


def _draw_pneumothorax(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    def outside(coordinates: tuple[Float, Float, Float]) -> NDArray[np.bool_]:
        return np.asarray(_collapse(anatomy, finding.side, coordinates) > finding.level)

    lung = regions.get(finding.side)
    if lung is None:
        return []
    view = canvas.hu[lung.window]
    np.copyto(view, view * np.float32(0.82), where=lung.mask & (view < -500))  # the collapsed lung is denser
    return _draw_in_lung(finding, canvas, regions, outside)


def _draw_consolidation(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """An opaque part of one lobe, ending at the fissures, crossed by bronchi that still hold air."""
    radius = finding.size / 2

    def shape(coordinates: tuple[Float, Float, Float]) -> NDArray[np.bool_]:
        lung = lung_coordinates(anatomy, finding.side, coordinates)
        inside = ellipsoid_radius(coordinates, finding.points[0], (radius, radius, radius)) < 1
        return np.asarray(inside & lobe_mask(finding.side, finding.place, lung))

    drawn = _draw_in_lung(finding, canvas, regions, shape)
    for region in drawn:
        z, y, x = canvas.coordinates(region.window)
        bronchi = (np.sin(0.33 * y + 0.11 * z) + np.sin(0.29 * x - 0.13 * z)) > 1.7
        canvas.paint(Region(region.window, region.mask & bronchi), -850)
    return drawn


def _settle_calcification(
    finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float
) -> Finding:
    """Plaques on the front of the heart or in the wall of the descending aorta."""
    count = 4
    if finding.place == "coronary":
        centre, semi = anatomy.heart_centre, anatomy.heart_semi_axes
        angles = np.linspace(0.2, 0.9, count) + rng.uniform(-0.05, 0.05, count)
        points = tuple(
            (centre[0] + semi[0] * (0.75 - a), centre[1] - 0.62 * semi[1], centre[2] + 0.62 * semi[2] * a)
            for a in angles.tolist()
        )
    else:
        _, arch = aorta_path(anatomy)
        turns = rng.uniform(0, 2 * np.pi, count)
        heights = np.linspace(40, -60, count) + rng.uniform(-8, 8, count)
        points = tuple(
            (
                h,
                arch[1] + anatomy.aorta_radius * float(np.sin(t)),
                arch[2] + anatomy.aorta_radius * float(np.cos(t)),
            )
            for h, t in zip(heights.tolist(), turns.tolist(), strict=True)
        )
    return replace(finding, points=points)


def _draw_balls(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """Several balls of one diameter, at least a voxel each."""
    radius = max(finding.size / 2, 0.9 * canvas.voxel_mm)
    drawn = []
    for centre in finding.points:
        region = canvas.ellipsoid(centre, (max(radius, 0.9 * canvas.slice_mm), radius, radius))
        if region is not None:
            canvas.paint(region, finding.hu)
            drawn.append(region)
    return drawn


def _settle_emphysema(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    """Bullae in the upper parts of both lungs."""
    points = []
    for side in SIDES:
        for _ in range(5):
            up, posterior, outward = rng.uniform((0.3, -0.5, -0.4), (0.75, 0.5, 0.5)).tolist()
            points.append(anatomy.lung_point(side, (up, posterior, outward)))
    return replace(finding, points=tuple(points))


def _draw_emphysema(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """Bullae hold air only, within the lungs; the rest of the lung loses density, too."""
    for side in SIDES:
        if side in regions:
            view = canvas.hu[regions[side].window]
            np.copyto(view, view - np.float32(40), where=regions[side].mask & (view < -700))
    drawn = []
    for centre in finding.points:
        region = canvas.ellipsoid(centre, (finding.size / 2,) * 3)
        if region is not None:
            region = Region(region.window, region.mask & (canvas.hu[region.window] < -500))
            canvas.paint(region, finding.hu)
            drawn.append(region)
    return drawn


def _draw_atelectasis(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """A band of collapsed lung across a lower lobe."""
    centre = finding.points[0]
    half = max(finding.size / 2, 0.6 * canvas.slice_mm)

    def band(coordinates: tuple[Float, Float, Float]) -> NDArray[np.bool_]:
        z, y, x = coordinates
        outward = (x - centre[2]) * (-1 if finding.side == "right" else 1)
        distance = (z - centre[0]) + 0.35 * (outward - 0.3 * (y - centre[1]))
        lung = lung_coordinates(anatomy, finding.side, coordinates)
        near = (y - centre[1]) ** 2 + outward**2 < 48**2
        return np.asarray((np.abs(distance) < half) & near & lobe_mask(finding.side, finding.place, lung))

    return _draw_in_lung(finding, canvas, regions, band)


def _settle_hernia(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    floor = max(anatomy.dome_base) + anatomy.dome_height
    return replace(finding, points=((floor + 0.4 * finding.size, 40.0, float(rng.uniform(0, 10))),))


def _draw_hernia(finding: Finding, anatomy: Anatomy, canvas: Canvas, regions: Regions) -> list[Region]:
    """A pouch of stomach behind the heart with air and a fluid level."""
    z, y, x = finding.points[0]
    radius = finding.size / 2
    region = canvas.ellipsoid((z, y, x), (radius, 0.8 * radius, radius))
    canvas.paint(region, finding.hu)
    canvas.paint(
        canvas.ellipsoid(
            (z + 0.25 * radius, y - 0.2 * radius, x), (0.5 * radius, 0.45 * radius, 0.7 * radius)
        ),
        -950,
    )
    return [] if region is None else [region]


def _settle_nodes(finding: Finding, anatomy: Anatomy, rng: np.random.Generator, spread: float) -> Finding:
    """Nodes next to the trachea and below the carina."""
    places = ((58.0, 14.0, -20.0), (44.0, -4.0, -22.0), (18.0, 30.0, 2.0))
    return replace(finding, points=tuple((z, y, x + float(rng.uniform(-3, 3))) for z, y, x in places))


FINDINGS: dict[str, FindingType] = {
    "nodule": FindingType(LOBES, "diameter_mm", _settle_in_lobe, _draw_nodule),
    "effusion": FindingType(SIDES, "volume_ml", _settle_effusion, _draw_effusion),
    "cardiomegaly": FindingType(("",), "cardiothoracic_ratio", _as_is, _draw_cardiomegaly),
    "pneumothorax": FindingType(SIDES, "lung_share", _settle_pneumothorax, _draw_pneumothorax),
    "consolidation": FindingType(LOBES, "diameter_mm", _settle_in_lobe, _draw_consolidation),
    "calcification": FindingType(("coronary", "aortic"), "diameter_mm", _settle_calcification, _draw_balls),
    "emphysema": FindingType(("",), "diameter_mm", _settle_emphysema, _draw_emphysema),
    "atelectasis": FindingType(
        ("right lower lobe", "left lower lobe"), "thickness_mm", _settle_in_lobe, _draw_atelectasis
    ),
    "hiatal_hernia": FindingType(("",), "diameter_mm", _settle_hernia, _draw_hernia),
    "lymphadenopathy": FindingType(("",), "diameter_mm", _settle_nodes, _draw_balls),
}
"""Every type of finding."""

DRAW_ORDER = (
    "emphysema", "consolidation", "atelectasis", "pneumothorax", "effusion", "hiatal_hernia",
    "lymphadenopathy", "nodule", "calcification", "cardiomegaly",
)  # fmt: skip
"""Fluid covers lung; nodules and calcium stay visible in fluid."""
