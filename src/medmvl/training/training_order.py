"""The order in which a stage sees its samples: epoch after epoch, from any step on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.utils.data import Sampler

from medmvl.data.sampler import Group, Mixture, epoch_order
from medmvl.errors import RecipeError
from medmvl.training.recipe import Stage


class TrainingOrder(Sampler[int]):
    """The samples of a whole stage in order: global batch after global batch, the same for any number of processes.

    The last batch of an epoch is filled up from the epoch's own beginning, so every step has a full batch.

    Raises:
        RecipeError: the weights of the sources leave less than one sample per epoch.
    """

    def __init__(self, mixture: Mixture, stage: Stage, seed: int) -> None:
        self.mixture = mixture
        self.batch_size = stage.batch_size
        self.group: Group = stage.group
        self.per_study = stage.samples_per_study
        self.seed = seed
        self.steps_per_epoch = math.ceil(len(self._epoch(0)) / self.batch_size)
        if not self.steps_per_epoch:
            drawn = [
                f"{size} x {weight:g}" for size, weight in zip(mixture.sizes, mixture.weights, strict=True)
            ]
            raise RecipeError(
                f"stage '{stage.name}': an epoch is empty, as samples x weight is below 1 ({', '.join(drawn)}); raise a weight"
            )
        self.num_steps = stage.max_steps or math.ceil((stage.epochs or 0) * self.steps_per_epoch)

    def _epoch(self, epoch: int) -> list[int]:
        order = epoch_order(
            self.mixture,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.batch_size,
            group=self.group,
            per_study=self.per_study,
        )
        missing = -len(order) % self.batch_size
        return order + [order[index % len(order)] for index in range(missing)]

    def __len__(self) -> int:
        return self.num_steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        left, epoch = len(self), 0
        while left:
            order = self._epoch(epoch)[:left]
            yield from order
            left -= len(order)
            epoch += 1
