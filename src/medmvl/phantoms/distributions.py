"""Named distributions that finding sizes are drawn from, so that a preset can be read and printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Distribution(Protocol):
    """A one-dimensional distribution with bounds."""

    @property
    def low(self) -> float:
        """The smallest value."""
        ...

    @property
    def high(self) -> float:
        """The largest value."""
        ...

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value in `[low, high]`."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every value between `low` and `high` is equally likely."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """Every ratio is equally likely: small values are as well covered as large ones."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class TruncatedNormal:
    """A normal distribution whose draws outside `[low, high]` are drawn again."""

    mean: float
    deviation: float
    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        while True:
            value = float(rng.normal(self.mean, self.deviation))
            if self.low <= value <= self.high:
                return value
