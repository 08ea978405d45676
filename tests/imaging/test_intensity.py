"""Windows are for Hounsfield units alone; MR scales by its foreground, once a volume."""

from dataclasses import replace

import numpy as np
import pytest

from medmvl.errors import UserError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import WINDOWS, apply_window, percentile_scale, to_unit_range
from tests.factories.imaging import volume


@pytest.mark.parametrize(("name", "centre", "width"), [(n, *w) for n, w in WINDOWS.items()])
def test_a_window_ends_at_half_its_width(name, centre, width):
    values = np.array([centre - width, centre - width / 2, centre, centre + width / 2, centre + width])
    assert np.allclose(apply_window(values, name), [0, 0, 0.5, 1, 1])


def test_the_numbers_of_the_named_windows():
    assert WINDOWS == {
        "lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800),
        "brain": (40, 80), "abdomen": (50, 400), "full": (0, 2000),
    }  # fmt: skip


@pytest.mark.parametrize("units", ["arbitrary", "display", "BQML"])
def test_a_window_on_what_is_not_hounsfield_is_refused(units):
    with pytest.raises(UserError, match="Hounsfield"):
        to_unit_range(volume(units=units), "lung")


def test_hounsfield_units_need_a_window_that_exists():
    with pytest.raises(UserError, match="need a window"):
        to_unit_range(volume())
    with pytest.raises(UserError, match="mediastinum"):
        to_unit_range(volume(), "liver")


def test_mr_scaling_ignores_how_much_air_surrounds_the_body():
    body = np.random.default_rng(0).uniform(300, 900, (8, 16, 16))
    wide = np.zeros((8, 48, 48))
    wide[:, 16:32, 16:32] = body
    scaled = percentile_scale(wide)
    assert np.allclose(
        scaled[:, 16:32, 16:32], percentile_scale(np.pad(body, ((0, 0), (8, 8), (8, 8))))[:, 8:24, 8:24]
    )
    assert scaled.max() == 1
    assert (scaled[0, :10] == 0).all()


def test_mr_slices_keep_their_brightness_beside_each_other():
    array = np.ones((4, 8, 8)) * np.array([100, 200, 300, 400])[:, None, None]
    array[:, :4] = 0
    means = to_unit_range(replace(volume(units="arbitrary"), array=array, modality="MR"))[:, 4:].mean((1, 2))
    assert (np.diff(means) > 0).all()


def test_images_scale_by_what_they_are():
    eight = MedicalImage(
        array=np.array([[0, 255]], np.uint8), kind="image", units="display", source_format="png"
    )
    assert to_unit_range(eight).tolist() == [[0, 1]]
    deep = eight.with_array(np.arange(1000, 3000, dtype=np.uint16).reshape(40, 50), units="arbitrary")
    values = to_unit_range(deep)
    assert values.min() == 0
    assert values.max() == 1
    assert abs(values.mean() - 0.5) < 0.01


def test_a_constant_image_is_no_division_by_zero():
    assert np.isfinite(percentile_scale(np.full((2, 3, 4), 7))).all()
