"""Phantoms by reference: drawn on demand, and kept for the next who asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmvl.phantoms.patient import make_patient
from medmvl.phantoms.render import render_ct, render_xray
from medmvl.phantoms.source import code_digest, load, reference
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


def test_only_what_decides_pixels_changes_the_digest_of_the_code(tmp_path: Path) -> None:
    def digest(name: str, text: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "render.py").write_text(text)
        return code_digest(tmp_path / name)

    plain = digest(
        "plain", '"""Draws."""\n\nWATER = 0.2\n"""Attenuation."""\n\n\ndef draw():\n    return WATER\n'
    )
    told = digest(
        "told",
        '"""Draws it."""\n# a note\nWATER = 0.2\n"""Of water."""\ndef draw():\n    """It."""\n    return (WATER)\n',
    )
    other = digest(
        "other", '"""Draws."""\n\nWATER = 0.3\n"""Attenuation."""\n\n\ndef draw():\n    return WATER\n'
    )
    assert plain == told != other
