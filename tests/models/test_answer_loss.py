"""The loss in chunks is the loss of the LLM's own logits, with its gradients, for every family and kind of head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.factories.models import LLMS, prepare, tiny
from tests.models.test_causal_attention import MORE
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from medmvl.models import answer_loss
from medmvl.models.answer_logprobs import Sampling, chunked_logprobs, token_logprobs
from medmvl.models.answer_loss import Head, chunked_loss, head_of

FAMILIES = {**LLMS, "qwen3": MORE["qwen3"], "gemma3": {**MORE["gemma3"], "final_logit_softcapping": 2.0}}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows per chunk of a vocabulary of 320."""
    monkeypatch.setattr(answer_loss, "CHUNK_BYTES", {"cpu": 4 * 320 * 3})


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_llms_own_logits(family: str) -> None:
    model, processor = tiny(FAMILIES[family])
    assert head_of(model.llm) is not None
    batch = processor.collate(
        [
            prepare(processor, "ct:a", "xray:b", "Is there a nodule?", answer="Yes. 有"),
            prepare(processor, "no image", answer="a rather longer answer than the other one"),
        ]
    )
    model.train()
    found, wanted = (
        (
            model(**batch, return_logits=asked),
            torch.autograd.grad(model(**batch, return_logits=asked).loss, trained),
        )
        for trained in [[weight for weight in model.parameters() if weight.requires_grad]]
        for asked in (False, True)
    )
    assert found[0].logits is None and wanted[0].logits is not None
    assert found[0].loss.item() == pytest.approx(wanted[0].loss.item(), rel=1e-6)
    torch.testing.assert_close(found[0].token_losses, wanted[0].token_losses, rtol=1e-5, atol=1e-5)
    scale = max(float(gradient.norm()) for gradient in wanted[1])
    assert max(float((a - b).norm()) for a, b in zip(found[1], wanted[1], strict=True)) < 1e-5 * scale
    with torch.no_grad():
        assert torch.equal(model(**batch).predicted, wanted[0].logits.argmax(-1))


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_head_with_bias_factor_and_cap(cap: float | None, with_bias: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(10, 8, requires_grad=True)
    weight = torch.randn(320, 8).requires_grad_(not frozen)
    bias = torch.randn(320).requires_grad_(not frozen) if with_bias else None
    targets = torch.randint(320, (10,))
    logits = nn.functional.linear(hidden, weight, bias) * 0.5
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    wanted = nn.functional.cross_entropy(logits, targets, reduction="sum")
    total, each, predicted = chunked_loss(hidden, targets, Head(weight, bias, 0.5, cap), 4)
    assert predicted is None and each.sum().item() == pytest.approx(wanted.item(), rel=1e-6)
    parts = [part for part in (hidden, weight, bias) if part is not None and part.requires_grad]
    ours, theirs = torch.autograd.grad(total * 3, parts), torch.autograd.grad(wanted * 0.75, parts)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that is made in the block."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("of", ["loss", "log-probabilities"])
def test_no_tensor_grows_with_all_positions_times_vocabulary(of: str) -> None:
    hidden, weight = torch.randn(50, 8, requires_grad=True), torch.randn(320, 8, requires_grad=True)
    targets, head = torch.zeros(50, dtype=torch.long), Head(weight, None)
    with Largest() as largest:
        if of == "loss":
            chunked_loss(hidden, targets, head, 1)[0].backward()
        else:
            chunked_logprobs(hidden, targets, head, Sampling(0.7, (3,))).logprobs.sum().backward()
    assert largest.elements == weight.numel() > 3 * 320
    assert weight.grad is not None and hidden.grad is not None


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7, (3, 5)), Sampling(torch.linspace(0.5, 2, 10))]
)
def test_logprobs_in_chunks_are_those_of_whole_logits(
    sampling: Sampling, frozen: bool, cap: float | None
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(10, 8, requires_grad=True)
    weight, bias = torch.randn(320, 8).requires_grad_(not frozen), torch.randn(320)
    bias.requires_grad_(not frozen)
    targets, slopes = torch.randint(320, (10,)), torch.randn(10)
    slopes[4] = 0
    logits = nn.functional.linear(hidden, weight, bias) * 0.5
    wanted = token_logprobs(logits if cap is None else cap * torch.tanh(logits / cap), targets, sampling)
    found = chunked_logprobs(hidden, targets, Head(weight, bias, 0.5, cap), sampling)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    parts = [part for part in (hidden, weight, bias) if part.requires_grad]
    ours, theirs = (torch.autograd.grad((of.logprobs * slopes).sum(), parts) for of in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_and_gradients_of_a_model_are_those_of_its_own_logits(family: str) -> None:
    model, processor = tiny(FAMILIES[family])
    batch = processor.collate([prepare(processor, "xray:b", "Is there a nodule?", answer="Yes. 有")])
    model.train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    targets = batch["labels"][:, 1:][batch["labels"][:, 1:] != -100]
    sampling, slopes = Sampling(0.8, (7,)), torch.arange(len(targets)) - 3.0
    found = model(**batch, sampling=sampling)
    assert found.logits is None and found.loss is None
    whole = token_logprobs(model(**batch, return_logits=True).logits, targets, sampling)
    torch.testing.assert_close(found.token_logprobs.logprobs, whole.logprobs, rtol=1e-5, atol=1e-5)
    ours, theirs = (
        torch.autograd.grad((of.logprobs * slopes).sum(), trained) for of in (found.token_logprobs, whole)
    )
    scale = max(float(gradient.norm()) for gradient in theirs)
    assert max(float((a - b).norm()) for a, b in zip(ours, theirs, strict=True)) < 1e-5 * scale


def test_an_adapted_or_unknown_head_is_left_to_the_llm() -> None:
    model, _ = tiny("qwen2")
    model.llm.config.model_type = "unknown"
    assert head_of(model.llm) is None
    model.llm.config.model_type = "qwen2"
    model.llm.lm_head = nn.Sequential(model.llm.lm_head)
    assert head_of(model.llm) is None
