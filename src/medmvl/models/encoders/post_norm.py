"""A post-norm transformer layer with the weight names of PyTorch's `nn.TransformerEncoderLayer`, and its result.

PyTorch's layer takes a fused path in evaluation mode without gradients, which is slower on CPUs than its own
`scaled_dot_product_attention`, and while training it copies queries, keys and values apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Attention of tokens to each other, named as `nn.MultiheadAttention` names its weights."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As `nn.MultiheadAttention`: Xavier for queries, keys and values, and no bias."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `(N, tokens, width)` in and out."""
        batch, count, _ = tokens.shape
        joined = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = joined.view(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out_proj(attended.transpose(1, 2).reshape(tokens.shape))
        return mixed


class PostNormLayer(nn.Module):
    """Attention and a feed-forward map with ReLU, each added to its input and normed."""

    def __init__(self, width: int, num_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, num_heads)
        self.linear1 = nn.Linear(width, mlp_width)
        self.linear2 = nn.Linear(mlp_width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `(N, tokens, width)` in and out. Without gradients nothing is stored twice."""
        inplace = not torch.is_grad_enabled()
        tokens = self.norm1(_add(self.self_attn(tokens), tokens, inplace))
        hidden = functional.relu(self.linear1(tokens), inplace=inplace)
        result: Tensor = self.norm2(_add(self.linear2(hidden), tokens, inplace))
        return result


def _add(fresh: Tensor, tokens: Tensor, inplace: bool) -> Tensor:
    return fresh.add_(tokens) if inplace else fresh + tokens
