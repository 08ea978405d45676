"""The processor: the same conversation by every road, lengths known beforehand, nothing cut, nothing misplaced."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.factories.models import conversation, image_of, prepare, tiny

from medmvl.errors import SampleError, UserError
from medmvl.models.placeholders import IMAGE_TOKEN, VOLUME_TOKEN
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visual_table import to_rows
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.schema import Message


@pytest.fixture(scope="module")
def processor() -> MedMVLProcessor:
    return tiny()[1]


def test_placeholders_stand_where_the_blocks_stand(processor):
    sample = prepare(processor, "now", "ct:a", "then", "ct:b@30", "and", "xray:c", "?", answer="Yes.")
    text = processor.tokenizer.decode(sample.input_ids)
    assert f"now{VOLUME_TOKEN * 8}\nthen[-30 d] {VOLUME_TOKEN * 8}\nand{IMAGE_TOKEN * 16}\n?" in text
    for visual, start in zip(sample.visuals, sample.starts, strict=True):
        token = processor.image_token_id if visual.kind == "image" else processor.volume_token_id
        assert (sample.input_ids[start : start + visual.num_tokens] == token).all()
        assert sample.input_ids[start - 1] != token


def test_a_block_is_bound_to_its_own_file(processor):
    """Blocks with the same path are the same file; each is asked for by its block, in whatever order."""
    asked: list[str] = []

    def load(block: Any) -> Any:
        asked.append(block.path)
        return image_of(block)

    messages = conversation("ct:b", "xray:a", "ct:a", answer="Yes.")
    sample = processor.prepare(messages, processor.visual_loader(load), supervised=True, name="s")
    assert asked == ["ct:b", "xray:a", "ct:a"]
    for visual, block in zip(sample.visuals, messages[0].visuals, strict=True):
        assert torch.equal(visual.pixels, processor.process_visual(image_of(block)).pixels)


def test_a_prompt_is_the_beginning_of_its_training_sample(processor):
    content = ("ct:a", "xray:b", "Is there a nodule?")
    prompt, trained = prepare(processor, *content), prepare(processor, *content, answer="Yes. 有")
    assert torch.equal(trained.input_ids[: len(prompt.input_ids)], prompt.input_ids)
    assert prompt.labels is None
    supervised = trained.labels != IGNORED_LABEL
    assert supervised.nonzero()[0].item() == len(prompt.input_ids)
    assert processor.decode(trained.labels[supervised]) == "Yes. 有"
    assert trained.input_ids[supervised][-1].item() in processor.stop_token_ids


def test_every_road_gives_the_same_tokens(processor):
    """`prepare`, `apply_chat_template(tokenize=True)`, and rendering first and calling the processor after."""
    xray, ct = (image_of(block) for block in conversation("xray:a", "ct:b")[0].visuals)
    turns = [
        {"role": "system", "content": "You read scans."},
        {"role": "user", "content": [
            {"type": "image", "image": xray}, {"type": "volume", "volume": ct, "days_before_current": 7},
            {"type": "text", "text": "Is there a nodule?"},
        ]},
    ]  # fmt: skip
    expected = processor.collate(
        [prepare(processor, "xray:a", "ct:b@7", "Is there a nodule?", system="You read scans.")], "left"
    )
    expected["pixel_values_volumes"] = [processor.process_visual(ct).pixels]
    tokenised = processor.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)
    rendered = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert rendered.count(IMAGE_TOKEN) == rendered.count(VOLUME_TOKEN) == 1
    called = processor(text=rendered, images=[xray], volumes=[ct])
    for batch in (tokenised, called):
        assert set(batch) == set(expected)
        assert batch["input_ids"].tolist() == expected["input_ids"].tolist()
        assert torch.equal(batch["pixel_values"], expected["pixel_values"])
        assert torch.equal(batch["pixel_values_volumes"][0], expected["pixel_values_volumes"][0])
        assert [row.length for row in to_rows(batch["visual_table"])] == [16, 8]


def test_images_and_paths_are_taken_as_well(processor, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    prompt = f"{IMAGE_TOKEN} what?"
    from_path = processor(text=[prompt], images=[tmp_path / "a.png"])
    from_image = processor(text=prompt, images=[Image.fromarray(array)])
    assert torch.equal(from_path["pixel_values"], from_image["pixel_values"])


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        (f"{IMAGE_TOKEN}{IMAGE_TOKEN}", 1, "text 0: more image placeholders than images"),
        (f"{IMAGE_TOKEN}", 2, "more visuals than placeholders"),
        ("hello", 1, "more visuals than placeholders"),
    ],
)
def test_placeholders_and_images_must_be_equally_many(processor, text, images, message):
    image = image_of(conversation("xray:a")[0].visuals[0])
    with pytest.raises(UserError, match=message):
        processor(text=text, images=[image] * images)


def test_nothing_is_cut(processor):
    with pytest.raises(
        SampleError, match=r"a sample: \d+ tokens \(8 of them visual\) are more than max_length 512"
    ):
        prepare(processor, "ct:a", "word " * 400, answer="Yes.")
    with pytest.raises(UserError, match="never truncates"):
        processor(text="hello", truncation=True)


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_special_tokens_in_any_role_are_refused(processor, role):
    messages = [
        Message.model_validate({"role": name, "content": f"a {IMAGE_TOKEN} b" if name == role else "hello"})
        for name in ("system", "user", "assistant")
    ]
    with pytest.raises(SampleError, match=r"case 1: its text spells the special token '<\|image\|>'"):
        processor.prepare(messages, processor.visual_loader(image_of), supervised=True, name="case 1")


def test_padding_sides(processor):
    samples = [prepare(processor, "ct:a", "short"), prepare(processor, "a longer question", "ct:b", "?")]
    for side in ("left", "right"):
        batch = processor.collate(samples, side)
        for row, sample in enumerate(samples):
            kept = batch["attention_mask"][row].bool()
            assert torch.equal(batch["input_ids"][row][kept], sample.input_ids)
            assert bool(kept[-1] if side == "left" else kept[0])
        for entry, sample in zip(to_rows(batch["visual_table"]), samples, strict=True):
            place = batch["input_ids"][entry.row, entry.start : entry.start + entry.length]
            assert (place == processor.volume_token_id).all()
            assert len(place) == sample.visuals[0].num_tokens


def test_settings_survive_a_folder(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = MedMVLProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.tokenizer.chat_template == processor.tokenizer.chat_template
    assert loaded.stop_token_ids == processor.stop_token_ids
    content = ("ct:a", "xray:b", "Is there a nodule?")
    ours, theirs = (prepare(p, *content, answer="Yes.") for p in (processor, loaded))
    assert torch.equal(ours.input_ids, theirs.input_ids)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(ours.visuals, theirs.visuals, strict=True))


def test_settings_of_another_release_are_refused_by_name(processor, tmp_path):
    """Dropped in silence, the model would read no images."""
    processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["images"] = settings.pop("image_processor")
    file.write_text(json.dumps(settings))
    with pytest.raises(UserError, match="unknown to this release: images"):
        MedMVLProcessor.from_pretrained(tmp_path)


def test_what_is_seen_says_what_was_done_and_never_who(processor):
    block = conversation("ct:secret-name")[0].visuals[0]
    visual = processor.process_visual(image_of(block))
    assert visual.notes == ("windows full",)
    assert visual.source["units"] == "HU"
    assert "secret" not in repr(visual)
