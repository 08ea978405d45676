"""From the visuals of a batch to features and tokens: pixels are encoded here, features that were kept are taken as they are.

An encoder that trains reads all visuals of one shape together. One that passes no gradient reads each visual alone, all
tiles of an image or one volume at a time: a matrix product over other numbers of rows may differ in its last bits, and what
is kept must not depend on what shared its batch. The same holds for a connector without gradient after such an encoder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medmvl.models.connectors import Connector
from medmvl.models.encoders import Encoder
from medmvl.models.features import VisualFeatures
from medmvl.models.visual_inputs import VisualInputs
from medmvl.models.visual_table import VisualRow
from medmvl.models.visuals import ProcessedVisual

Key = tuple[int, int]
"""`encoded` and `index` of a row: equal for rows that show the same visual."""
Keep = Callable[[ProcessedVisual, VisualFeatures, VisualFeatures | None], None]
"""Takes a visual without pixels, what the encoder made of it alone, and the tokens of a frozen connector, if there is one."""


@dataclass(frozen=True)
class Bucket:
    """Features of one shape, and where in their batch each visual begins."""

    features: VisualFeatures
    places: dict[Key, int]


def is_frozen(part: nn.Module, weights: Iterable[nn.Parameter] | None = None) -> bool:
    """Whether a part gives the same for the same input, here and now: it passes no gradient, and nothing is drawn."""
    own = part.parameters() if weights is None else weights
    trains = torch.is_grad_enabled() and any(weight.requires_grad for weight in own)
    return not trains and not any(module.training for module in part.modules())


def connects_alone(encoder: Encoder, connector: Connector) -> bool:
    """Whether the tokens of a visual depend on nothing but the visual: both parts are frozen, and no question guides them."""
    guided = connector.part_config.guided_by_text
    return not guided and is_frozen(encoder, encoder.weights()) and is_frozen(connector)


def encode_kind(
    kind: str,
    encoder: Encoder,
    inputs: VisualInputs,
    connector: Connector | None = None,
    keep: Keep | None = None,
    *,
    each_alone: bool = True,
) -> list[Bucket]:
    """What the encoder makes of all visuals of one kind.

    Args:
        kind: `"image"` or `"volume"`.
        encoder: of this kind.
        inputs: all visuals of the batch.
        connector: connects what can be connected alone; None gives features before any connector.
        keep: takes what is to be kept.
        each_alone: whether a frozen encoder reads each visual alone; otherwise it is called once for each shape.
    """
    rows = list(inputs.of(kind))
    if not each_alone or not is_frozen(encoder, encoder.weights()):
        assert not any(row.encoded for row, _ in rows), "features of an encoder that trains were kept"
        return list(_together(kind, encoder, inputs)) if rows else []
    alone = connector if connector is not None and connects_alone(encoder, connector) else None
    found: dict[Key, VisualFeatures] = {}
    for row, wanted in rows:
        key = (row.encoded, row.index)
        if key not in found or wanted is not None:
            found[key] = _alone(kind, row, encoder, inputs, alone, (wanted, keep))
    buckets: dict[Hashable, list[Key]] = defaultdict(list)
    for key, features in found.items():
        buckets[features.shape].append(key)
    return [_joined(keys, [found[key] for key in keys]) for keys in buckets.values()]


def _joined(keys: Sequence[Key], features: Sequence[VisualFeatures]) -> Bucket:
    starts = [sum(len(part) for part in features[:number]) for number in range(len(features))]
    return Bucket(VisualFeatures.join(features), dict(zip(keys, starts, strict=True)))


def _alone(
    kind: str,
    row: VisualRow,
    encoder: Encoder,
    inputs: VisualInputs,
    connector: Connector | None,
    kept: tuple[ProcessedVisual | None, Keep | None],
) -> VisualFeatures:
    """One visual through a frozen encoder, and through its connector where this is frozen, too."""
    wanted, keep = kept
    if row.encoded:
        features = inputs.features[row.index].to(next(encoder.weights()).device)
    else:
        features = _encoded(kind, row, encoder, inputs)
    tokens = None
    if connector is not None:
        tokens = features if features.connected else connected(connector, features)
    if keep is not None and wanted is not None:
        keep(wanted, features, tokens)
    return features if tokens is None else tokens


def _encoded(kind: str, row: VisualRow, encoder: Encoder, inputs: VisualInputs) -> VisualFeatures:
    dtype = next(encoder.weights()).dtype
    found: VisualFeatures
    if kind == "image":
        found = encoder(inputs.pixels(row).to(dtype))
    else:
        where = (
            inputs.positions_mm[row.index] if inputs.positions_mm and _is_known(inputs, row.index) else None
        )
        volume = inputs.volumes[row.index][None].to(dtype)
        found = encoder(volume, None if where is None else where[None].to(volume.device, non_blocking=True))
    return found


def connected(connector: Connector, features: VisualFeatures) -> VisualFeatures:
    """The output tokens of a connector, as features without a layout."""
    tokens = connector(features)
    return VisualFeatures((tokens,), (1, 1, tokens.shape[1]), connected=True)


def _together(kind: str, encoder: Encoder, inputs: VisualInputs) -> Iterator[Bucket]:
    """All visuals of one shape at once."""
    pixels = inputs.images if kind == "image" else inputs.volumes
    buckets: dict[tuple[tuple[int, ...], bool], list[int]] = defaultdict(list)
    for index, block in enumerate(pixels):
        buckets[tuple(block.shape), kind == "volume" and _is_known(inputs, index)].append(index)
    dtype = next(encoder.weights()).dtype
    for (_, known), members in buckets.items():
        batch = pixels if isinstance(pixels, Tensor) else torch.stack([pixels[i] for i in members])
        if kind == "image":
            features = encoder(batch.to(dtype))
        else:
            where = [inputs.positions_mm[i] for i in members] if known and inputs.positions_mm else []
            stacked = torch.stack([slices for slices in where if slices is not None]) if where else None
            moved = None if stacked is None else stacked.to(batch.device, non_blocking=True)
            features = encoder(batch.to(dtype), moved)
        yield Bucket(features, {(0, index): place for place, index in enumerate(members)})


def _is_known(inputs: VisualInputs, index: int) -> bool:
    """Whether the slices of a volume have positions."""
    where = None if inputs.positions_mm is None else inputs.positions_mm[index]
    return where is not None and not bool(where.isnan().any())


def idle_features(encoder: Encoder, size: tuple[int, ...], *, run: bool) -> VisualFeatures:
    """Features of empty pixels; a frozen encoder is run for them only where that is asked for."""
    weight = next(encoder.weights())
    if run or not is_frozen(encoder, encoder.weights()):
        features: VisualFeatures = encoder(weight.new_zeros((1, encoder.part_config.channels, *size)))
        return features
    grids = encoder.part_config.grids(tuple(size))
    streams = tuple(
        weight.new_zeros((1, grid[0] * grid[1] * grid[2], width))
        for grid, width in zip(grids, encoder.widths, strict=True)
    )
    return VisualFeatures(streams, grids[0], grids=grids if len(set(grids)) > 1 else ())
