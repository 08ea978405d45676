"""Named conventions give the pixels that published models were trained with: against plain loops, and against MONAI."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medmvl.errors import UserError
from medmvl.imaging import read
from medmvl.models.volume_conventions import by_convention, resnet_processor
from medmvl.models.volume_processing import VolumeProcessor

SPACING = (2.0, 1.0, 2.5)
"""Right, anterior and superior of the small scan."""


def small_scan(folder: Path, axcodes: str = "LPS") -> Path:
    """Smooth tissue in air, stored along other axes than those of the network."""
    rng = np.random.default_rng(0)
    hounsfield = np.full((19, 23, 14), -1000.0)
    hounsfield[3:17, 2:20, 1:12] = rng.integers(-900, 900, (14, 18, 11))
    image = nib.Nifti1Image(hounsfield.astype(np.int16), np.diag([*SPACING, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axcodes)
    )
    path = folder / "scan.nii.gz"
    nib.save(image.as_reoriented(turn), path)
    return path


def as_ras(path: Path) -> NDArray[np.float64]:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj, dtype=np.float64)


def merlin_by_loops(ras: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.float64]:
    """1.5 x 1.5 x 3 mm from the first voxel's centre, -1000 to 1000, centred in `size` (R, A, S)."""
    steps = [new / old for new, old in zip((1.5, 1.5, 3.0), SPACING, strict=True)]
    counts = [round((n - 1) / step + 1) for n, step in zip(ras.shape, steps, strict=True)]
    places = np.meshgrid(*[np.arange(n) * step for n, step in zip(counts, steps, strict=True)], indexing="ij")
    unit = np.clip((map_coordinates(ras, places, order=1, mode="nearest") + 1000) / 2000, 0, 1)
    pads = [
        (max(n - k, 0) // 2, max(n - k, 0) - max(n - k, 0) // 2) for k, n in zip(counts, size, strict=True)
    ]
    unit = np.pad(unit, pads)
    return unit[
        tuple(slice(k // 2 - n // 2, k // 2 - n // 2 + n) for k, n in zip(unit.shape, size, strict=True))
    ]


def astra_by_loops(ras: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.float64]:
    """The box above -1000, each new voxel the mean of all old ones it touches, -1000 to 200."""
    inside = np.argwhere(ras > -1000)
    cut = ras[tuple(slice(low, high + 1) for low, high in zip(inside.min(0), inside.max(0), strict=True))]
    result = np.empty(size)
    for index in np.ndindex(*size):
        spans = [
            slice(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(index, cut.shape, size, strict=True)
        ]
        result[index] = cut[tuple(spans)].mean()
    return np.clip((result + 1000) / 1200, 0, 1)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("size", [(4, 12, 10), (20, 31, 40), (9, 30, 25)])
@pytest.mark.parametrize(("name", "loops"), [("merlin", merlin_by_loops), ("astra_chest", astra_by_loops)])
def test_voxels_equal_a_plain_computation(
    tmp_path: Path, axcodes: str, size: tuple[int, int, int], name: Any, loops: Any
) -> None:
    path = small_scan(tmp_path, axcodes)
    scan = read(path)
    processor = VolumeProcessor.from_settings(resnet_processor(name) | {"size": size})
    voxels = processor(scan.with_array(scan.array, units="HU")).voxels[0].numpy()
    theirs = loops(as_ras(path), (size[1], size[2], size[0])).transpose(2, 0, 1)
    np.testing.assert_allclose(voxels, theirs, atol=1e-5)


@pytest.mark.parametrize("name", ["merlin", "astra_chest"])
def test_the_matrix_leads_back_to_the_scan(tmp_path: Path, name: Any) -> None:
    scan = read(small_scan(tmp_path))
    ramp = np.broadcast_to(
        np.arange(scan.array.shape[1], dtype=np.float32)[None, :, None] * 30 - 900, scan.array.shape
    )
    view = VolumeProcessor.from_settings(resnet_processor(name) | {"size": (9, 30, 25)})(
        scan.with_array(np.ascontiguousarray(ramp), units="HU")
    )
    found = view.voxels[0, 4, 15, :].numpy() * (2000 if name == "merlin" else 1200) - 1000
    index = np.stack([np.full(25, 4), np.full(25, 15), np.arange(25), np.ones(25)])
    rows = (view.matrix @ index)[1]
    inside = (rows > 1) & (rows < scan.array.shape[1] - 2) & (found < 190)
    assert inside.sum() > 5
    np.testing.assert_allclose(
        found[inside], rows[inside] * 30 - 900, atol=30 if name == "astra_chest" else 1e-2
    )


def test_merlin_needs_a_spacing_and_hounsfield_units(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say its spacing"):
        by_convention("merlin", np.zeros((4, 5, 6)), (4, 4, 4))
    processor = VolumeProcessor.from_settings(resnet_processor("merlin"))
    with pytest.raises(UserError, match="in Hounsfield units"):
        processor(read(small_scan(tmp_path)))


def monai_chain(name: str, size: tuple[int, int, int] = (224, 224, 160)) -> Any:
    """The chains as Merlin's and Astra's code has them."""
    from monai import transforms as t

    first = [t.LoadImage(), t.EnsureChannelFirst(), t.Orientation("RAS")]
    if name == "merlin":
        return t.Compose(
            [*first, t.Spacing((1.5, 1.5, 3), mode="bilinear"), t.ScaleIntensityRange(-1000, 1000, 0, 1, clip=True),
             t.SpatialPad(size), t.CenterSpatialCrop(size)]
        )  # fmt: skip
    return t.Compose(
        [*first, t.CropForeground(select_fn=lambda values: values > -1000), t.Resize(size, mode="area"),
         t.ScaleIntensityRange(-1000, 200, 0, 1, clip=True)]
    )  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["merlin", "astra_chest"])
def test_real_ct_equals_monai(name: Any) -> None:
    pytest.importorskip("monai")
    folder = os.environ.get("MEDMVL_TEST_DATA")
    if not folder:
        pytest.skip("MEDMVL_TEST_DATA names no folder of real scans")
    path = Path(folder) / "ct_nifti" / "example_ct.nii.gz"
    scan = read(path)
    voxels = VolumeProcessor.from_settings(resnet_processor(name))(
        scan.with_array(scan.array, units="HU")
    ).voxels[0]
    theirs = np.asarray(monai_chain(name)(str(path)))[0].transpose(2, 0, 1)
    np.testing.assert_allclose(voxels.numpy(), theirs, atol=1e-3)


MSIIP = {
    "medm_vl_slices": (0.0, False, True),
    "medm_vl_m3d_clip": (0.0, True, False),
    "medm_vl_medm_clip": (55.6982188356434, False, False),
}
"""Foreground, stretched from the lowest, cut to whole grey levels."""


def predecessor_at_once(
    name: str, hounsfield: NDArray[Any], size: tuple[int, int, int]
) -> NDArray[np.float32]:
    """MSIIP/MedM-VL's preprocessing, each step on the whole volume."""
    foreground, from_lowest, eight_bit = MSIIP[name]
    grey = (np.clip(hounsfield, -1000, 1000).astype(np.float64) + 1000) / 2000 * 255
    if from_lowest:
        grey = (grey - grey.min()) / max(float(np.ptp(grey)), 255e-8) * 255
    inside = np.argwhere(grey > foreground) if (grey > foreground).any() else np.argwhere(grey > -1)
    cut = grey[tuple(slice(low, high + 1) for low, high in zip(inside.min(0), inside.max(0), strict=True))]
    tensor = torch.from_numpy(np.ascontiguousarray(cut, dtype=np.float32))
    voxels = torch.nn.functional.interpolate(tensor[None, None], size=size, mode="trilinear")[0, 0].numpy()
    return np.asarray((np.floor(voxels) if eight_bit else voxels) / np.float32(255), np.float32)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int32])
@pytest.mark.parametrize("air", [-1000, -1024, 400])
@pytest.mark.parametrize("name", MSIIP)
def test_slice_by_slice_is_equal_to_the_whole_at_once(name: Any, air: int, dtype: Any) -> None:
    """Also where all of it is air, or nothing is."""
    rng = np.random.default_rng(3)
    for body in (np.s_[2:9, 3:10, 1:12], np.s_[:, :0, :], np.s_[:, :, 5:6]):
        hounsfield = np.full((11, 13, 12), air, dtype)
        hounsfield[body] = rng.integers(-1100, 3000, hounsfield[body].shape)
        voxels, matrix = by_convention(name, hounsfield, (5, 8, 7))
        np.testing.assert_array_equal(voxels, predecessor_at_once(name, hounsfield, (5, 8, 7)))
        assert matrix.shape == (4, 4)


@pytest.mark.parametrize("name", MSIIP)
def test_memory_is_that_of_one_copy_in_32_bits(name: Any) -> None:
    hounsfield = np.random.default_rng(0).integers(-1000, 1000, (48, 96, 96)).astype(np.int16)
    by_convention(name, hounsfield[:2], (2, 4, 4))
    tracemalloc.start()
    try:
        by_convention(name, hounsfield, (4, 8, 8))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * 4 * hounsfield.size
