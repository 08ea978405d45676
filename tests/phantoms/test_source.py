"""Phantoms by reference: drawn on demand, and kept for the next who asks."""

from __future__ import annotations

import numpy as np
import pytest

from medmvl.phantoms.patient import make_patient
from medmvl.phantoms.render import render_ct, render_xray
from medmvl.phantoms.source import load, reference
from medmvl.schema import ImageBlock, VolumeBlock


def test_a_reference_is_drawn_once_and_nobody_can_change_what_is_kept() -> None:
    patient = make_patient(5, 3, "quickstart")
    ct = VolumeBlock(volume=reference(patient, "ct"))
    xray = ImageBlock(image=reference(patient, "xray"))

    for block, render in ((ct, render_ct), (xray, render_xray)):
        image = load(block)
        assert np.array_equal(image.array, render(patient).array)
        assert load(block) is image
        with pytest.raises(ValueError, match="read-only"):
            image.array[...] = 0
