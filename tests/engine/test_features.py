"""The engine and kept features: the same answers, no file read twice, and nothing kept of what nobody gave as a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmvl.data.feature_cache import FeatureCache
from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine
from medmvl.schema import ImageBlock, Sample, VolumeBlock
from tests.factories.models import tiny


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    found = []
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", rng.integers(-1000, 900, (9, 20, 20)).astype(np.int16))
        np.save(tmp_path / f"image{number}.npy", rng.integers(0, 255, (20, 30)).astype(np.uint8))
        volume = {"type": "volume", "volume": f"{number}.npy", "units": "HU", "spacing_mm": [2, 1, 1]}
        image = {"type": "image", "image": f"image{number}.npy", "units": "display"}
        content = [volume, image, {"type": "text", "text": "Is there a nodule?"}]
        target = {"question_type": "nodule", "answers": ["Yes."], "choices": ["Yes.", "No."]}
        found.append(
            Sample.model_validate(
                {"id": f"s{number}", "messages": [{"role": "user", "content": content}], "target": target}
            )
        )
    return found


def answers(engine: Engine, samples: list[Sample], load: Any, out: Path) -> tuple[str, Any]:
    assert engine.answer_samples(samples, load, out, {"model": "tiny"}) == []
    likely = engine.choice_logprobs(samples, load, out.with_suffix(".choices.jsonl"), {"model": "tiny"})
    return out.read_text(), likely


def test_a_data_set_is_encoded_once_for_all_engines(tmp_path: Path, samples: list[Sample]) -> None:
    model, processor = tiny()
    load = BlockLoader(tmp_path)
    plain = answers(Engine(model, processor), samples, lambda block: load(block), tmp_path / "plain.jsonl")
    cache = FeatureCache(tmp_path / "cache")
    assert cache.entries() == [], "what is not read by a BlockLoader may be changed, and is not kept"
    first = answers(Engine(model, processor), samples, load, tmp_path / "first.jsonl")
    assert len(cache.entries()) == 6
    read: list[str] = []

    class Counted(BlockLoader):
        def __call__(self, block: ImageBlock | VolumeBlock) -> Any:
            read.append(block.path)
            return super().__call__(block)

    again = answers(Engine(model, processor), samples, Counted(tmp_path), tmp_path / "again.jsonl")
    assert read == [] and plain == first == again
    with torch.no_grad():
        next(model.volume_encoder.parameters()).mul_(1.5)
    changed = answers(Engine(model, processor), samples, Counted(tmp_path), tmp_path / "changed.jsonl")
    assert sorted(set(read)) == ["0.npy", "1.npy", "2.npy"]
    fresh = answers(Engine(model, processor), samples, lambda block: load(block), tmp_path / "fresh.jsonl")
    assert changed == fresh != plain


def test_a_question_finds_features_and_leaves_none(
    tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = tiny()
    asked = {"volumes": str(tmp_path / "0.npy"), "units": "HU", "max_new_tokens": 3}
    plain = Engine(model, processor).ask("Is there a nodule?", **asked)
    cache = FeatureCache(tmp_path / "cache")
    assert cache.entries() == []
    blocks = [VolumeBlock(volume=str(tmp_path / f"{number}.npy"), units="HU") for number in range(2)]
    engine = Engine(model, processor)
    messages = [sample.messages[0].model_copy(update={"content": (block, sample.messages[0].content[-1])})
                for sample, block in zip(samples, blocks, strict=False)]  # fmt: skip
    data = [
        sample.model_copy(update={"messages": (message,)})
        for sample, message in zip(samples, messages, strict=False)
    ]
    engine.answer_samples(data, BlockLoader(tmp_path), tmp_path / "a.jsonl", {})
    assert len(cache.entries()) == 2
    monkeypatch.setattr(BlockLoader, "__call__", lambda *args: pytest.fail("the file was read"))
    again = Engine(model, processor).ask("Is there a nodule?", **asked)
    assert (again.text, again.logprobs) == (plain.text, plain.logprobs)
    assert {**again.seen[0]} == {**plain.seen[0]}
    assert len(cache.entries()) == 2
