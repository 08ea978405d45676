"""Without a stored mask, every LLM family gives what it gives with one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.factories.models import LLMS, differs, prepare, tiny
from transformers import AutoConfig, AutoModelForCausalLM

from medmvl.models.causal_attention import CAUSAL_FAMILIES, CausalMask, PackedGroup, is_purely_causal
from medmvl.models.packing import pack
from medmvl.models.visuals import IGNORED_LABEL

_SMALL = {key: value for key, value in LLMS["qwen2"].items() if key != "model_type"}
MORE: dict[str, dict[str, Any]] = {
    "qwen3": {**_SMALL, "model_type": "qwen3", "head_dim": 12},
    "gemma3": {**_SMALL, "model_type": "gemma3_text", "head_dim": 12, "sliding_window": 64},
    "mistral_window": {**LLMS["mistral"], "sliding_window": 64},
    "phi3_window": {**LLMS["phi3"], "sliding_window": 64},
}
FAMILIES = {name: settings for name, settings in LLMS.items() if name != "gemma2"} | MORE


@pytest.fixture(scope="module", params=FAMILIES)
def llm(request: pytest.FixtureRequest) -> Any:
    """A tiny LLM whose weights are large enough that every token matters."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**FAMILIES[request.param], vocab_size=60), attn_implementation="sdpa"
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.3)
    return model.eval()


def gradients(llm: Any, loss: torch.Tensor) -> torch.Tensor:
    llm.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in llm.parameters() if p.grad is not None])


def test_a_right_padded_batch_needs_no_mask(llm: Any) -> None:
    lengths = (40, 17, 31)
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(3, 40, 24, generator=generator)
    real = torch.arange(40)[None] < torch.tensor(lengths)[:, None]
    assert is_purely_causal(llm.config, 40), llm.config.model_type
    found = llm(inputs_embeds=embeddings, attention_mask=CausalMask.of(embeddings), use_cache=False).logits
    wanted = llm(inputs_embeds=embeddings, attention_mask=real.long(), use_cache=False).logits
    assert differs(found[real], wanted[real]) < 2e-5
    assert wanted[real].std() > 0.01
    ours, theirs = (gradients(llm, logits[real].square().sum()) for logits in (found, wanted))
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_packed_samples_are_what_they_are_alone(llm: Any) -> None:
    lengths = [40, 17, 31]
    samples = torch.randn(88, 24, generator=torch.Generator().manual_seed(1)).split(lengths)
    row = torch.cat(samples)[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    mask = CausalMask.of(row, [PackedGroup(0, (length,)) for length in lengths])
    found = llm(inputs_embeds=row, attention_mask=mask, position_ids=positions, use_cache=False).logits[0]
    wanted = torch.cat([llm(inputs_embeds=sample[None], use_cache=False).logits[0] for sample in samples])
    assert differs(found, wanted) < 2e-5
    ours, theirs = (gradients(llm, logits.square().sum()) for logits in (found, wanted))
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    whole = llm(inputs_embeds=row, use_cache=False).logits[0]
    assert differs(found[40:], whole[40:]) > 0.01, "a sample that saw its neighbours would go unnoticed"


def test_a_shared_beginning_is_what_it_is_in_each_sample(llm: Any) -> None:
    """Two groups that share and one sample alone; the first of each group's samples begins right after what is shared."""
    groups = [PackedGroup(20, (7, 1, 12)), PackedGroup(0, (9,)), PackedGroup(1, (5, 6))]
    row = torch.randn(1, sum(group.total for group in groups), 24, generator=torch.Generator().manual_seed(1))
    positions, wanted, start = [], [], 0
    for shared, lengths in groups:
        beginning, after = row[:, start : start + shared], start + shared
        alone = []
        for length in lengths:
            sample = torch.cat([beginning, row[:, after : after + length]], dim=1)
            alone.append(llm(inputs_embeds=sample, use_cache=False).logits[0])
            after += length
        wanted += [alone[0][:shared], *(logits[shared:] for logits in alone)]
        positions += [torch.arange(shared), *(torch.arange(shared, shared + length) for length in lengths)]
        start = after
    mask = CausalMask.of(row, groups)
    found = llm(
        inputs_embeds=row, attention_mask=mask, position_ids=torch.cat(positions)[None], use_cache=False
    ).logits[0]
    assert differs(found, torch.cat(wanted)) < 2e-5
    ours, theirs = (gradients(llm, logits.square().sum()) for logits in (found, torch.cat(wanted)))
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_a_window_shorter_than_the_row_keeps_its_mask() -> None:
    for family in ("gemma3", "mistral_window", "phi3_window"):
        config = AutoConfig.for_model(**MORE[family], attn_implementation="sdpa")
        assert is_purely_causal(config, 64) and not is_purely_causal(config, 65), family


@pytest.mark.parametrize(
    ("family", "attention"), [("gpt2", "sdpa"), ("bloom", "sdpa"), ("qwen2", "eager"), ("gemma2", "eager")]
)
def test_an_untested_family_or_attention_keeps_its_mask(family: str, attention: str) -> None:
    assert not is_purely_causal(AutoConfig.for_model(family, attn_implementation=attention), 40)
    assert is_purely_causal(AutoConfig.for_model("qwen2", attn_implementation="sdpa"), 40)


def test_what_would_read_the_mask_is_refused() -> None:
    mask = CausalMask.of(torch.zeros(2, 5, 4))
    assert mask.shape == (2, 1, 5, 5)
    for reads in (lambda: mask + 1, lambda: mask[:, :, :3], lambda: mask.to(torch.float32)):
        with pytest.raises(NotImplementedError, match="not stored"):
            reads()


@pytest.mark.parametrize("family", ["qwen2", "cohere", "mistral"])
def test_the_model_trains_without_a_mask_and_gives_the_same(family: str) -> None:
    model, processor = tiny(family)
    model.train()
    batch = processor.collate(
        [
            prepare(processor, "ct:a", "xray:b", "Is there a nodule?", answer="Yes. 有"),
            prepare(processor, "no image", answer="a rather longer answer than the other one"),
        ]
    )
    found = model(**batch).loss
    alone = model(**{name: value for name, value in batch.items() if name != "attention_mask"}).loss
    model.llm.config._attn_implementation = "eager"
    wanted = model(**batch).loss
    assert found.item() == alone.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_model_packs_and_gives_the_same(checkpointing: bool) -> None:
    model, processor = tiny("qwen2")
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    samples = [
        prepare(processor, "ct:a", "xray:b", "Is there a nodule?", answer="Yes. 有"),
        prepare(processor, "no image", answer="a rather longer answer than the other one"),
        prepare(processor, "ct:a", "ct:c", answer="grew"),
    ]
    padded, packed = processor.collate(samples), pack(samples)
    assert [row[:3] for row in packed["visual_table"].tolist()] != [
        row[:3] for row in padded["visual_table"].tolist()
    ]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    losses = [model(**batch).loss for batch in (padded, packed)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    wanted, found = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in losses)
    scale = max(float(gradient.norm()) for gradient in wanted if gradient is not None)
    for one, other in zip(wanted, found, strict=True):
        assert one is None or float((one - other).norm()) < 1e-5 * scale


def test_packing_is_refused_by_name() -> None:
    model, processor = tiny("gemma2")
    with pytest.raises(ValueError, match="not for 'gemma2'"):
        model(**pack([prepare(processor, "one", answer="yes"), prepare(processor, "two", answer="no")]))


def test_a_batch_padded_on_the_left_keeps_its_mask() -> None:
    model, processor = tiny("qwen2")
    samples = [
        prepare(processor, "short", answer="yes"),
        prepare(processor, "much longer", answer="a long one"),
    ]
    right, left = (processor.collate(samples, padding_side=side) for side in ("right", "left"))
    positions = (left["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        assert float(model(**left, position_ids=positions).loss) == pytest.approx(
            float(model(**right).loss), rel=1e-5
        )
    assert (left["labels"] != IGNORED_LABEL).sum() == (right["labels"] != IGNORED_LABEL).sum()


def test_every_family_of_the_list_is_tested_here() -> None:
    assert {settings["model_type"] for settings in FAMILIES.values()} == CAUSAL_FAMILIES
