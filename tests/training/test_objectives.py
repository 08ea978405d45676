"""What encoder stages see: all streams of an encoder, whatever their grids."""

import torch

from medmvl.models.features import VisualFeatures
from medmvl.training.objectives import _tokens_of


def test_streams_of_other_grids_come_to_the_grid_of_the_first() -> None:
    fine = torch.arange(8.0).reshape(1, 8, 1)
    coarse = torch.tensor([[[10.0], [20.0]]])
    tokens = _tokens_of(VisualFeatures((fine, coarse), (2, 2, 2), None, None, ((2, 2, 2), (2, 1, 1))))
    assert tokens[:, 0].tolist() == list(range(8))
    assert tokens[:, 1].tolist() == [10.0] * 4 + [20.0] * 4


def test_masked_tokens_are_not_seen() -> None:
    mask = torch.tensor([[True, False]])
    tokens = _tokens_of(VisualFeatures((torch.tensor([[[1.0], [2.0]]]),), (1, 1, 2), mask))
    assert tokens.tolist() == [[1.0]]
