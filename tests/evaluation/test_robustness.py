"""A shift changes what it says and nothing else, and the same file always alike."""

import numpy as np
import pytest

from medmvl.errors import UserError
from medmvl.evaluation.robustness import SHIFTS, check_shifts, drop_slices, shifted
from medmvl.imaging import MedicalImage
from medmvl.schema import ImageBlock, VolumeBlock
from tests.factories.engine import image_of

CT, XRAY = VolumeBlock(volume="ct-1"), ImageBlock(image="x-1")


@pytest.mark.parametrize("name", list(SHIFTS))
@pytest.mark.parametrize("block", [CT, XRAY])
def test_a_shift_is_the_same_every_time_and_keeps_the_grid(
    name: str, block: VolumeBlock | ImageBlock
) -> None:
    before, once, twice = image_of(block), shifted(image_of, name)(block), shifted(image_of, name)(block)
    assert np.array_equal(once.array, twice.array)
    assert (once.units, once.kind) == (before.units, before.kind)
    if name == "slices":
        assert once.shape[0] == (2 if block is CT else 16)
    else:
        assert once.shape == before.shape and not np.array_equal(once.array, before.array)


def test_sizes_of_the_shifts() -> None:
    noise = shifted(image_of, "noise")(CT).array - image_of(CT).array
    assert abs(noise.std() - 50) < 5 and abs(noise.mean()) < 8
    assert np.allclose(shifted(image_of, "window")(CT).array - image_of(CT).array, 100)
    assert shifted(image_of, "window")(XRAY).array.dtype == np.uint8
    halved = shifted(image_of, "resolution")(CT).array
    assert halved.mean() == pytest.approx(image_of(CT).array.mean(), rel=0.05)
    assert halved.std() < 0.8 * image_of(CT).array.std()


def test_slices_go_where_the_scan_was_cut() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    sagittal = MedicalImage(
        array=np.arange(64).reshape(4, 4, 4), kind="volume", units="arbitrary", source_format="nifti",
        affine=affine, axcodes=("S", "P", "L"), acquired_axcodes=("R", "S", "P"), spacing_mm=(2.0, 3.0, 4.0),
    )  # fmt: skip
    kept = drop_slices(sagittal, np.random.default_rng(0))
    assert kept.shape == (4, 4, 2) and kept.spacing_mm == (2.0, 3.0, 8.0)
    assert kept.affine is not None and np.allclose(kept.affine @ [1, 1, 1, 1], affine @ [1, 1, 2, 1])


def test_an_unknown_shift_lists_the_known() -> None:
    assert check_shifts(["noise", "noise"]) == ("noise",)
    with pytest.raises(UserError, match="known: noise, resolution, window, slices"):
        check_shifts(["blur"])
