"""Connectors that the question guides: the mathematics, and that each visual gets its own question, never an answer."""

from __future__ import annotations

import pytest
import torch
from tests.factories.connectors import CONNECTORS, OUTPUT, VOLUME_GRID, WIDTH, built, features_of, question
from tests.factories.models import conversation, differs, image_of, prepare, tiny

from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.errors import UserError
from medmvl.models.connectors import build_connector
from medmvl.models.features import VisualFeatures

SELECTION = {"image_connector": {"type": "text_selection", "keep": 6}}
GUIDED = {
    "text_selection": SELECTION,
    "moe": {"image_connector": {"type": "moe", "num_experts": 2, "task_width": 4}},
    "q_former": {
        "image_connector": {
            "type": "q_former", "num_queries": 4, "width": 8, "num_layers": 2, "num_heads": 2, "text": True,
        }
    },
    "bilinear": {"image_connector": {"type": "bilinear", "rank": 8, "glimpses": 2}},
    "volumes": {"volume_connector": {"type": "text_selection", "keep": 3}},
}  # fmt: skip


def batch_of(processor, *samples):
    return processor.collate(list(samples))


def encoded(model, batch):
    names = ("pixel_values", "pixel_values_volumes", "visual_table", "volume_positions_mm", "volume_kept")
    return model.encode(*(batch.get(name) for name in names), batch["question_ids"])


def test_the_tokens_most_like_the_question_are_kept_in_order_and_only_they_are_trained():
    connector, features = built(CONNECTORS["text_selection"]), features_of(VOLUME_GRID)
    features.streams[0].requires_grad_()
    text = question(connector)
    every = connector.mlp(features.streams[0])
    likeness = torch.nn.functional.cosine_similarity(every, text.mean(1, keepdim=True), dim=-1)
    kept = connector(features, text)
    kept.square().sum().backward()
    for sample in range(2):
        chosen = sorted(likeness[sample].argsort(descending=True)[:7].tolist())
        torch.testing.assert_close(kept[sample], every[sample, chosen])
        moved = features.streams[0].grad[sample].abs().sum(-1).nonzero().flatten().tolist()
        assert moved == chosen


def test_the_router_reads_the_task_before_the_token():
    connector, features = built(CONNECTORS["moe with a task token"]), features_of(VOLUME_GRID)
    text = question(connector)
    task = connector.task(text.mean(1, keepdim=True)).expand(-1, 32, -1)
    gates = connector.router(torch.cat([task, features.streams[0]], dim=-1)).sigmoid()
    weights = connector.weights(features.streams[0], text)
    torch.testing.assert_close(weights, gates / gates.sum(-1, keepdim=True))


def test_a_question_that_differs_sees_other_cells_and_a_product_knows_what_a_sum_cannot():
    """Exclusive or of question and image, which no sum of the two can say, is learned."""
    torch.manual_seed(0)
    connector = build_connector(
        {"type": "bilinear", "rank": 8, "glimpses": 1, "dropout": 0.0}, (WIDTH,), OUTPUT
    )
    images, words = torch.randn(2, 1, WIDTH), torch.randn(2, 1, OUTPUT)
    seen, asked = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.Adam(connector.parameters(), lr=0.02)
    for _ in range(150):
        tokens = connector(VisualFeatures((images[seen],), (1, 1, 1)), words[asked])
        loss = torch.nn.functional.soft_margin_loss(20 * tokens[:, 0, 0], (2.0 * (seen ^ asked) - 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (tokens[:, 0, 0] > 0).long().tolist() == (seen ^ asked).tolist()
    assert connector.norm.weight.shape == (OUTPUT,)


@pytest.mark.parametrize("changes", GUIDED.values(), ids=GUIDED)
def test_each_visual_of_a_batch_is_connected_with_its_own_question(changes):
    model, processor = tiny(**changes)
    block = "ct:a" if "volume_connector" in changes else "xray:a"
    asked = [
        prepare(processor, block, text, answer="Yes.") for text in ("Is there a nodule?", "Describe it.")
    ]
    together = encoded(model, batch_of(processor, *asked))
    assert len({id(visual.pixels) for sample in asked for visual in sample.visuals}) == 2
    for sample, tokens in zip(asked, together, strict=True):
        alone = encoded(model, batch_of(processor, sample))[0]
        torch.testing.assert_close(tokens, alone, rtol=1e-4, atol=1e-5)
        assert len(tokens) == sample.visuals[0].num_tokens
    assert differs(*together) > 1e-3


@pytest.mark.parametrize("changes", GUIDED.values(), ids=GUIDED)
def test_the_answer_never_guides(changes):
    model, processor = tiny(**changes)
    block = "ct:a" if "volume_connector" in changes else "xray:a"
    samples = [
        prepare(processor, block, "Is it?", answer=answer) for answer in ("Yes.", "No, nothing at all.", None)
    ]
    first, second, prompt = (encoded(model, batch_of(processor, sample))[0] for sample in samples)
    assert torch.equal(first, second) and torch.equal(first, prompt)


@pytest.mark.parametrize("changes", GUIDED.values(), ids=GUIDED)
def test_a_model_guided_by_questions_trains_and_generates(changes):
    model, processor = tiny(**changes)
    block = "ct:a" if "volume_connector" in changes else "xray:a"
    model.train()
    batch = batch_of(processor, prepare(processor, block, "Is it?", answer="Yes."))
    model(**batch).loss.backward()
    part = model.volume_connector if "volume_connector" in changes else model.image_connector
    assert [name for name, weight in part.named_parameters() if weight.grad is None] == []
    idle = batch_of(processor, prepare(processor, "Only text?", answer="Yes."))
    model(**idle).loss.backward()
    prompt = processor.collate([prepare(processor, block, "Is it?")], padding_side="left")
    output = model.eval().generate(**prompt, max_new_tokens=2, num_beams=2, do_sample=False)
    assert output.shape[1] > prompt["input_ids"].shape[1]


def test_the_question_is_what_the_user_says_up_to_the_next_answer():
    _, processor = tiny(**SELECTION)
    messages = [
        *conversation("xray:a", "Is it", answer="Yes."), *conversation("xray:b", answer="No."),
    ]  # fmt: skip
    sample = processor.prepare(messages, processor.visual_loader(image_of), supervised=True)
    texts = [processor.decode(visual.question_ids) for visual in sample.visuals]
    assert texts == ["Is it", "\n"]


def test_the_kept_share_is_reported():
    _, processor = tiny(**SELECTION)
    visual = prepare(processor, "xray:a", "Is it?").visuals[0]
    assert visual.kept_share == 6 / 16
    assert visual.to_json()["kept_share"] == 0.375


def test_a_rendered_prompt_is_refused_because_its_question_cannot_be_told():
    _, processor = tiny(**SELECTION)
    with pytest.raises(UserError, match="give the conversation to apply_chat_template"):
        processor("<|image|> Is it?", images=[])


def test_a_second_question_is_not_answered_with_what_the_first_one_chose():
    model, processor = tiny(**SELECTION)
    engine = Engine(model, processor)
    image = image_of(conversation("xray:a")[0].visuals[0])
    asked = [
        Request(conversation("xray:a", text), processor.visual_loader(lambda block: image), text)
        for text in ("Is it?", "Describe the findings.")
    ]
    engine.answer(asked[:1], GenerationOptions(max_new_tokens=2))
    engine.answer(asked[1:], GenerationOptions(max_new_tokens=2))
    assert len(engine.inputs.visual_tokens) == 2
