"""The adapter for lmms-eval answers as the engine does; lmms-eval itself is stood in for by its abstract class."""

import abc
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.imaging import MedicalImage
from tests.factories.engine import question, save_tiny_model
from tests.factories.scripts import load_script

FILE = Path(__file__).parents[2] / "examples/lmms_eval/medmvl_lmms_eval.py"


class Lmms(abc.ABC):
    """What lmms-eval 0.7.3 asks of a model."""

    def __init__(self) -> None:
        self.task_dict: dict[str, dict[str, list[object]]] = {}

    @abc.abstractmethod
    def loglikelihood(self, requests): ...

    @abc.abstractmethod
    def generate_until(self, requests): ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests): ...


def test_it_answers_as_the_engine_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface = ModuleType("lmms_eval.api.model")
    interface.lmms = Lmms  # type: ignore[attr-defined]
    for name in ("lmms_eval", "lmms_eval.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "lmms_eval.api.model", interface)
    module = load_script("examples/lmms_eval/medmvl_lmms_eval.py")
    folder = save_tiny_model(tmp_path / "model")
    array = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    model = module.MedMVL(pretrained=str(folder), device="cpu")
    model.task_dict = {"vqa": {"test": [{"image": Image.fromarray(array)}]}}
    arguments = (
        "Is there a nodule?",
        {"max_new_tokens": 9, "until": ["\n\n"]},
        lambda doc: [doc["image"]],
        0,
    )
    (said,) = model.generate_until([SimpleNamespace(args=(*arguments, "vqa", "test"))])
    image = MedicalImage(array=array, kind="image", units="display", source_format="png")
    engine = Engine.load(folder, "cpu")
    load = engine.processor.visual_loader(lambda block: image)
    request = Request(question("q", "Is there a nodule?", "x").messages, load)
    options = GenerationOptions(max_new_tokens=9, stop=("\n\n",))
    assert said == engine.answer([request], options)[0].text
