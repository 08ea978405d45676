"""What the decoding loop is given for a batch: token ids, visual tokens, and the keys and values of a beginning that all share.

Questions about one scan begin alike, up to its last visual token. That beginning is read once; the next batch about the scan
reads only its own words.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medmvl.engine.prefix_cache import Layers, Prefix, layers_of, num_bytes, to_cache, with_gap
from medmvl.engine.visual_tokens import VisualTokens
from medmvl.lru import BoundedLRU
from medmvl.models.collation import Batch, collate
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.rotary_border import border_of, sides
from medmvl.models.visuals import ProcessedSample, digest

if TYPE_CHECKING:
    from transformers import Cache


class ModelInputs:
    """Makes the inputs of one model; half of `cache_bytes` is for visual tokens, half for beginnings."""

    def __init__(self, model: MedMVLForConditionalGeneration, pad_id: int, cache_bytes: int) -> None:
        self._model = model
        self._pad_id = pad_id
        self.visual_tokens = VisualTokens(model, cache_bytes // 2)
        self.prefixes: BoundedLRU[str, Layers] = BoundedLRU(cache_bytes - cache_bytes // 2, num_bytes)
        self.border = border_of(model.config.get_text_config())
        # padding between a beginning and its continuations: an LLM that counts places itself (MPT) would count it
        self._keeps_prefixes = "position_ids" in inspect.signature(model.llm.forward).parameters

    def of(self, prepared: Sequence[ProcessedSample], owners: Sequence[str]) -> Batch:
        """Inputs of conversations, padded on the left, with the tokens of their scans.

        Args:
            prepared: the conversations.
            owners: whose scans each of them shows.
        """
        batch = collate(prepared, pad_id=self._pad_id, padding_side="left")
        inputs: Batch = {name: batch[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        visuals = [
            (visual, owner)
            for sample, owner in zip(prepared, owners, strict=True)
            for visual in sample.visuals
        ]
        if visuals:
            inputs["visual_table"] = batch["visual_table"]
            inputs["visual_tokens"] = self.visual_tokens.of(visuals)
        return inputs

    def after_prefix(self, prepared: Sequence[ProcessedSample], owners: Sequence[str]) -> Batch | None:
        """Inputs that begin after what all conversations share, its keys and values from the cache.

        None where nothing is shared, or where one conversation alone would have to read its beginning apart: it is read in one
        pass, and `keep_prefix` takes the beginning from there.
        """
        prefix = self._shared_prefix(prepared, owners)
        if prefix is None or (len(prepared) == 1 and prefix.key not in self.prefixes):
            return None
        layers = self._layers(prefix, prepared[0], owners[0])
        if layers is None:
            return None
        ids, mask = with_gap(
            prepared[0].input_ids[: prefix.length], [sample.input_ids for sample in prepared], self._pad_id
        )
        cache = to_cache(layers, len(prepared), self._model.config.get_text_config())
        device = self._model.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "past_key_values": cache}

    def keep_prefix(self, prepared: Sequence[ProcessedSample], owners: Sequence[str], cache: Cache) -> None:
        """Keep the beginning of a conversation that was read alone, for the next question about its scans."""
        if len(prepared) != 1:
            return
        prefix = self._shared_prefix(prepared, owners)
        if prefix is None or prefix.key in self.prefixes:
            return
        self._keep(prefix, cache)

    def prefix_of(self, sample: ProcessedSample, owner: str) -> Prefix | None:
        """A conversation up to the end of its last visual; None where it shows none."""
        if not sample.visuals:
            return None
        ends = [
            start + visual.num_tokens for start, visual in zip(sample.starts, sample.visuals, strict=True)
        ]
        length = max(ends)
        if length >= len(sample.input_ids):
            return None
        scans = " ".join(self.visual_tokens.key(visual, owner) for visual in sample.visuals)
        return Prefix(f"{digest(sample.input_ids[:length])} {list(sample.starts)} {scans}", length)

    def _shared_prefix(self, prepared: Sequence[ProcessedSample], owners: Sequence[str]) -> Prefix | None:
        """What all conversations begin with, up to the end of the last visual.

        None where they differ there, or where the LLM would read it alone with other angles than within them.
        """
        if not self._keeps_prefixes:
            return None
        found = {self.prefix_of(sample, owner) for sample, owner in zip(prepared, owners, strict=True)}
        prefix = found.pop() if len(found) == 1 else None
        if (
            prefix is None
            or len(sides([prefix.length, *(len(s.input_ids) for s in prepared)], self.border)) > 1
        ):
            return None
        return prefix

    def _layers(self, prefix: Prefix, sample: ProcessedSample, owner: str) -> Layers | None:
        """Keys and values of a beginning; None where the LLM does not keep every position."""
        layers = self.prefixes.get(prefix.key)
        if layers is not None:
            return layers
        beginning = replace(sample, input_ids=sample.input_ids[: prefix.length], labels=None)
        outputs = self._model(**self.of([beginning], [owner]), use_cache=True, logits_to_keep=1)
        return self._keep(prefix, outputs.past_key_values)

    def _keep(self, prefix: Prefix, cache: Cache) -> Layers | None:
        layers = layers_of(cache, prefix.length)
        if layers is None:
            self._keeps_prefixes = False
        else:
            self.prefixes.put(prefix.key, layers)
        return layers
