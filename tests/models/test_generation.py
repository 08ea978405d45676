"""Batches, beams and samples answer as each conversation alone, and pixels are encoded once."""

from typing import Any

import pytest
import torch
from tests.factories.models import SHARED, SLICES, differs, prepare, tiny

CONVERSATIONS = [
    ("now", "ct:a", "before", "ct:b@30", "Is there a nodule?"),
    ("ct:c", "any?"),
    ("a longer question without any image of the patient at all",),
    ("xray:d", "ct:e", "xray:f", "compare"),
]
GREEDY: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}


@pytest.fixture(scope="module", params=["own", "slices", "shared"])
def parts(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return tiny(**{"own": {}, "slices": SLICES, "shared": SHARED}[request.param])


def prompts(processor: Any, chosen: Any = CONVERSATIONS) -> Any:
    return processor.collate([prepare(processor, *content) for content in chosen], padding_side="left")


def generate(model: Any, batch: Any, **options: Any) -> Any:
    """What is generated, without the prompt, with the scores of every step."""
    output = model.generate(
        **batch, **GREEDY | options, return_dict_in_generate=True, output_scores=True, output_logits=True
    )
    return output, output.sequences[:, batch["input_ids"].shape[1] :]


def test_a_batch_answers_as_each_conversation_alone(parts):
    model, processor = parts
    together, tokens = generate(model, prompts(processor))
    for row, content in enumerate(CONVERSATIONS):
        alone, expected = generate(model, prompts(processor, [content]))
        assert torch.equal(tokens[row], expected[0])
        for step, logits in enumerate(alone.logits):
            log_probs = logits[0].log_softmax(-1), together.logits[step][row].log_softmax(-1)
            assert differs(*log_probs) < 1e-4


def test_the_images_decide_the_answer(parts):
    """With other volumes the logits differ by far more than the tolerance above."""
    model, processor = parts
    first, _ = generate(model, prompts(processor, [("ct:a", "ct:b", "any?")]))
    second, _ = generate(model, prompts(processor, [("ct:b", "ct:a", "any?")]))
    assert differs(first.logits[0], second.logits[0]) > 1e-2


@pytest.mark.parametrize("num_return_sequences", [1, 3])
def test_beams_look_at_their_own_volumes(parts, num_return_sequences):
    model, processor = parts
    options = {"num_beams": 3, "num_return_sequences": num_return_sequences}
    chosen = [CONVERSATIONS[0], CONVERSATIONS[3], ("ct:b", "now", "ct:a@30", "Is there a nodule?")]
    together, tokens = generate(model, prompts(processor, chosen), **options)
    for row, content in enumerate(chosen):
        alone, expected = generate(model, prompts(processor, [content]), **options)
        mine = slice(row * num_return_sequences, (row + 1) * num_return_sequences)
        assert differs(together.sequences_scores[mine], alone.sequences_scores) < 1e-4
        assert torch.equal(tokens[mine], expected)


def test_sampling_draws_from_each_ones_own_distribution(parts):
    model, processor = parts
    torch.manual_seed(0)
    output, tokens = generate(
        model, prompts(processor, CONVERSATIONS[:2]), do_sample=True, num_return_sequences=4, top_k=0
    )
    assert len(tokens) == 8
    assert len({tuple(row) for row in tokens[:4].tolist()}) > 1
    for row, content in enumerate(CONVERSATIONS[:2]):
        alone, _ = generate(model, prompts(processor, [content]))
        for copy in range(4):
            assert (
                differs(output.logits[0][4 * row + copy].softmax(-1), alone.logits[0][0].softmax(-1)) < 1e-4
            )


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}])
def test_pixels_are_encoded_once(parts, options):
    model, processor = parts
    calls: list[torch.Size] = []
    hook = model.volume_encoder.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape))
    try:
        generate(model, prompts(processor, CONVERSATIONS[:2]), **options)
    finally:
        hook.remove()
    assert [shape[0] for shape in calls] == [1, 1, 1], (
        "three volumes, each alone, so that its features depend on nothing else"
    )


def test_without_a_cache_the_answer_is_the_same(parts):
    model, processor = parts
    batch = prompts(processor)
    _, cached = generate(model, batch)
    _, uncached = generate(model, batch, use_cache=False)
    assert torch.equal(cached, uncached)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_encoded_visuals_can_be_given_instead_of_pixels(parts, options):
    model, processor = parts
    batch = prompts(processor)
    expected, _ = generate(model, batch, **options)
    with torch.no_grad():
        tokens = model.encode(
            batch.pop("pixel_values"), batch.pop("pixel_values_volumes"), batch["visual_table"],
            batch.pop("volume_positions_mm"),
        )  # fmt: skip
    found, _ = generate(model, {**batch, "visual_tokens": tokens}, **options)
    assert torch.equal(found.sequences, expected.sequences)


def test_generation_equals_a_loop_over_forward(parts):
    model, processor = parts
    batch = prompts(processor, [CONVERSATIONS[0]])
    ids = batch["input_ids"]
    rest = {key: value for key, value in batch.items() if key not in ("input_ids", "attention_mask")}
    for _ in range(GREEDY["max_new_tokens"]):
        with torch.no_grad():
            following = model(input_ids=ids, **rest).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, following], dim=1)
    output, _ = generate(model, batch)
    assert torch.equal(output.sequences, ids)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "temperature": 5.0}])
def test_no_placeholder_is_ever_written(options, tmp_path):
    """Not even by a model that wants nothing else; saved with it, and kept by the engine."""
    from tests.factories.models import conversation, image_of

    from medmvl.engine import Engine, GenerationOptions, Request

    model, processor = tiny("qwen2")
    own = [processor.image_token_id, processor.volume_token_id]
    with torch.no_grad():
        model.get_output_embeddings().weight[:] = 0
        row = torch.randn(model.get_output_embeddings().weight.shape[1]) * 10
        model.get_output_embeddings().weight[own] = torch.stack([row, -row])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    asked = prepare(processor, "xray:a", "Is there a nodule?")
    batch = processor.collate([asked], padding_side="left")
    assert int(model(**batch).logits[0, -1].argmax()) in own
    torch.manual_seed(0)
    for one in (model, again):
        answer = one.generate(**batch, max_new_tokens=6, eos_token_id=None, **options)[
            0, len(asked.input_ids) :
        ]
        assert len(answer) == 6
        assert not set(answer.tolist()) & set(own)
    chosen = GenerationOptions(
        max_new_tokens=6, num_beams=options.get("num_beams", 1), temperature=options.get("temperature", 0.0)
    )
    request = Request(tuple(conversation("xray:a", "Is there a nodule?")), processor.visual_loader(image_of))
    assert not set(Engine(again, processor).answer([request], chosen)[0].tokens) & set(own)
