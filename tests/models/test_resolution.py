"""Images in tiles, native sizes, variable volumes and crops: tokens known beforehand, the way back right everywhere."""

import json
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories.models import PARTS, differs, tiny
from typer.testing import CliRunner

from medmvl.data.prepared import PreparedCache
from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.errors import RecipeError
from medmvl.imaging import MedicalImage
from medmvl.imaging.geometry import affine_from
from medmvl.models.assemble import load
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.visual_preprocessor import LABEL_PIXELS, describe
from medmvl.models.visual_table import to_rows
from medmvl.models.visuals import ProcessedSample
from medmvl.models.volume_processing import VolumeProcessor
from medmvl.schema import Message

IMAGE = {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]}
VOLUME = {"size": [8, 16, 16]}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiles": {"image_processor": {**IMAGE, "max_tiles": 4}},
    "padded tiles": {"image_processor": {**IMAGE, "max_tiles": 6, "fit": "pad"}},
    "native": {"image_processor": {**IMAGE, "fit": "native", "multiple": 4}},
    "padded": {"image_processor": {**IMAGE, "fit": "pad"}},
    "own voxels": {"volume_processor": {"size": [12, 32, 24], "fit": "variable", "multiple": [4, 8, 8]}},
    "spacing": {
        "volume_processor": {
            "size": [12, 32, 24],
            "fit": "variable",
            "multiple": [4, 8, 8],
            "spacing_mm": [4, 2, 2],
        }
    },
    "fixed spacing": {"volume_processor": {**VOLUME, "spacing_mm": [4, 2, 2]}},
    "crops": {"volume_processor": {**VOLUME, "crops": 4}},
    "crops, unchanged patches dropped": {"volume_processor": {**VOLUME, "crops": 4, "drop_unchanged": 0.07}},
    "other crops": {
        "volume_processor": {**VOLUME, "crops": 3, "crop_size": [4, 16, 8], "crop_spacing_mm": [3, 1, 1]}
    },
}

shapes2d = st.tuples(st.integers(8, 70), st.integers(8, 70))
shapes3d = st.tuples(st.integers(5, 20), st.integers(12, 40), st.integers(12, 40))


@cache
def parts(name: str) -> tuple[Any, Any]:
    return tiny(**SETTINGS[name])


def image2d(shape: tuple[int, int], seed: int = 0) -> MedicalImage:
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return MedicalImage(array=array, kind="image", units="display", source_format="png")


def volume(
    shape: tuple[int, ...], seed: int = 0, array: np.ndarray | None = None, **changes: Any
) -> MedicalImage:
    """A canonical CT with voxels of 5 x 1 x 1.5 mm."""
    values = np.random.default_rng(seed).integers(-400, 1000, shape) if array is None else array
    spacing = (5.0, 1.0, 1.5)
    fields: dict[str, Any] = {
        "array": values.astype(np.float32), "kind": "volume", "units": "HU", "source_format": "nifti", "modality": "CT",
        "axcodes": ("S", "P", "L"), "acquired_axcodes": ("S", "P", "L"), "spacing_mm": spacing,
        "affine": affine_from(("S", "P", "L"), spacing),
    }  # fmt: skip
    return MedicalImage(**(fields | changes))


def image_for(name: str, data: st.DataObject, seed: int = 0) -> MedicalImage:
    if "image_processor" in SETTINGS[name]:
        return image2d(data.draw(shapes2d), seed)
    return volume(data.draw(shapes3d), seed)


def conversation(
    *images: MedicalImage, answer: str | None = "Yes."
) -> tuple[list[Message], dict[str, MedicalImage]]:
    blocks = [{"type": image.kind, image.kind: f"{number}"} for number, image in enumerate(images)]
    content = [{"type": "text", "text": "Compare:"}, *blocks, {"type": "text", "text": "Is it there?"}]
    messages = [{"role": "user", "content": content}]
    messages += [{"role": "assistant", "content": answer}] if answer else []
    return [Message.model_validate(message) for message in messages], dict(
        zip("0123456789", images, strict=False)
    )


def prepare(processor: Any, *images: MedicalImage, answer: str | None = "Yes.") -> ProcessedSample:
    messages, found = conversation(*images, answer=answer)
    sample: ProcessedSample = processor.prepare(
        messages,
        processor.visual_loader(lambda block: found[block.path]),
        supervised=answer is not None,
        add_generation_prompt=answer is None,
    )
    return sample


def encoded(model: Any, batch: Any) -> list[torch.Tensor]:
    tokens: list[torch.Tensor] = model.encode(
        batch.get("pixel_values"), batch.get("pixel_values_volumes"), batch["visual_table"],
        batch.get("volume_positions_mm"), batch.get("volume_kept"),
    )  # fmt: skip
    return tokens


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_tokens_are_known_before_the_model_runs(name, data):
    """Every row's tokens, tiles and grid are the real ones, the text stands around them, and no sample is longer than said."""
    model, processor = parts(name)
    images = [image_for(name, data, seed) for seed in range(data.draw(st.integers(1, 2)))]
    sample = prepare(processor, *images)
    batch = processor.collate([sample])
    rows = to_rows(batch["visual_table"])
    visuals = [processor.process_visual(image) for image in images]
    assert [row.length for row in rows] == [view.num_tokens for visual in visuals for view in visual.views]
    with torch.no_grad():
        assert [len(tokens) for tokens in encoded(model, batch)] == [row.length for row in rows]
        assert torch.isfinite(model(**batch).logits).all()
    for row, view in zip(rows, sample.visuals, strict=True):
        assert (row.tiles, row.grid) == (view.tiles, view.grid)
        assert len(view.matrices) == view.tiles
    own = {processor.image_token_id, processor.volume_token_id}
    text = [int(i) for i in sample.input_ids if int(i) not in own]
    suffix = processor.visual_suffix
    assert processor.decode(text).count(f"Compare:{suffix * len(images)}Is it there?") == 1
    for visual in visuals:
        assert visual.all_tokens <= processor.tokens_of(visual.kind)
    counted = processor.count_tokens(conversation(*images)[0])
    assert sum(counted) >= len(sample.input_ids)
    assert counted[0] == len(text)


def ramp(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Values that grow evenly along one axis, within the full window."""
    return np.broadcast_to(
        np.linspace(-400, 800, shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))]),
        shape,
    )


def check_way_back(seen: np.ndarray, matrix: np.ndarray, image: MedicalImage, axis: int) -> int:
    """Wherever a voxel of a ramp is seen, its value is the ramp's at the place the matrix names; how many were compared.

    Left out is what lies next to the border of the image, where interpolation has no neighbours.
    """
    places = np.indices(seen.shape if seen.ndim == 3 else (1, *seen.shape)).reshape(3, -1)
    found = (matrix @ np.vstack([places, np.ones(places.shape[1])]))[:3]
    if seen.ndim == 2:
        found = found[1:]
    margin = np.abs(matrix[:3, :3]).sum(axis=1)[-len(found) :, None] + 1
    last = np.array(image.shape[: len(found)])[:, None] - 1
    inside = ((found >= margin) & (found <= last - margin)).all(axis=0)
    step = 1200 / (image.shape[axis] - 1)
    expected = (-400 + step * found[axis][inside] + 1000) / 2000
    assert seen.reshape(-1)[inside] == pytest.approx(expected, abs=2e-3)
    return int(inside.sum())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "changes", [{"max_tiles": 6}, {"max_tiles": 6, "fit": "pad"}, {"fit": "native", "multiple": 4}]
)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(shape=st.tuples(st.integers(30, 120), st.integers(30, 120)))
def test_every_tile_leads_back_to_the_image(axis, changes, shape):
    array = ramp(shape, axis).astype(np.float32)
    image = MedicalImage(array=array, kind="image", units="HU", source_format="dicom", modality="CT")
    processor = ImageProcessor(
        size=(32, 24), channels=1, mean=(0.0,), std=(1.0,), window="full", interpolation="bilinear", **changes
    )
    tiles, matrices, _ = processor.tiles(image)
    assert len(tiles) == len(matrices)
    compared = [
        check_way_back(tile[0].numpy(), matrix, image, axis)
        for tile, matrix in zip(tiles, matrices, strict=True)
    ]
    assert compared[0] > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("plane", ["axial", "acquired"])
@pytest.mark.parametrize(
    "changes",
    [
        {"crops": 8, "crop_size": (8, 12, 12)},
        {"crops": 2, "crop_size": (30, 20, 20), "crop_spacing_mm": (4.0, 2.0, 2.0)},
        {"fit": "variable", "multiple": (4, 4, 4)},
        {"fit": "variable", "multiple": (4, 4, 4), "spacing_mm": (4.0, 2.0, 2.0)},
    ],
)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(shape=st.tuples(st.integers(12, 30), st.integers(20, 40), st.integers(20, 40)))
def test_every_crop_leads_back_to_the_scan(axis, plane, changes, shape):
    image = volume(shape, array=ramp(shape, axis), acquired_axcodes=("R", "I", "P"))
    processor = VolumeProcessor(
        size=(16, 24, 24), plane=plane, mean=0.0, std=1.0, interpolation="linear", **changes
    )
    views = processor.views(image)
    assert (len(views) > 1) == ("crops" in changes)
    compared = [check_way_back(view.voxels[0].numpy(), view.matrix, image, axis) for view in views]
    assert sum(compared) > 0
    slice_axis = 0 if plane == "axial" else 2
    for view in views:
        along = (view.matrix @ np.array([0, 0, 0, 1]))[slice_axis] * image.spacing_mm[slice_axis]
        assert view.positions_mm is not None and len(view.positions_mm) == view.voxels.shape[1]
        assert float(view.positions_mm[0]) == pytest.approx(along, abs=1e-3)


def test_full_resolution_crops_are_the_scans_own_voxels():
    image = volume((20, 40, 40))
    views = VolumeProcessor(size=(8, 16, 16), crops=12, mean=0.0, std=1.0).views(image)[1:]
    assert len(views) == 12
    for view in views:
        d, h, w = view.matrix[:3, 3].astype(int)
        own = (image.array[d : d + 8, h : h + 16, w : w + 16] + 1000) / 2000
        assert view.voxels[0].numpy() == pytest.approx(own, abs=1e-5)
    assert views[0].notes == ("12 crops of (8, 16, 16) voxels hold 64% of the body",)


def test_crops_of_mr_are_as_bright_as_their_scan():
    """A dark corner stays dark: crops are scaled as one."""
    rng = np.random.default_rng(0)
    array = rng.uniform(800, 1000, (16, 32, 32))
    array[8:] *= 0.5
    views = VolumeProcessor(size=(8, 32, 32), crops=2, mean=0.0, std=1.0).views(
        volume(array.shape, array=array, units="arbitrary", modality="MR")
    )
    bright, dark = (float(view.voxels.mean()) for view in views[1:])
    assert dark < 0.3 < 0.8 < bright


def test_a_scan_larger_than_the_most_says_what_was_cut():
    small, large = volume((6, 16, 16)), volume((60, 30, 20))
    processor = VolumeProcessor(
        size=(8, 16, 16), spacing_mm=(5.0, 1.0, 1.5), fit="variable", multiple=(2, 8, 8)
    )
    assert len(processor(small).notes) == 1
    assert processor(small).voxels.shape == (1, 6, 16, 16)
    assert "cut around the centre from (60, 30, 20) to (8, 16, 16)" in processor(large).notes[1]


@pytest.mark.parametrize("name", ["tiles", "native", "own voxels", "crops"])
@settings(max_examples=5, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_batch_of_many_sizes_gives_what_each_gives_alone(name, data):
    model, processor = parts(name)
    samples = [
        prepare(processor, *(image_for(name, data, 10 * row + number) for number in range(count)))
        for row, count in enumerate([1, 2, 1])
    ]
    with torch.no_grad():
        together = encoded(model, processor.collate(samples))
        alone = [tokens for sample in samples for tokens in encoded(model, processor.collate([sample]))]
    for one, other in zip(together, alone, strict=True):
        assert differs(one, other) < 1e-4


@pytest.mark.parametrize("name", ["tiles", "crops", "native"])
def test_tiles_and_crops_cannot_change_places(name):
    model, processor = parts(name)
    images = (
        [image2d((40, 40), 1), image2d((40, 40), 2)]
        if "image_processor" in SETTINGS[name]
        else [volume((20, 32, 32))]
    )
    batch = processor.collate([prepare(processor, *images)])
    key = "pixel_values" if "pixel_values" in batch else "pixel_values_volumes"
    assert len(batch[key]) > (1 if name == "native" else 3)
    for first, second in combinations(range(len(batch[key])), 2):
        order = list(range(len(batch[key])))
        order[first], order[second] = second, first
        with pytest.raises(ValueError, match="not those the processor bound"):
            model(**{**batch, key: [batch[key][index] for index in order]})


@pytest.mark.parametrize("name", ["tiles", "native", "crops"])
def test_each_tile_and_crop_is_connected_with_the_question(name):
    """A connector that the question guides gets it for every view, and a batch gives what each gives alone."""
    connector = {"type": "text_selection", "keep": 3}
    model, processor = tiny(**SETTINGS[name], image_connector=connector, volume_connector=connector)
    make = image2d if "image_processor" in SETTINGS[name] else volume
    shape = (40, 20) if make is image2d else (12, 30, 40)
    samples = [prepare(processor, make(shape, 1)), prepare(processor, make(shape[::-1], 2), make(shape, 3))]
    names = (
        "pixel_values",
        "pixel_values_volumes",
        "visual_table",
        "volume_positions_mm",
        "volume_kept",
        "question_ids",
    )
    with torch.no_grad():
        together, first, second = (
            model.encode(*(batch.get(key) for key in names))
            for batch in map(processor.collate, [samples, samples[:1], samples[1:]])
        )
    views = [view for sample in samples for view in sample.visuals]
    assert [len(tokens) for tokens in together] == [3 * view.tiles for view in views]
    for one, other in zip(together, [*first, *second], strict=True):
        assert differs(one, other) < 1e-4


@pytest.mark.parametrize("name", ["native", "own voxels"])
def test_one_checkpoint_reads_every_size(name, tmp_path):
    """Saved once: three sizes are answered, alone and in one batch alike; positions are interpolated between them."""
    model, processor = parts(name)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    engine = Engine.load(tmp_path, "cpu")
    images = (
        [image2d((16, 16), 1), image2d((9, 30), 2), image2d((40, 11), 3)]
        if name == "native"
        else [volume((4, 16, 16), 1), volume((12, 24, 8), 2), volume((8, 32, 24), 3)]
    )
    requests = []
    for image in images:
        messages, found = conversation(image, answer=None)
        requests.append(
            Request(tuple(messages), processor.visual_loader(lambda block, found=found: found[block.path]))
        )
    options = GenerationOptions(max_new_tokens=5)
    together = engine.answer(requests, options)
    assert len({str(answer.seen[0]["model_shape"]) for answer in together}) == 3
    for request, answer in zip(requests, together, strict=True):
        assert engine.answer([request], options)[0].tokens == answer.tokens


@pytest.mark.parametrize("name", ["tiles", "native", "own voxels", "crops"])
def test_sizes_train_together(name):
    """The loss of a batch of several sizes is that of its samples, and its gradients are theirs."""
    model, processor = tiny(**SETTINGS[name])
    images = (
        [image2d((16, 16), 1), image2d((9, 40), 2), image2d((40, 11), 3)]
        if "image_processor" in SETTINGS[name]
        else [volume((4, 16, 16), 1), volume((12, 24, 8), 2), volume((8, 32, 24), 3)]
    )
    samples = [prepare(processor, image) for image in images]
    assert len({str(sample.visuals[0].pixels.shape) + str(len(sample.visuals)) for sample in samples}) > 1
    model.train()
    together = model(**processor.collate(samples)).loss
    together.backward()
    kind = "image" if "image_processor" in SETTINGS[name] else "volume"
    weight = next(getattr(model, f"{kind}_encoder").parameters())
    gradient = weight.grad.clone()
    model.zero_grad()
    total = sum(sample.num_supervised for sample in samples)
    alone = [model(**processor.collate([sample]), num_items_in_batch=total).loss for sample in samples]
    sum(alone).backward()
    assert float(together) == pytest.approx(float(sum(alone)), abs=1e-4)
    assert differs(gradient, weight.grad) < 1e-4 * max(1.0, float(gradient.abs().max()))


def test_a_model_trained_at_one_size_reads_others(tmp_path):
    """The sizes are settings of the processor: the weights of a saved model fit tiles and native sizes as they are."""
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, reader = load(tmp_path)
    for settings_ in (SETTINGS["native"], SETTINGS["tiles"]):
        reader.image_processor = ImageProcessor.from_settings(settings_["image_processor"])
        with torch.no_grad():
            assert torch.isfinite(again(**reader.collate([prepare(reader, image2d((12, 40)))])).logits).all()


@pytest.mark.parametrize("name", ["tiles", "crops"])
def test_the_cache_on_disk_keeps_tiles_and_crops(name, tmp_path):
    processor = parts(name)[1]
    kind = "image" if name == "tiles" else "volume"
    np.save(tmp_path / "scan.npy", image2d((50, 20)).array if name == "tiles" else volume((12, 40, 30)).array)
    block = Message.model_validate(
        {
            "role": "user",
            "content": [{"type": kind, kind: "scan.npy", "units": "display" if name == "tiles" else "HU"}],
        }
    ).visuals[0]
    cached = PreparedCache(tmp_path / "cache").wrap(BlockLoader(tmp_path), processor)
    made, found = cached(block), cached(block)
    assert len(made.views) == len(found.views)
    assert made.tiles + len(made.crops) > 2
    for one, other in zip(made.views, found.views, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert (one.matrices == other.matrices).all()
        assert (one.num_tokens, one.grid, list(one.notes)) == (
            other.num_tokens,
            other.grid,
            list(other.notes),
        )


def test_what_is_seen_is_described_and_drawn():
    tiled, cropped = parts("tiles")[1].visual_preprocessor, parts("crops")[1].visual_preprocessor
    visual = tiled.process(image2d((40, 40)))
    assert describe(visual)["tiles"] == 5
    assert len(describe(visual)["tile_matrices"]) == 5
    drawn = np.asarray(tiled.draw(visual)) / 255
    assert drawn[:16, 18:34] == pytest.approx(visual.pixels[1, 0].numpy() * 0.5 + 0.5, abs=3e-3)
    whole = cropped.process(volume((20, 40, 40)))
    described = describe(whole)
    assert described["tokens"] == 8 * 5 == sum(crop["tokens"] for crop in described["crops"]) + 8
    labels = np.asarray(cropped.draw(whole).convert("L"))[:LABEL_PIXELS]
    assert labels.max() > 200  # words
    assert cropped.draw(whole).height == 5 * cropped.draw(replace(whole, crops=())).height


@pytest.mark.parametrize("name", ["tiles", "crops"])
def test_inspect_shows_tiles_and_crops(name, tmp_path):
    from medmvl.cli.inspect import inspect

    app = typer.Typer()
    app.command()(inspect)
    for part in parts(name):
        part.save_pretrained(tmp_path / "model")
    kind = ["--units", "HU"] if name == "crops" else []
    np.save(tmp_path / "scan.npy", volume((20, 40, 40)).array if kind else image2d((40, 40)).array)
    shown = [str(tmp_path / "scan.npy"), "--model", str(tmp_path / "model"), *kind]
    seen = json.loads(CliRunner().invoke(app, [*shown, "--json"]).output)["model"]
    assert (seen["tiles"], len(seen.get("crops", ()))) == ((1, 4) if kind else (5, 0))
    table = CliRunner().invoke(app, shown)
    assert table.exit_code == 0
    assert ("crops: 1" if kind else "tile_matrices: 0") in table.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_processor": {**IMAGE, "size": [18, 16], "fit": "native", "multiple": 4}},
            "whole multiples of 4",
        ),
        (
            {"image_processor": {**IMAGE, "max_tiles": 4, "fit": "native", "multiple": 4}},
            "max_tiles needs fit",
        ),
        (
            {"image_processor": {**IMAGE, "fit": "native", "multiple": 2}},
            "may make pixels of .* patch size",
        ),
        ({"volume_processor": {**VOLUME, "crop_size": [4, 8, 8]}}, "need crops"),
        ({"volume_processor": {**VOLUME, "multiple": [4, 8, 8]}}, "belongs to fit: variable"),
        ({"volume_processor": {**VOLUME, "fit": "variable", "multiple": [3, 8, 8]}}, "whole multiples of"),
        ({"volume_processor": {**VOLUME, "crops": 2, "crop_size": [4, 12, 8]}}, "may make pixels of .*12"),
        (
            {
                "image_processor": {**IMAGE, "fit": "native", "multiple": 4},
                "image_connector": {"type": "pixel_shuffle"},
            },
            "may make pixels of",
        ),
        ({"image_processor": {**IMAGE, "max_tiles": 60}}, "one image takes 976 tokens"),
    ],
)
def test_settings_that_cannot_run_are_refused_at_once(changes, message):
    with pytest.raises(RecipeError, match=message):
        tiny(**(PARTS | changes))
