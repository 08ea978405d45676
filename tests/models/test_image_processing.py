"""Images become pixels as CLIP and SigLIP make them, and every pixel knows where it lies on the image."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medmvl.errors import RecipeError, UserError
from medmvl.imaging import MedicalImage
from medmvl.models.image_processing import ImageProcessor

GREY = {"channels": 1, "mean": (0.0,), "std": (1.0,)}
sizes = st.tuples(st.integers(9, 70), st.integers(9, 70))


def medical_image(array: np.ndarray, units: str = "display", modality: str | None = None) -> MedicalImage:
    return MedicalImage(array=array, kind="image", units=units, source_format="png", modality=modality)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def library_processors() -> dict[str, Any]:
    from transformers import DeiTImageProcessorPil, EfficientNetImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    crop = {"height": 24, "width": 24}
    return {
        "siglip": SiglipImageProcessorPil(size={"height": 32, "width": 28}),
        "clip": CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=crop),
        "resize more than crop": CLIPImageProcessorPil(size={"shortest_edge": 31}, crop_size=crop),
        "squash in spite of a crop": DeiTImageProcessorPil(size=crop, crop_size=crop),
        "not normalised": SiglipImageProcessorPil(size=crop, do_normalize=False),
        "neither scaled": SiglipImageProcessorPil(size=crop, do_normalize=False, do_rescale=False),
        "scaled otherwise": SiglipImageProcessorPil(size=crop, rescale_factor=1 / 127.5),
        "scaled and moved": EfficientNetImageProcessorPil(
            size=crop, resample=3, rescale_factor=1 / 127.5, rescale_offset=True, include_top=False
        ),
        "normalised twice": EfficientNetImageProcessorPil(size=crop, resample=3),
    }


LIBRARY = library_processors()


@pytest.mark.parametrize("name", LIBRARY)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(size=sizes, colour=st.booleans())
def test_pixels_are_those_of_the_librarys_processor(name, size, colour):
    theirs = LIBRARY[name]
    array = noise((*size, 3) if colour else size)
    ours, _, _ = ImageProcessor.from_huggingface(theirs.to_dict())(medical_image(array))
    image = Image.fromarray(array).convert("RGB")
    expected = torch.as_tensor(np.asarray(theirs(image, return_tensors="np")["pixel_values"][0]))
    assert ours.shape == expected.shape
    assert float((ours - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


CLIP = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_resize": False}, "made with do_resize: false"),
        ({"do_pad": True}, "made with do_pad: true"),
        ({"size": 24, "crop_pct": 0.875, "do_center_crop": False}, "made with crop_pct"),
        ({"size": {"height": 32, "width": 32}}, "changes the aspect ratio"),
    ],
)
def test_pixels_that_ours_cannot_make_are_refused(change, message):
    with pytest.raises(RecipeError, match=message):
        ImageProcessor.from_huggingface({**CLIP, **change})


def test_a_checkpoint_without_a_fixed_size_is_refused():
    settings_ = {"size": {"shortest_edge": 24}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(RecipeError, match="changing sizes"):
        ImageProcessor.from_huggingface(settings_)


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(size=st.tuples(st.integers(24, 90), st.integers(24, 90)), data=st.data())
def test_the_matrix_leads_from_a_bright_pixel_back_to_its_place(fit, size, data):
    """A bright square, large enough to survive; the centre of what is seen lies at its centre."""
    processor = ImageProcessor(size=(32, 40), fit=fit, interpolation="bilinear", **GREY)
    row, column = data.draw(st.integers(4, size[0] - 5)), data.draw(st.integers(4, size[1] - 5))
    array = np.zeros(size, np.uint8)
    array[row - 3 : row + 4, column - 3 : column + 4] = 255
    pixels, matrix, _ = processor(medical_image(array))
    values = pixels[0].double().numpy()
    at_the_edge = values[[0, -1]].any() or values[:, [0, -1]].any()
    if values.sum() == 0 or at_the_edge:
        assert fit == "crop" or at_the_edge
        return
    h, w = np.indices(values.shape)
    centre = np.array([0, (values * h).sum() / values.sum(), (values * w).sum() / values.sum(), 1])
    scale = matrix[1, 1], matrix[2, 2]
    found = matrix @ centre
    assert found[1:3] == pytest.approx([row, column], abs=0.6 * max(1, *scale))


def test_fits():
    wide = medical_image(np.full((20, 40), 255, np.uint8))
    padded, matrix, _ = ImageProcessor(size=(32, 32), fit="pad", **GREY)(wide)
    assert (padded[0, 8:24] == 1).all()
    assert (padded[0, :8] == 0).all()
    assert (padded[0, 24:] == 0).all()
    assert matrix[1, 1] == matrix[2, 2] == pytest.approx(1.25)
    cropped, matrix, _ = ImageProcessor(size=(32, 32), fit="crop", **GREY)(wide)
    assert (cropped == 1).all()
    assert matrix @ [0, 0, 0, 1] == pytest.approx([0, -0.1875, 9.8125, 1])
    squashed, matrix, _ = ImageProcessor(size=(32, 32), **GREY)(wide)
    assert (squashed == 1).all()
    assert matrix @ [0, -0.5, -0.5, 1] == pytest.approx([0, -0.5, -0.5, 1])
    assert matrix @ [0, 31.5, 31.5, 1] == pytest.approx([0, 19.5, 39.5, 1])


def test_a_16_bit_radiograph_keeps_its_depth():
    """More grey levels reach the model than eight bits hold."""
    array = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    processor = ImageProcessor(size=(64, 64), interpolation="nearest", **GREY)
    pixels, _, notes = processor(medical_image(array, units="arbitrary", modality="DX"))
    assert len(pixels.unique()) > 1000
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    assert (pixels.flatten().diff() >= 0).all()
    assert notes == ("scaled between percentiles",)


def test_a_ct_slice_goes_through_the_window():
    array = np.array([[-1000.0, -160.0], [40.0, 240.0]]).repeat(8, 0).repeat(8, 1)
    processor = ImageProcessor(size=(16, 16), interpolation="nearest", window="mediastinum", **GREY)
    pixels, _, _ = processor(medical_image(array, units="HU", modality="CT"))
    assert pixels[0, ::8, ::8].flatten().tolist() == pytest.approx([0, 0, 0.5, 1])


def test_colour_and_grey_meet_the_channels_of_the_encoder():
    grey = noise((16, 16))
    three, _, _ = ImageProcessor(size=(16, 16), interpolation="nearest")(medical_image(grey))
    assert torch.equal(three[0], three[1])
    assert torch.equal(three[0], three[2])
    colour = np.stack([grey, grey, grey], axis=2)
    one, _, _ = ImageProcessor(size=(16, 16), interpolation="nearest", **GREY)(medical_image(colour))
    assert one[0].numpy() == pytest.approx(grey / 255, abs=1e-6)


def test_wrong_settings_name_the_key():
    with pytest.raises(RecipeError, match="sise"):
        ImageProcessor.from_settings({"sise": (16, 16)})
    with pytest.raises(UserError, match="no window 'lungs'"):
        ImageProcessor(window="lungs", **GREY)(medical_image(np.zeros((4, 4)), units="HU"))


def test_settings_survive_json():
    processor = ImageProcessor(size=(20, 24), fit="crop", shortest_edge=30, window=(40, 80), **GREY)
    assert ImageProcessor.from_settings(processor.model_dump(mode="json")) == processor
