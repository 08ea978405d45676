"""Causal attention without a stored mask: for right-padded rows, and for samples packed in one row.

A token sees what is left of it. Padding on the right is seen by no real token, so a mask of `(B, 1, L, L)` says nothing new,
but takes PyTorch's attention out of its causal kernel. `CausalMask` is given where transformers expects such a mask, stores
nothing and asks for the causal kernel; with several samples in a row it asks for it once per sample. Samples that begin
alike may share their beginning: it comes once, and each continuation sees it and itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from medmvl.models.rotary_border import border_of, is_within

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

CAUSAL_FAMILIES = frozenset(
    ("cohere", "gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3")
)
"""Model types of transformers whose outputs were found equal with and without a mask, padded and packed (tests/models).

Gemma 2 is not among them: it caps its attention, which PyTorch's kernels do not."""

_PASSED_ON = frozenset(("__get__", "dim", "size", "is_floating_point", "__repr__", "detach"))
_attend: Callable[..., Tensor] = functional.scaled_dot_product_attention


class PackedGroup(NamedTuple):
    """Samples next to each other in a packed row that share their beginning, or one sample alone."""

    shared: int
    """Number of tokens that all samples begin with, stored once; 0: nothing is shared."""
    lengths: tuple[int, ...]
    """Number of tokens of each sample after the shared ones."""

    @property
    def total(self) -> int:
        """Tokens of the row."""
        return self.shared + sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest sample, with what it shares."""
        return self.shared + max(self.lengths)


Packed = Sequence[tuple[int, Sequence[int]]]
"""The groups of a row as a batch carries them: plain numbers."""


class CausalMask(Tensor):
    """A mask `(B, 1, L, L)` of which one byte is stored. Attention other than PyTorch's own refuses it.

    `groups` are the samples of a packed row, which see themselves and what they share; None where each row is one sample.
    """

    groups: tuple[PackedGroup, ...] | None
    own: tuple[Tensor | None, ...]
    """Per group that shares: `(tokens after the shared ones, tokens)`, true where one sees the other."""

    @classmethod
    def of(cls, embeddings: Tensor, groups: Sequence[PackedGroup] | None = None) -> Self:
        """The mask for embeddings `(B, L, width)`; with `groups` there is one row, and they add up to L."""
        rows, length = embeddings.shape[:2]
        assert groups is None or (rows == 1 and sum(group.total for group in groups) == length), (
            groups, embeddings.shape,
        )  # fmt: skip
        stored = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=embeddings.device)
        mask = stored.expand(rows, 1, length, length).as_subclass(cls)
        mask.groups = None if groups is None or _is_one_sample(groups) else tuple(groups)
        mask.own = tuple(_own_mask(group, embeddings.device) for group in mask.groups or ())
        return mask

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Attention runs causally; shape and type may be asked for; whatever else would read the mask is an error."""
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _PASSED_ON:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        raise NotImplementedError(
            f"{getattr(func, '__name__', func)} would read a causal mask that is not stored"
        )


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: CausalMask,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` of `(B, heads, L, width)`, causal within each sample."""
    assert not is_causal, "the mask is causal already"
    options: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "enable_gqa": enable_gqa}
    if attn_mask.groups is None:
        return _attend(query, key, value, is_causal=True, **options)
    totals = [group.total for group in attn_mask.groups]
    parts = zip(*(torch.split(states, totals, 2) for states in (query, key, value)), strict=True)
    found: list[Tensor] = []
    for group, own, (asking, seen, values) in zip(attn_mask.groups, attn_mask.own, parts, strict=True):
        shared = group.total if own is None else group.shared
        beginning = (states[:, :, :shared] for states in (asking, seen, values))
        found.append(_attend(*beginning, is_causal=True, **options))
        if own is not None:
            found.append(_attend(asking[:, :, shared:], seen, values, attn_mask=own, **options))
    return torch.cat(found, dim=2)


def _is_one_sample(groups: Sequence[PackedGroup]) -> bool:
    return len(groups) == 1 and len(groups[0].lengths) == 1


def _own_mask(group: PackedGroup, device: torch.device) -> Tensor | None:
    """What the tokens after the shared ones see: these, and what is left of them in their own sample."""
    if len(group.lengths) == 1:
        return None
    sample = torch.arange(len(group.lengths)).repeat_interleave(torch.tensor(group.lengths))
    own = (sample[:, None] == sample).tril()
    seen = torch.cat([torch.ones(len(own), group.shared, dtype=torch.bool), own], dim=1)
    return seen.to(device, non_blocking=True)


def is_purely_causal(config: PreTrainedConfig, longest: int) -> bool:
    """Whether an LLM with this configuration needs no mask for samples of up to `longest` tokens.

    Its family was tested, its attention is PyTorch's, a sliding window, where it has one, reaches back over a whole sample, and
    no sample is so long that others are read with its angles.
    """
    window, border = getattr(config, "sliding_window", None), border_of(config)
    return (
        config.model_type in CAUSAL_FAMILIES
        and config._attn_implementation == "sdpa"
        and getattr(config, "is_causal", True)
        and (window is None or longest <= window)
        and is_within(longest, border)
    )


def why_not_packed(config: PreTrainedConfig, longest: int) -> str:
    """What to tell a user whose LLM cannot read samples of up to `longest` tokens packed in one row."""
    window, border = getattr(config, "sliding_window", None), border_of(config)
    if config.model_type not in CAUSAL_FAMILIES:
        known = ", ".join(sorted(CAUSAL_FAMILIES))
        reason = f"packed and unpacked were found equal for {known}, not for '{config.model_type}'"
    elif config._attn_implementation != "sdpa":
        reason = f"packing needs attention 'sdpa', and this LLM has '{config._attn_implementation}'"
    elif not is_within(longest, border):
        reason = f"the longest sample has {longest} tokens, and after {border} this LLM turns positions otherwise (LongRoPE)"
    else:
        reason = f"the longest sample has {longest} tokens, more than the sliding window of {window}"
    return f"this LLM cannot be trained with samples packed in one row: {reason}; set pack to false"


def padded_on_the_right(attention_mask: Tensor) -> bool:
    """Whether no row of `(B, L)` has a token after padding. On a device, the host waits for the answer."""
    return not bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any())


def mask_of(
    config: PreTrainedConfig,
    embeddings: Tensor,
    attention_mask: Tensor | None,
    packed: Packed | None,
) -> Tensor | None:
    """The mask for a pass without a cache: nothing is stored where causal attention alone is exact.

    Raises:
        ValueError: samples are packed, and an LLM with this configuration was not tested with that.
    """
    groups = None if packed is None else [PackedGroup(shared, tuple(lengths)) for shared, lengths in packed]
    longest = embeddings.shape[1] if groups is None else max(group.longest for group in groups)
    if not is_purely_causal(config, longest):
        if groups is not None:
            raise ValueError(why_not_packed(config, longest))
        return attention_mask
    if attention_mask is None or (attention_mask.ndim == 2 and padded_on_the_right(attention_mask)):
        return CausalMask.of(embeddings, groups)
    return attention_mask
