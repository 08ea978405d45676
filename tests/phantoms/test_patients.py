"""Patients: independent of how many are made, balanced by design, findings where and as large as they say."""

from collections import Counter

import numpy as np
import pytest

from medmvl.errors import UserError
from medmvl.phantoms import FINDINGS, PRESETS, make_patient
from medmvl.phantoms.anatomy import lobe_mask, lung_coordinates, lung_mask
from medmvl.phantoms.patient import CHANGES
from medmvl.phantoms.streams import BLOCK


def test_a_patient_is_the_same_whenever_it_is_made():
    alone = make_patient(5, 7, "chest")
    among_others = [make_patient(5, index, "chest") for index in range(9)][7]
    assert alone == among_others
    assert make_patient(5, 8, "chest") != alone
    assert make_patient(6, 7, "chest").anatomy != alone.anatomy


@pytest.mark.parametrize("seed", [0, 11])
def test_every_block_of_quickstart_is_balanced_exactly(seed):
    patients = [make_patient(seed, index, "quickstart") for index in range(2 * BLOCK, 3 * BLOCK)]
    places = Counter((f.finding_type, f.place) for p in patients for f in p.findings)
    lobes = {("nodule", lobe): BLOCK // 10 for lobe in FINDINGS["nodule"].places}
    assert places == lobes | {
        ("effusion", "right"): BLOCK // 4,
        ("effusion", "left"): BLOCK // 4,
        ("cardiomegaly", ""): BLOCK // 2,
    }


def test_findings_are_independent_of_each_other():
    patients = [make_patient(0, index, "quickstart") for index in range(800)]
    pairs = Counter((p.finding("nodule") is None, p.finding("effusion") is None) for p in patients)
    assert all(150 < count < 250 for count in pairs.values())


def test_every_preset_has_sizes_within_its_distributions():
    for preset in PRESETS.values():
        for patient in (make_patient(1, index, preset) for index in range(BLOCK)):
            for finding in patient.findings:
                size = preset.findings[finding.finding_type].size
                assert size.low <= finding.size <= size.high
            enlarged = patient.finding("cardiomegaly") is not None
            low = preset.findings["cardiomegaly"].size.low
            assert (patient.anatomy.cardiothoracic_ratio >= low) == enlarged


def test_chest_has_every_finding_kind():
    assert set(PRESETS["chest"].findings) == set(FINDINGS)
    assert len(FINDINGS) >= 8
    seen = {f.finding_type for index in range(BLOCK) for f in make_patient(2, index, "chest").findings}
    assert seen == set(FINDINGS)


@pytest.mark.parametrize("preset", ["quickstart", "chest"])
def test_nodules_lie_in_the_lobe_they_name(preset):
    for index in range(3 * BLOCK):
        patient = make_patient(4, index, preset)
        nodule = patient.finding("nodule")
        if nodule is None:
            continue
        point = tuple(np.full((1, 1, 1), value, np.float32) for value in nodule.points[0])
        assert lobe_mask(
            nodule.side, nodule.place, lung_coordinates(patient.anatomy, nodule.side, point)
        ).item()
        assert (nodule.points[0][2] < 0) == (nodule.side == "right")
        if preset == "chest":
            other = "left" if nodule.side == "right" else "right"
            assert not lung_mask(patient.anatomy, other, point).item()


def test_prior_studies_differ_as_they_say():
    seen = Counter()
    for index in range(4 * BLOCK):
        patient = make_patient(0, index, "chest")
        earlier = patient.at_prior()
        if patient.prior is None:
            assert earlier is None
            continue
        assert earlier.prior is None
        assert patient.prior.days_before >= 30
        for finding_type, change in patient.prior.changes:
            now, before = patient.finding(finding_type), earlier.finding(finding_type)
            seen[change] += 1
            assert (now is None) == (change == "resolved")
            assert (before is None) == (change == "new")
            if change == "unchanged":
                assert before.size == now.size
            if change in ("larger", "smaller"):
                assert before.place == now.place
                assert (
                    (now.size > 1.3 * before.size) if change == "larger" else (now.size < 0.77 * before.size)
                )
        assert {f.finding_type for f in (*patient.findings, *earlier.findings)} == {
            finding_type for finding_type, _ in patient.prior.changes
        }
    assert set(seen) == set(CHANGES)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="quickstart, quickstart_normal, chest, tiny"):
        make_patient(0, 0, "chst")
