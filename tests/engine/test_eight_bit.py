"""8-bit weights: smaller, close to the full ones, the head untouched; without the extra, an error that names it."""

from pathlib import Path

import pytest
import torch

from medmvl.engine import Engine, GenerationOptions, Request, eight_bit
from medmvl.errors import MissingExtraError
from tests.factories.engine import question, save_tiny_model, visual_of

REQUESTS = [
    Request.from_sample(question(visual, "Is there a nodule?", visual), visual_of)
    for visual in ("ct-1", "x-1")
]
OPTIONS = GenerationOptions(max_new_tokens=8, logprobs=0)


@pytest.fixture
def torchao() -> None:
    pytest.importorskip("torchao", reason="the extra int8 is not installed; make setup installs it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def test_answers_stay_close_and_only_the_llms_layers_change(folder: Path, torchao: None) -> None:
    whole, small = Engine.load(folder, "cpu", "float32"), Engine.load(folder, "cpu", "int8")
    for full, eight in zip(whole.answer(REQUESTS, OPTIONS), small.answer(REQUESTS, OPTIONS), strict=True):
        first = full.logprobs[0].logprob, eight.logprobs[0].logprob
        assert first[0] == pytest.approx(first[1], abs=0.02) and first[0] != first[1]
    changed = {
        name for name, weight in small.model.named_parameters() if type(weight) is not torch.nn.Parameter
    }
    layers = {
        name for name, _ in whole.model.named_parameters() if ".layers." in name and "_proj.weight" in name
    }
    assert changed == {name for name in layers if name.startswith("llm.")} and len(changed) == 2 * 7


def test_eight_bits_take_a_quarter(folder: Path, torchao: None) -> None:
    whole, small = Engine.load(folder, "cpu", "float32"), Engine.load(folder, "cpu", "int8")
    layer = "llm.model.layers.0.mlp.down_proj"
    full, eight = whole.model.get_submodule(layer).weight, small.model.get_submodule(layer).weight
    assert eight.qdata.dtype == torch.int8 and eight.qdata.nbytes * 4 == full.nbytes


def test_without_the_extra_the_error_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eight_bit, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[int8\]' in the clone"):
        Engine.load(folder, "cpu", "int8")
