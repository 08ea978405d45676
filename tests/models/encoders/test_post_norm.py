"""Our post-norm layer is PyTorch's: names, starting weights, outputs and gradients."""

from __future__ import annotations

import torch
from torch import nn

from medmvl.models.encoders.post_norm import PostNormLayer


def both() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    theirs = nn.TransformerEncoderLayer(24, 2, 40, dropout=0.0, batch_first=True)
    torch.manual_seed(3)
    return PostNormLayer(24, 2, 40), theirs


def test_names_and_starting_weights_are_those_of_pytorch() -> None:
    ours, theirs = (layer.state_dict() for layer in both())
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_outputs_are_those_of_both_paths_of_pytorch() -> None:
    ours, theirs = (layer.eval() for layer in both())
    tokens = torch.randn(2, 9, 24)
    with torch.no_grad():
        fused, found, kept = theirs(tokens), ours(tokens), tokens.clone()
    torch.testing.assert_close(found, fused, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours(tokens), theirs.train()(tokens), rtol=1e-5, atol=1e-6)
    assert torch.equal(tokens, kept), "the input is left as it was"


def test_gradients_are_those_of_pytorch() -> None:
    found, wanted = (
        torch.autograd.grad(
            layer.train()(torch.ones(1, 5, 24).cumsum(1)).square().sum(), [*layer.parameters()]
        )
        for layer in both()
    )
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
