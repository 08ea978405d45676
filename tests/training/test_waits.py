"""The host does not wait for a device within a training step.

PyTorch's meta device computes shapes and no values, so whatever would need a value, and so a wait, is an error there. Copies
to it are looked at one by one: one that blocks would wait, too.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medmvl.training.objectives import LanguageModelling
from medmvl.training.stage_data import Collate, Item
from tests.factories.models import prepare, tiny

META = torch.device("meta")


class Waits(TorchDispatchMode):
    """Names operations after which the host would wait: a value is asked for, or a copy crosses over and blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = [argument for argument in args if isinstance(argument, torch.Tensor)]
        on_device = any(tensor.device == META for tensor in given)
        if on_device and name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique"):
            self.found.append(name)
        crosses = name == "_to_copy" and kwargs.get("device", given[0].device) != given[0].device
        if crosses and not kwargs.get("non_blocking"):
            self.found.append(f"copy to {kwargs['device']}")
        return func(*args, **kwargs)


def moved(value: Any) -> Any:
    """A batch on the device, as accelerate moves it: tensors in lists and dicts go, numbers stay."""
    if isinstance(value, torch.Tensor):
        return value.to(META)
    if isinstance(value, dict):
        return {name: moved(one) for name, one in value.items()}
    return [moved(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("family", ["qwen2", "granite", "mistral"])
@pytest.mark.parametrize("packed", [False, True])
def test_no_wait_in_forward_and_backward(family: str, packed: bool) -> None:
    model, processor = tiny(family)
    samples = [
        prepare(processor, "ct:a", "xray:b", "Is there a nodule?", answer="Yes. 有"),
        prepare(processor, "no image", answer="a rather longer answer than the other one"),
    ]
    collate = Collate(processor, "lm", packed=packed, masked=False)
    batch = moved(collate([Item(None, sample) for sample in samples]))  # type: ignore[arg-type]
    objective = LanguageModelling(model).to(META).train()
    with Waits() as waits:
        loss = objective(**batch, num_items_in_batch=torch.tensor(7, device=META))["loss"]
        loss.backward()
    assert waits.found == []
    assert all(p.grad is not None for p in model.llm.parameters())


def test_a_batch_as_others_make_it_is_waited_for() -> None:
    model, processor = tiny("qwen2")
    batch = moved(dict(processor.collate([prepare(processor, "ct:a", answer="yes")])))
    with pytest.raises((RuntimeError, NotImplementedError)):
        LanguageModelling(model).to(META).train()(**batch)
