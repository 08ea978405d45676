"""Ten questions about one scan read it, encode it and read the prompt's beginning once. How fast: benchmarks/first_token.py."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmvl.datasets import loader
from medmvl.engine import Answer, Engine, GenerationOptions, Request
from medmvl.engine.scheduler import Scheduler
from medmvl.schema import Message, TextBlock, VolumeBlock
from tests.factories.engine import save_tiny_model


def test_ten_questions_read_and_encode_a_scan_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "ct.npy", np.random.default_rng(0).integers(-1000, 400, (6, 20, 20)).astype(np.int16))
    engine = Engine.load(save_tiny_model(tmp_path / "model"))
    counts = {"read": 0, "encode": 0, "prefix": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(loader, "read", counted("read", loader.read))
    monkeypatch.setattr(engine.model, "encode", counted("encode", engine.model.encode))
    prefixes = engine.inputs.prefixes
    monkeypatch.setattr(prefixes, "put", counted("prefix", prefixes.put))

    async def ask(scheduler: Scheduler, number: int) -> Any:
        blocks = (VolumeBlock(volume="ct.npy", units="HU"), TextBlock(text=f"Is there a nodule? {number}"))
        load = engine.scans.wrap(loader.BlockLoader(tmp_path))
        request = Request((Message(role="user", content=blocks),), load)
        return await scheduler.answer(request, GenerationOptions(max_new_tokens=1))

    async def ask_ten() -> list[Any]:
        scheduler = Scheduler(engine)
        one_by_one = [await ask(scheduler, number) for number in range(5)]
        together = await asyncio.gather(*(ask(scheduler, number) for number in range(5, 10)))
        scheduler.close()
        return [*one_by_one, *together]

    answers = asyncio.run(ask_ten())
    assert len(answers) == 10 and all(isinstance(answer, Answer) for answer in answers)
    assert counts == {"read": 1, "encode": 1, "prefix": 1}
