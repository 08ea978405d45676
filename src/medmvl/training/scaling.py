"""Scaling on paper: what a stage takes on 1 to 512 GPUs, and what binds: an encoder, the LLM, the loader or the network.

A step takes as long as the slowest of three things that go on at once: computing, reading ahead, and exchanging weights and
gradients (which overlap with computing in DDP, FSDP2 and ZeRO). What is assumed is printed; step times
were not held against a measured training on GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from medmvl.training.hardware import Accelerator

GPUS_PER_NODE = 8
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
GRADIENT_BYTES = 4
"""Per trained parameter, exchanged in float32 as they are kept."""
GATHERED_BYTES = 2
"""Per parameter of a sharded LLM, gathered in bfloat16."""


@dataclass(frozen=True)
class Workload:
    """The work of one stage, whatever it runs on."""

    batch_size: int
    steps: float
    encoder_flops: float
    """Operations of encoders and connectors per sample, training passes included."""
    llm_flops: float
    """Operations of the LLM per sample, training passes included."""
    read_seconds: float
    """CPU seconds to read a sample's scans and prepare them."""
    workers: int
    """Processes that read, per GPU; at least the training process itself."""
    trained: int
    """Parameters that train."""
    sharded: int
    """Parameters that are gathered for use: the LLM's in FSDP2 and ZeRO-3, otherwise 0."""


class Step(NamedTuple):
    """One step on a number of GPUs."""

    gpus: int
    encoder: float
    """Seconds of computing in encoders and connectors."""
    llm: float
    """Seconds of computing in the LLM."""
    loader: float
    """Seconds to read a GPU's share of the batch."""
    network: float
    """Seconds to exchange weights and gradients."""
    hours: float
    """Hours of the whole stage, by the clock."""

    @property
    def seconds(self) -> float:
        """Seconds of the step by the clock."""
        return max(self.encoder + self.llm, self.loader, self.network)

    @property
    def binds(self) -> str:
        """What has to become faster for the step to become faster."""
        computing = "encoder" if self.encoder > self.llm else "LLM"
        times = {computing: self.encoder + self.llm, "loader": self.loader, "network": self.network}
        return max(times, key=lambda name: times[name])


def simulate(
    load: Workload, device: Accelerator, gpus: int, *, utilisation: float, network: float | None = None
) -> Step | None:
    """One step of `load` on `gpus` devices; None where the batch has no share for each of them.

    Args:
        load: what the stage asks for.
        device: type of the GPUs, eight per node.
        gpus: number of GPUs.
        utilisation: share of the peak that computing reaches.
        network: gigabytes per second of a GPU between nodes; None: as usual for the device.
    """
    if load.batch_size % gpus:
        return None
    share = load.batch_size / gpus
    speed = device.teraflops * 1e12 * utilisation
    encoder, llm = share * load.encoder_flops / speed, share * load.llm_flops / speed
    loader = share * load.read_seconds / max(1, load.workers)
    bandwidth = 1e9 * (device.link if gpus <= GPUS_PER_NODE else network or device.network)
    step = Step(gpus, encoder, llm, loader, exchanged_bytes(load, gpus) / bandwidth, 0.0)
    return step._replace(hours=load.steps * step.seconds / 3600)


def exchanged_bytes(load: Workload, gpus: int) -> float:
    """Bytes that leave a GPU in a step: a ring's all-reduce of gradients, or two gathers of weights and one reduce-scatter."""
    ring = (gpus - 1) / gpus
    if not load.sharded:
        return 2 * ring * load.trained * GRADIENT_BYTES
    return ring * (2 * load.sharded * GATHERED_BYTES + load.trained * GRADIENT_BYTES)


def counts_for(gpus: int) -> Iterable[int]:
    """Numbers of GPUs that are shown: powers of two, and what was asked for."""
    return sorted({*COUNTS, gpus})
