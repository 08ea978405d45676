"""A saved model from its folder: on which device, in which number type; offline, safetensors only, no code from the folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from medmvl.engine.eight_bit import check_eight_bit, to_eight_bit
from medmvl.errors import UserError
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars
from medmvl.models.saved_folder import check_model_folder
from medmvl.models.weight_types import DTYPES

INT8 = "int8"


def load_saved(path: Path, device: str, dtype: str) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """Model and processor, ready to answer; arguments and errors as of `Engine.load`."""
    check_model_folder(path)
    place = choose_device(device)
    number = choose_dtype(dtype, place)
    if dtype == INT8:
        check_eight_bit()
    offline = {"local_files_only": True, "trust_remote_code": False}
    with without_weight_bars():
        model = AutoModelForImageTextToText.from_pretrained(
            path, use_safetensors=True, dtype=number, **offline
        )
    processor = AutoProcessor.from_pretrained(path, **offline)
    if not isinstance(model, MedMVLForConditionalGeneration) or not isinstance(processor, MedMVLProcessor):
        raise UserError(
            f"{path}: a {type(model).__name__} with a {type(processor).__name__}, not a MedM-VL model. Give a folder "
            "saved by training, such as RUN/model."
        )
    on_device: nn.Module = model  # whose `to` is annotated
    on_device.to(place)
    if dtype == INT8:
        to_eight_bit(model.llm)
    return model, processor


def choose_device(name: str) -> torch.device:
    """The device of a name; `"auto"` is a GPU where there is one.

    Raises:
        UserError: it cannot be used here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try cpu"
        ) from None
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type of a name; `"auto"` and `"int8"` are bfloat16 on a GPU that has it, float32 elsewhere.

    Raises:
        UserError: the name is unknown, or the device is too slow at it.
    """
    if name in ("auto", INT8):
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    if name not in DTYPES:
        raise UserError(f"unknown dtype {name!r}; known: auto, {', '.join(DTYPES)}, {INT8}")
    if name == "float16" and device.type == "cpu":
        raise UserError("float16 is slow and inexact on a CPU; use float32, or bfloat16 to save memory")
    return DTYPES[name]
