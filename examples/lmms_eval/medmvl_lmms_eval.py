"""Lets lmms-eval ask a model of MedM-VL: its `lmms` interface on our engine, greedy, one conversation a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lmms_eval.api.model import lmms
from PIL import Image

from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.schema import ImageBlock, Message, TextBlock


class MedMVL(lmms):
    """The simple interface: text and images in, text out."""

    def __init__(
        self, pretrained: str, device: str = "auto", dtype: str = "auto", batch_size: int = 1, **_: Any
    ):
        super().__init__()
        self.engine = Engine.load(Path(pretrained), device, dtype)
        self.batch_size = int(batch_size)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Answers in the order of the requests; one that cannot be answered stops the run."""
        return [self._answer(request.args) for request in requests]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Not offered: `medmvl evaluate --calibration` weighs given answers."""
        raise NotImplementedError("loglikelihood tasks: use `medmvl evaluate --calibration`")

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
        """Not offered."""
        raise NotImplementedError("multi-round tasks are not offered")

    def _answer(self, args: tuple[Any, ...]) -> str:
        context, settings, doc_to_visual, doc_id, task, split = args
        found = doc_to_visual(self.task_dict[task][split][doc_id]) or []
        if not all(isinstance(image, Image.Image) for image in found):
            raise UserError(f"{task} {doc_id}: only images are shown to the model")
        images = {str(number): image for number, image in enumerate(found)}
        blocks = [*(ImageBlock(image=name) for name in images), TextBlock(text=context)]
        until = settings.get("until") or ()
        options = GenerationOptions(
            max_new_tokens=int(settings.get("max_new_tokens", 256)),
            stop=(until,) if isinstance(until, str) else tuple(text for text in until if text),
        )
        message = Message(role="user", content=tuple(blocks))
        load = self.engine.processor.visual_loader(lambda block: _image(images[block.path]))
        request = Request((message,), load, f"{task} {doc_id}")
        return str(self.engine.answer([request], options)[0].text)


def _image(image: Image.Image) -> MedicalImage:
    plain = image if image.mode == "L" else image.convert("RGB")
    return MedicalImage(array=np.asarray(plain), kind="image", units="display", source_format="png")


def manifest() -> Any:
    """What lmms-eval reads of the entry point."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("medmvl", simple_class_path="medmvl_lmms_eval.MedMVL")
