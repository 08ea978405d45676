"""Pixels: physical truth of CT and X-ray, boxes and volumes as drawn, sides, slabs, bytes."""

from dataclasses import replace

import numpy as np
import pytest

from medmvl.errors import UserError
from medmvl.phantoms import draw_ct, draw_xray, make_patient, render_ct, render_prior, render_xray
from medmvl.phantoms import render as render_module
from medmvl.phantoms.anatomy import lung_coordinates
from medmvl.phantoms.findings import settle

SHAPE = (48, 64, 64)


def patient_with(finding_type, place=None, preset="chest", without_others=True, seed=0):
    """Find a patient with a finding, and leave only that one."""
    for index in range(200):
        patient = make_patient(seed, index, preset)
        finding = patient.finding(finding_type)
        if finding is not None and place in (None, finding.place) and patient.finding("cardiomegaly") is None:
            return replace(patient, findings=(finding,)) if without_others else patient
    raise AssertionError(finding_type)


def without_findings(patient):
    return replace(patient, findings=())


def test_ct_has_physical_truth():
    image = render_ct(make_patient(0, 0, "quickstart"), (32, 64, 48))
    assert image.array.dtype == np.int16
    assert image.shape == (32, 64, 48)
    assert (image.kind, image.units, image.modality, image.axcodes) == ("volume", "HU", "CT", ("S", "P", "L"))
    assert image.spacing_mm == pytest.approx((10, 5.625, 7.5))
    first, last = image.affine @ [0, 0, 0, 1], image.affine @ [31, 63, 47, 1]
    assert first[:3] == pytest.approx([176.25, 177.1875, -155])  # right, anterior, low in RAS
    assert last[:3] == pytest.approx([-176.25, -177.1875, 155])


def test_tissues_have_their_hounsfield_units():
    patient = without_findings(make_patient(0, 0, "quickstart"))
    image = render_ct(patient, (64, 128, 128))
    inverse = np.linalg.inv(image.affine)

    def mean_at(z, y, x):
        d, h, w = np.rint((inverse @ [-x, -y, z, 1])[:3]).astype(int)
        return image.array[d - 1 : d + 2, h - 1 : h + 2, w - 1 : w + 2].mean()

    assert mean_at(*patient.anatomy.heart_centre) == pytest.approx(48, abs=15)
    assert mean_at(80, 50, -75) == pytest.approx(patient.anatomy.lung_hu, abs=100)
    assert mean_at(90, 16, 0) < -800  # trachea
    assert mean_at(0, -170, 0) < -950  # air outside
    assert mean_at(-140, 0, -80) == pytest.approx(50, abs=15)  # below the diaphragm


@pytest.mark.parametrize(
    "finding_type", ["effusion", "pneumothorax", "nodule", "consolidation", "atelectasis", "emphysema"]
)
def test_a_box_holds_exactly_what_a_finding_changed(finding_type):
    patient = patient_with(finding_type)
    rendering = draw_ct(patient, SHAPE)
    plain = render_ct(without_findings(patient), SHAPE)
    changed = np.argwhere(np.abs(rendering.image.array.astype(int) - plain.array) > 60)
    (drawn,) = rendering.findings
    low, high = np.array(drawn.box[:3]), np.array(drawn.box[3:])
    assert (low >= 0).all() and (high <= SHAPE).all() and (low < high).all()
    soft = 1 if finding_type == "nodule" else 0
    if finding_type not in ("pneumothorax", "emphysema"):  # these also change the lung around them
        assert (changed.min(0) >= low - soft).all() and (changed.max(0) < high + soft).all()
    inside = ((changed >= low) & (changed < high)).all(axis=1)
    assert inside.any()


@pytest.mark.parametrize("finding_type", ["nodule", "effusion", "consolidation"])
def test_a_box_in_the_xray_frames_what_a_finding_changed(finding_type):
    patient = patient_with(finding_type)
    rendering = draw_xray(patient, (96, 96))
    plain = render_xray(without_findings(patient), (96, 96))
    changed = np.abs(rendering.image.array.astype(float) - plain.array) > 1500
    (drawn,) = rendering.findings
    top, left, bottom, right = drawn.box
    changes = np.argwhere(changed)
    assert (changes >= (top - 1, left - 1)).all() and (changes < (bottom + 1, right + 1)).all()
    assert np.abs(np.array([*changes.min(0), *(changes.max(0) + 1)]) - drawn.box).max() <= 7


def test_the_two_lungs_mirror_each_other():
    anatomy = make_patient(0, 0, "quickstart").anatomy
    point = tuple(np.full((1, 1, 1), value, np.float32) for value in (10, 20, 90))
    mirrored = (point[0], point[1], -point[2])
    assert lung_coordinates(anatomy, "left", point) == lung_coordinates(anatomy, "right", mirrored)
    assert lung_coordinates(anatomy, "left", point)[2].item() > 0  # outward of the middle of the lung


@pytest.mark.parametrize("place", ["right", "left"])
def test_effusion_is_on_its_side_and_has_its_volume(place):
    patient = patient_with("effusion", place, preset="quickstart")
    (drawn,) = draw_ct(patient, (64, 96, 96)).findings
    assert drawn.volume_ml == pytest.approx(drawn.finding.size, rel=0.08)
    columns = (drawn.box[2], drawn.box[5])
    assert (
        max(columns) <= 48 if place == "right" else min(columns) >= 48
    )  # the patient's right is on the left
    (projected,) = draw_xray(patient, (64, 64)).findings
    assert projected.box[3] <= 32 if place == "right" else projected.box[1] >= 32


def test_nodule_has_its_diameter_at_fine_and_coarse_grids():
    patient = patient_with("nodule", preset="quickstart")
    radius = patient.findings[0].size / 2
    exact = 4 / 3 * np.pi * radius**3 / 1000
    for shape, tolerance in (((32, 64, 64), 0.06), ((96, 128, 128), 0.02)):
        assert draw_ct(patient, shape).findings[0].volume_ml == pytest.approx(exact, rel=tolerance)


def test_the_smallest_nodule_still_shows_on_a_coarse_grid():
    patient = patient_with("nodule")
    small = replace(patient.findings[0], size=6.0)
    patient = replace(patient, findings=(small,))
    for shift in np.linspace(0, 10, 7):
        z, y, x = small.points[0]
        moved = replace(patient, findings=(replace(small, points=((z + shift, y + shift / 3, x),)),))
        assert [d.finding.finding_type for d in draw_ct(moved, (32, 64, 64)).findings] == ["nodule"]


def test_heart_width_over_chest_width_is_the_ratio():
    for index in range(4):
        patient = make_patient(0, index, "quickstart")
        heart = replace(
            patient, findings=(replace(make_finding(), size=patient.anatomy.cardiothoracic_ratio),)
        )
        (drawn,) = draw_ct(heart, (64, 64, 256)).findings
        width_mm = (drawn.box[5] - drawn.box[2]) * 360 / 256
        assert width_mm / (2 * patient.anatomy.thorax_half_width) == pytest.approx(
            drawn.finding.size, abs=0.012
        )


def make_finding():
    from medmvl.phantoms import Finding

    return Finding(finding_type="cardiomegaly")


def test_xray_is_beer_lambert_of_the_same_chest():
    patient = without_findings(make_patient(0, 3, "quickstart"))
    xray, ct = render_xray(patient, (64, 64)), render_ct(patient, (64, 180, 64))
    mu = np.maximum(0, render_module.MU_WATER_PER_MM * (1 + ct.array.astype(float) / 1000))
    depth, _ = patient.anatomy.body
    mu[:, int((depth + 180) / 2) + 2 :] = 0  # the table is not under a standing patient
    integral = mu.sum(axis=1)[::-1] * 2.0
    measured = xray.array / render_module.XRAY_SCALE
    middle = (slice(8, 56), slice(12, 52))
    assert np.corrcoef(integral[middle].ravel(), measured[middle].ravel())[0, 1] > 0.98
    assert np.median(np.abs(integral[middle] - measured[middle])) < 0.12
    assert (xray.kind, xray.axcodes, xray.units, xray.modality) == ("image", ("I", "L"), "arbitrary", "DX")
    assert xray.affine @ [0, 0, 0, 1] == pytest.approx(
        [177.1875, 0, 157.5, 1]
    )  # top row: high, patient's right


@pytest.mark.parametrize("preset", ["quickstart", "chest"])
def test_slabs_do_not_change_pixels_or_boxes(monkeypatch, preset):
    patient = make_patient(0, 4, preset)
    whole, whole_xray = draw_ct(patient, (30, 40, 40)), draw_xray(patient, (40, 40))
    monkeypatch.setattr(render_module, "SLAB_VOXELS", 7 * 40 * 40)
    slabs, slabs_xray = draw_ct(patient, (30, 40, 40)), draw_xray(patient, (40, 40))
    for one, other in ((whole, slabs), (whole_xray, slabs_xray)):
        assert np.array_equal(one.image.array, other.image.array)
        assert [(d.box, d.volume_ml) for d in one.findings] == [(d.box, d.volume_ml) for d in other.findings]


def test_same_patient_same_pixels_and_priors_differ():
    patient = next(p for p in (make_patient(0, i, "chest") for i in range(40)) if p.prior is not None)
    current = render_ct(patient, (16, 32, 32))
    assert np.array_equal(
        current.array, render_ct(make_patient(0, patient.index, "chest"), (16, 32, 32)).array
    )
    assert not np.array_equal(current.array, render_prior(patient, (16, 32, 32)).array)
    assert render_prior(make_patient(0, 0, "tiny")) is None


def test_effusion_level_is_solved_for_any_volume():
    patient = patient_with("effusion", "left")
    volumes = []
    for size in (100.0, 400.0, 900.0):
        settled = settle(
            replace(patient.findings[0], size=size), patient.anatomy, np.random.default_rng(0), 1
        )
        (drawn,) = draw_ct(replace(patient, findings=(settled,)), (64, 96, 96)).findings
        volumes.append(drawn.volume_ml / size)
    assert volumes == pytest.approx([1, 1, 1], abs=0.1)


def test_too_small_a_shape_is_refused():
    with pytest.raises(UserError, match="2x64x64"):
        render_ct(make_patient(0, 0, "tiny"), (2, 64, 64))
