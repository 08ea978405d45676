"""The heart: every visual goes to its own place, what does not fit is an error, and only trained parts have gradients."""

from typing import Any

import pytest
import torch
from tests.factories.models import (
    IMAGES_ONLY,
    SHARED,
    SLICES,
    VOLUMES_ONLY,
    conversation,
    differs,
    image_of,
    prepare,
    tiny,
)
from tests.factories.parts import CONNECTORS, hf_vision

from medmvl.imaging import MedicalImage
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.visual_table import VisualRow, to_rows
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.models.volume_processing import VolumeProcessor

COLUMN = {name: number for number, name in enumerate(VisualRow._fields)}


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    return tiny()


@pytest.fixture
def batch(parts: tuple[Any, Any]) -> Any:
    """Two rows, two volumes and two images of different patients."""
    processor = parts[1]
    samples = [
        prepare(processor, "ct:a", "compare with", "xray:a", "Is there a nodule?", answer="Yes."),
        prepare(processor, "ct:b", "compare with", "xray:b", "Is there a nodule?", answer="No."),
    ]
    return processor.collate(samples)


def loss_of(model: Any, batch: Any) -> float:
    with torch.no_grad():
        return float(model(**batch).loss)


# Tokens and features


@pytest.mark.parametrize(
    "changes",
    [
        {}, SLICES, SHARED, IMAGES_ONLY, VOLUMES_ONLY,
        *[{"image_connector": c, "volume_connector": c} for c in CONNECTORS.values()],
        {"image_encoder": hf_vision(), **SHARED, "image_processor": {"size": [16, 16]}},
        {"image_encoder": hf_vision("clip_vision_model", select="cls_patch"), "image_processor": {"size": [16, 16]}},
    ],
)  # fmt: skip
def test_there_are_as_many_placeholders_as_tokens(changes):
    model, processor = tiny(**changes)
    content = ["and text"]
    if processor.image_processor is not None:
        content += ["xray:a", "xray:b"]
    if processor.volume_processor is not None:
        content += ["ct:a", "ct:b@40"]
    sample = prepare(processor, *content, answer="Yes.")
    batch = processor.collate([sample])
    visual = model.encode(
        batch.get("pixel_values"), batch.get("pixel_values_volumes"), batch["visual_table"],
        batch.get("volume_positions_mm"),
    )  # fmt: skip
    rows = to_rows(batch["visual_table"])
    assert [len(tokens) for tokens in visual] == [row.length for row in rows]
    placeholders = torch.isin(
        sample.input_ids, torch.tensor([processor.image_token_id, processor.volume_token_id])
    )
    assert sum(row.length for row in rows) == int(placeholders.sum())
    messages = conversation(*content, answer="Yes.")
    assert sum(processor.count_tokens(messages)) == len(sample.input_ids)
    assert processor.count_tokens(messages)[1] == int(placeholders.sum())
    assert loss_of(model, batch) > 0


@pytest.mark.parametrize("image_size", [(16, 16), (24, 8), (32, 20)])
@pytest.mark.parametrize("volume_size", [(8, 16, 16), (16, 8, 24)])
def test_other_sizes_give_their_own_number_of_tokens(image_size, volume_size):
    _, processor = tiny()
    model, _ = tiny()
    processor.image_processor = ImageProcessor(size=image_size, channels=1, mean=(0.5,), std=(0.5,))
    processor.volume_processor = VolumeProcessor(size=volume_size)
    batch = processor.collate([prepare(processor, "ct:a", "xray:b", answer="Yes.")])
    lengths = [row.length for row in to_rows(batch["visual_table"])]
    depth, height, width = volume_size
    assert lengths == [depth // 4 * (height // 8) * (width // 8), image_size[0] // 4 * (image_size[1] // 4)]
    assert loss_of(model, batch) > 0


def test_volumes_of_several_sizes_in_one_conversation_are_encoded_each_as_alone(parts):
    model, processor = parts
    small, large = processor.volume_processor, VolumeProcessor(size=(16, 24, 16))

    def load(block: Any) -> Any:
        processor.volume_processor = large if "large" in block.path else small
        try:
            return processor.process_visual(image_of(block))
        finally:
            processor.volume_processor = small

    messages = conversation(
        "now", "ct:a", "before", "ct:large-b@90", "xray:c", "and", "ct:c@365", answer="No."
    )
    sample = processor.prepare(messages, load, supervised=True, name="several")
    batch = processor.collate([sample])
    together = model.encode(
        batch["pixel_values"],
        batch["pixel_values_volumes"],
        batch["visual_table"],
        batch["volume_positions_mm"],
    )
    assert [len(tokens) for tokens in together] == [8, 24, 16, 8]
    for visual, tokens in zip(sample.visuals, together, strict=True):
        if visual.kind == "volume":
            alone = model.encode_volumes([visual.pixels], [visual.positions_mm])[0]
        else:
            alone = model.encode_images(visual.pixels)[0]
        assert differs(tokens, alone) < 1e-5


def test_every_visual_lands_in_its_own_place(parts, batch):
    """Changing one volume changes the embeddings at its placeholders and nowhere else."""
    model, processor = parts
    rows = to_rows(batch["visual_table"])
    visual = model.encode(
        batch["pixel_values"],
        batch["pixel_values_volumes"],
        batch["visual_table"],
        batch["volume_positions_mm"],
    )
    text = model.get_input_embeddings()(batch["input_ids"])
    placed = model.scatter(batch["input_ids"], text, visual, rows)
    expected = text.clone()
    for row, tokens in zip(rows, visual, strict=True):
        expected[row.row, row.start : row.start + row.length] = tokens
    assert torch.equal(placed, expected)
    changed = (placed != text).any(-1)
    ids = torch.tensor([processor.image_token_id, processor.volume_token_id])
    assert torch.equal(changed, torch.isin(batch["input_ids"], ids))


def test_the_order_of_the_table_does_not_matter(parts, batch):
    model, _ = parts
    before = loss_of(model, batch)
    batch["visual_table"] = batch["visual_table"].flip(0)
    assert loss_of(model, batch) == pytest.approx(before, rel=1e-6)


def test_equal_visuals_are_stored_and_encoded_once(parts):
    model, processor = parts
    questions = ["Is there a nodule?", "Which side?", "Describe."]
    same = [prepare(processor, "ct:a", "xray:b", question, answer="Yes.") for question in questions]
    batch = processor.collate([*same, prepare(processor, "ct:other", "hm", answer="No.")])
    assert len(batch["pixel_values_volumes"]) == 2
    assert len(batch["pixel_values"]) == 1
    assert [row.index for row in to_rows(batch["visual_table"]) if row.kind == 1] == [0, 0, 0, 1]
    alone = [loss_of(model, processor.collate([sample])) * sample.num_supervised for sample in same]
    together = processor.collate(same)
    assert loss_of(model, together) * sum(s.num_supervised for s in same) == pytest.approx(
        sum(alone), rel=1e-5
    )


def test_padding_on_the_right_changes_nothing(parts):
    model, processor = parts
    samples = [
        prepare(processor, "ct:a", "short", answer="No."),
        prepare(processor, "xray:b", "a much longer question about the same patient", answer="Yes. It grew."),
    ]
    alone = [loss_of(model, processor.collate([sample])) * sample.num_supervised for sample in samples]
    batch = processor.collate(samples)
    assert loss_of(model, batch) * int((batch["labels"] != IGNORED_LABEL).sum()) == pytest.approx(
        sum(alone), rel=1e-5
    )


# What does not fit is an error


def test_pixels_of_two_patients_cannot_be_swapped_unnoticed(parts, batch):
    model, _ = parts
    batch["pixel_values_volumes"] = batch["pixel_values_volumes"][::-1]
    with pytest.raises(ValueError, match=r"volume at row 0.* not those the processor bound"):
        model(**batch)


def test_images_of_two_patients_cannot_be_swapped_unnoticed(parts, batch):
    model, _ = parts
    batch["pixel_values"] = batch["pixel_values"].flip(0)
    with pytest.raises(ValueError, match=r"image at row 0.* not those the processor bound"):
        model(**batch)


def test_rows_of_the_table_cannot_point_to_each_others_pixels(parts, batch):
    model, _ = parts
    volumes = batch["visual_table"][:, COLUMN["kind"]] == 1
    index = batch["visual_table"][volumes, COLUMN["index"]]
    batch["visual_table"][volumes, COLUMN["index"]] = index.flip(0)
    with pytest.raises(ValueError, match="not those the processor bound"):
        model(**batch)


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("length", -1, "its place holds 7 placeholders, but encoder and connector gave 8"),
        ("start", 1, "placeholders and visual table do not agree"),
        ("index", 9, "is number 9, but the batch holds 2 volumes"),
        ("row", 1, "placeholders and visual table do not agree"),
    ],
)
def test_a_block_that_does_not_fit_its_place_is_an_error(parts, batch, column, change, message):
    model, _ = parts
    batch["visual_table"][0, COLUMN[column]] += change
    with pytest.raises(ValueError, match=message):
        model(**batch)


def test_a_visual_in_a_place_of_the_other_kind_is_an_error(parts):
    model, processor = parts
    batch = processor.collate([prepare(processor, "ct:a", answer="Yes.")])
    ids = batch["input_ids"]
    ids[ids == processor.volume_token_id] = processor.image_token_id
    with pytest.raises(ValueError, match="placeholders and visual table do not agree"):
        model(**batch)


def test_a_placeholder_without_a_visual_is_an_error(parts, batch):
    model, _ = parts
    batch["visual_table"] = batch["visual_table"][1:]
    with pytest.raises(ValueError, match="a placeholder without an image or volume"):
        model(**batch)


def test_placeholders_without_any_table_are_an_error(parts, batch):
    model, _ = parts
    with pytest.raises(ValueError, match="a placeholder without an image or volume"):
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])


# Gradients


def graph_reaches(model: Any, batch: Any, names: set[str]) -> None:
    model.zero_grad(set_to_none=True)
    model(**batch).loss.backward()
    reached = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert reached == names


def test_frozen_parts_keep_no_autograd_state():
    model, processor = tiny()
    model.train()
    batch = processor.collate([prepare(processor, "ct:a", "xray:b", answer="Yes.")])
    for part in (model.image_encoder, model.volume_encoder):
        part.requires_grad_(False)
    kept: list[Any] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda tensor: tensor):
        features = model.volume_encoder(torch.stack(batch["pixel_values_volumes"]))
    assert not kept
    assert not features.streams[0].requires_grad
    graph_reaches(model, batch, {"image_connector", "volume_connector", "llm"})


def test_a_frozen_llm_still_passes_gradients_to_the_connector():
    model, processor = tiny()
    model.train()
    model.requires_grad_(False)
    model.volume_connector.requires_grad_(True)
    batch = processor.collate([prepare(processor, "ct:a", answer="Yes.")])
    graph_reaches(model, batch, {"volume_connector"})
    assert all(weight.grad.abs().sum() > 0 for weight in model.volume_connector.parameters())


@pytest.mark.parametrize("changes", [{}, SHARED])
@pytest.mark.parametrize("content", [(), ("ct:a",), ("xray:a",)])
def test_idle_parts_get_zero_gradients_and_change_nothing(content, changes):
    model, processor = tiny(**changes)
    batch = processor.collate([prepare(processor, *content, "hello", answer="yes")])
    expected = loss_of(model, batch)
    model.train()
    loss = model(**batch).loss
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not missing
    idle = [kind for kind in ("image", "volume") if f"{'xray' if kind == 'image' else 'ct'}:a" not in content]
    for kind in idle:
        connector = getattr(model, f"{kind}_connector")
        assert all(not weight.grad.any() for weight in connector.parameters())


@pytest.mark.parametrize(
    "changes", [{}, SLICES, {"image_encoder": hf_vision(), "image_processor": {"size": [16, 16]}}]
)
def test_gradient_checkpointing_gives_the_same_gradients(changes):
    model, processor = tiny(**changes)
    batch = processor.collate([prepare(processor, "ct:a", "xray:b", answer="Yes. It grew.")])
    model.train()
    gradients = []
    calls = 0

    def counted(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.llm.model.layers[0].self_attn.register_forward_pre_hook(counted)
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    assert calls == 3, "checkpointing did not run the first layer again"
    assert max(differs(gradients[0][name], gradients[1][name]) for name in gradients[0]) < 1e-6


def test_half_precision_pixels_are_taken(parts, batch):
    """A cast changes the bits that fingerprints compare, so half precision is not refused."""
    model, _ = parts
    before = loss_of(model, batch)
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    batch["pixel_values_volumes"] = [volume.bfloat16() for volume in batch["pixel_values_volumes"]]
    assert loss_of(model, batch) == pytest.approx(before, rel=0.05)


def test_a_model_of_images_refuses_volumes():
    _, processor = tiny(**IMAGES_ONLY)
    with pytest.raises(ValueError, match="reads no volumes"):
        prepare(processor, "ct:a", answer="Yes.")


def test_a_block_must_hold_its_own_kind(parts):
    _, processor = parts

    def wrong(block: Any) -> MedicalImage:
        return image_of(conversation("xray:a")[0].visuals[0])

    with pytest.raises(ValueError, match="a sample: its volume block holds an image"):
        processor.prepare(
            conversation("ct:a", answer="Yes."),
            processor.visual_loader(wrong),
            supervised=True,
            name="a sample",
        )
